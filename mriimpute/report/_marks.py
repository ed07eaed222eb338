"""Marks, lines and words of a chart, as SVG."""

from collections.abc import Callable, Sequence

from mriimpute.report._html import Markup, tag
from mriimpute.report._styles import Look

__all__ = ["Number", "marker", "polyline", "stroke", "words"]

Number = float | int


def marker(x: Number, y: Number, look: Look, *children: str, size: Number = 3.6) -> Markup:
    """Returns a mark at a place; a look without a marker has none."""
    if not look.marker:
        return Markup()
    if look.marker == "circle":
        return tag("circle", *children, cx=x, cy=y, r=size, fill=look.colour)
    shape = _SHAPES[look.marker](x, y, size * 1.15)
    if look.marker in ("plus", "cross"):
        return tag("path", *children, d=shape, fill="none", stroke=look.colour, stroke_width=2.0)
    return tag("path", *children, d=shape, fill=look.colour)


def polyline(
    places: Sequence[tuple[Number, Number]], colour: str, dash: str, width: Number
) -> Markup:
    """Returns a line through places; nothing for fewer than two."""
    if len(places) < 2:
        return Markup()
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dashed = {"stroke_dasharray": dash} if dash else {}
    return tag("polyline", points=points, fill="none", stroke=colour, stroke_width=width, **dashed)


def stroke(
    x1: Number, y1: Number, x2: Number, y2: Number, colour: str, width: Number = 1
) -> Markup:
    """Returns a straight line."""
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return tag("line", **ends, stroke=colour, stroke_width=width)


def words(x: Number, y: Number, text: str, anchor: str, colour: str) -> Markup:
    """Returns text at a place, which is its "start", "middle" or "end"."""
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=colour)


def _polygon(*corners: tuple[Number, Number]) -> Callable[[Number, Number, Number], str]:
    def at(x: Number, y: Number, size: Number) -> str:
        return "M" + "L".join(f"{x + size * a:.1f} {y + size * b:.1f}" for a, b in corners) + "Z"

    return at


_SHAPES: dict[str, Callable[[Number, Number, Number], str]] = {
    "square": _polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": _polygon((0, -1.1), (1, 0.8), (-1, 0.8)),
    "down": _polygon((0, 1.1), (1, -0.8), (-1, -0.8)),
    "diamond": _polygon((0, -1.2), (1, 0), (0, 1.2), (-1, 0)),
    "plus": lambda x, y, s: f"M{x - s:.1f} {y:.1f}h{2 * s:.1f}M{x:.1f} {y - s:.1f}v{2 * s:.1f}",
    "cross": lambda x, y, s: (
        f"M{x - s:.1f} {y - s:.1f}l{2 * s:.1f} {2 * s:.1f}"
        f"M{x - s:.1f} {y + s:.1f}l{2 * s:.1f} {-2 * s:.1f}"
    ),
}
