"""How series are told apart: by colour, by marker and by dash or hatch, so also on grey paper."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["COLOURS", "LineStyle", "line_styles"]

COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#8C6D1F", "#999999", "#5B2A86"),
)  # the first seven are Okabe and Ito's

# No divisor of the number of colours: a series beyond the tenth is drawn as no other, too.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++")
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3))


class LineStyle(NamedTuple):
    """How a series is drawn.

    Attributes:
        colour: Hexadecimal.
        marker: Of matplotlib; empty for none.
        dash: Lengths of strokes and gaps, in points; empty for a solid line.
        hatch: Of its bars.
    """

    colour: str
    marker: str = ""
    dash: tuple[float, ...] = ()
    hatch: str = ""


def line_styles(names: Iterable[str]) -> dict[str, LineStyle]:
    """Returns the style of each name, the same wherever a page or a figure shows it."""
    return {
        name: LineStyle(
            COLOURS[n % len(COLOURS)],
            MARKERS[n % len(MARKERS)],
            # A full turn of dashes per colour, so that close colours differ in it.
            DASHES[n % len(DASHES)],
            HATCHES[n % len(HATCHES)],
        )
        for n, name in enumerate(dict.fromkeys(names))
    }
