"""How series are told apart: by colour, by marker and by dash, so also on grey paper."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["COLOURS", "Look", "looks_of"]

COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#8C6D1F", "#999999", "#5B2A86"),
)  # the first seven are Okabe and Ito's

# No divisor of the number of colours: a series beyond the tenth has the look of no other, too.
MARKERS = ("circle", "square", "triangle", "diamond", "down", "plus", "cross")
DASHES = ("", "7 3", "2 2", "9 3 2 3")


class Look(NamedTuple):
    """How a series is drawn on a page."""

    colour: str
    marker: str
    dash: str


def looks_of(names: Iterable[str]) -> Mapping[str, Look]:
    """Returns the look of each name, the same wherever the page shows it."""
    return {
        name: Look(
            COLOURS[n % len(COLOURS)],
            MARKERS[n % len(MARKERS)],
            # A full turn of dashes per colour, so that close colours differ in it.
            DASHES[n % len(DASHES)],
        )
        for n, name in enumerate(dict.fromkeys(names))
    }
