"""How series are told apart: by colour, by marker and by dash or hatch, so also on grey paper."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from mriimpute.report._html import tag
from mriimpute.report._svg import inline_svg

__all__ = ["COLOURS", "LineStyle", "legend", "line_styles"]

COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"),
    *("#56B4E9", "#000000", "#8C6D1F", "#999999", "#5B2A86"),
)  # the first seven are Okabe and Ito's

# No divisor of the number of colours: a series beyond the tenth is drawn as no other, too.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++")
DASHES = ((), (4, 1.6), (1.1, 1.1), (5, 1.7, 1.1, 1.7))


class LineStyle(NamedTuple):
    """How a series is drawn.

    Attributes:
        colour: Hexadecimal.
        marker: Of matplotlib; empty for none.
        dash: Lengths of strokes and gaps, in widths of the line; empty for a solid one.
        hatch: Of its bars.
    """

    colour: str
    marker: str = ""
    dash: tuple[float, ...] = ()
    hatch: str = ""

    def line2d(self) -> dict[str, Any]:
        """Returns it as matplotlib's properties of a line on a page, lengths in points."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": 7.2,
            "markeredgewidth": 0,
            "linewidth": 1.8,
            "linestyle": (0, self.dash) if self.dash else "-",
        }


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


def legend(styles: Mapping[str, LineStyle], section: str) -> Markup:
    """Returns the list of names with how each is drawn, for a section of the page."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    entries = []
    for name, style in styles.items():
        sample = Figure(figsize=(34 / 72, 14 / 72))
        sample.add_artist(Line2D([0.03, 0.5, 0.97], [0.5] * 3, markevery=[1], **style.line2d()))
        entries.append(tag("li", inline_svg(sample, f"{section} {name}", ornament=True), name))
    return tag("ul", *entries, class_="key")
