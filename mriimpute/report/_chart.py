"""Charts as inline SVG: sharp at any size, printed as lines, their numbers readable as text.

Lengths are those of the SVG's own coordinates, in which one unit is one pixel at full size.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mriimpute.report._html import Markup, join, tag
from mriimpute.report._looks import Look

__all__ = ["Frame", "Series", "bars", "curves", "key_of", "marker", "strips"]

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 10.0, 40.0
ROW = 30.0  # height of one row of dots
NAMES = 210.0  # room for names at the left of dots
TICKS = 5
Number = float | int
AXIS, GRID, FAINT = "#444", "#ddd", "#888"


class Series(NamedTuple):
    """A line: places, heights, and what is said of it where the mouse rests."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    look: Look
    faint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The axes of a chart.

    Attributes:
        title: Read aloud instead of the chart.
        x_label: Below.
        y_label: Beside.
        x: Both ends of the axis; None: those of the data.
        y: The same.
        log_x: Powers of ten are equally far.
        log_y: The same.
        x_ticks: Where the axis is marked; none: at round numbers.
    """

    title: str
    x_label: str
    y_label: str = ""
    x: tuple[Number, Number] | None = None
    y: tuple[Number, Number] | None = None
    log_x: bool = False
    log_y: bool = False
    x_ticks: tuple[Number, ...] = ()


class _Scale(NamedTuple):
    """From values to places."""

    low: Number
    high: Number
    start: Number
    stop: Number
    log: bool

    def at(self, value: Number) -> Number:
        low, high, value = (
            map(math.log10, (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[Number]:
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            sizes = (1, 2, 5) if last - first < 3 else (1,)
            every = [size * 10.0**power for power in range(first, last + 1) for size in sizes]
            return [tick for tick in every if self.low <= tick <= self.high]
        return _ticks(self.low, self.high)


def curves(
    series: Sequence[Series],
    frame: Frame,
    *,
    ideal: Sequence[tuple[Number, Number]] = (),
    marked: Mapping[str, tuple[Number, Number]] | None = None,
) -> Markup:
    """Returns a chart of lines with markers.

    Args:
        series: What is drawn; a point that is no number is left out.
        frame: Its axes.
        ideal: Corners of the grey dashed line that a perfect method follows.
        marked: One point of a series, by name, that is ringed.
    """
    points = [(one, _known(one, frame)) for one in series]
    xs = [x for _, known in points for x, _ in known] + [x for x, _ in ideal]
    ys = [y for _, known in points for _, y in known] + [y for _, y in ideal]
    if not xs:
        return tag("p", "No number to draw.", class_="note")
    x = _scale(xs, frame.x, LEFT, WIDTH - RIGHT, log=frame.log_x, margin=0.03)
    y = _scale(ys, frame.y, HEIGHT - BOTTOM, TOP, log=frame.log_y, margin=0.06)
    rings = [
        tag("circle", cx=x.at(a), cy=y.at(b), r=7, fill="none", stroke="#000", stroke_width=1.6)
        for a, b in (marked or {}).values()
    ]
    return _svg(
        frame.title,
        _axes(frame, x, y),
        _path([(x.at(a), y.at(b)) for a, b in ideal], FAINT, "4 4", 1.2),
        *(_line(one, known, x, y) for one, known in points),
        *rings,
    )


def bars(
    heights: Sequence[Number], frame: Frame, look: Look, *, level: Number | None = None
) -> Markup:
    """Returns a histogram.

    Args:
        heights: Of the bars, which share the axis evenly.
        frame: Its axes; `y` is not used, `x` counts the bars where it is None.
        look: Whose colour the bars have.
        level: Where a dashed line is drawn: the height that all should have.
    """
    count = len(heights)
    low, high = frame.x or (0.0, float(count))
    x = _Scale(low, high, LEFT, WIDTH - RIGHT, log=False)
    known = [height for height in heights if math.isfinite(height)]
    y = _Scale(0, 1.08 * max([*known, level or 0.0, 1e-12]), HEIGHT - BOTTOM, TOP, log=False)
    width = (x.stop - x.start) / max(count, 1)
    drawn = [
        tag(
            "rect",
            x=x.start + n * width + 0.5,
            y=y.at(height),
            width=max(width - 1, 0.5),
            height=y.at(0) - y.at(height),
            fill=look.colour,
        )
        for n, height in enumerate(heights)
        if math.isfinite(height)
    ]
    ends = [] if level is None else [(x.start, y.at(level)), (x.stop, y.at(level))]
    return _svg(frame.title, _axes(frame, x, y), *drawn, _path(ends, "#000", "4 4", 1.2))


def strips(
    rows: Mapping[str, Sequence[tuple[str, Number]]],
    frame: Frame,
    looks: Mapping[str, Look],
    *,
    means: Mapping[str, tuple[Number, Number, Number]],
    zero: Number | None = None,
) -> Markup:
    """Returns rows of dots, one row per method.

    Args:
        rows: By method, the name and the value of each dot.
        frame: Its axes; `y` is not used.
        looks: Of the methods.
        means: By method the mean and both ends of its interval, NaN where there is none.
        zero: Where a line is drawn from top to bottom.
    """
    values = [v for dots in rows.values() for _, v in dots if math.isfinite(v)]
    values += [end for mean in means.values() for end in mean if math.isfinite(end)]
    if zero is not None:
        values.append(zero)
    if not values:
        return tag("p", "No number to draw.", class_="note")
    width, height = 2 * WIDTH + 60, TOP + ROW * len(rows) + BOTTOM
    x = _scale(values, frame.x, NAMES, width - RIGHT, log=frame.log_x, margin=0.04)
    parts = []
    if zero is not None:
        parts.append(_stroke(x.at(zero), TOP, x.at(zero), height - BOTTOM, AXIS))
    for number, (name, dots) in enumerate(rows.items()):
        parts.append(_strip(name, dots, means.get(name), looks[name], x, TOP + ROW * number))
    axes = _x_axis(frame, x, TOP, height - BOTTOM)
    return _svg(frame.title, axes, *parts, width=width, height=height)


def key_of(looks: Mapping[str, Look]) -> Markup:
    """Returns the list of names with how each is drawn."""
    entries = []
    for name, look in looks.items():
        line = _path([(1, 7), (33, 7)], look.colour, look.dash, 1.8)
        sample = tag("svg", line, marker(17, 7, look), width=34, height=14, aria_hidden="true")
        entries.append(tag("li", sample, name))
    return tag("ul", *entries, class_="key")


def marker(x: Number, y: Number, look: Look, *children: str, size: Number = 3.6) -> Markup:
    """Returns a mark at a place; a look without a marker has none."""
    if not look.marker:
        return Markup()
    if look.marker == "circle":
        return tag("circle", *children, cx=x, cy=y, r=size, fill=look.colour)
    path = _SHAPES[look.marker](x, y, size * 1.15)
    if look.marker in ("plus", "cross"):
        return tag("path", *children, d=path, fill="none", stroke=look.colour, stroke_width=2.0)
    return tag("path", *children, d=path, fill=look.colour)


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


def _known(one: Series, frame: Frame) -> list[tuple[Number, Number]]:
    return [
        (x, y)
        for x, y in zip(one.x, one.y, strict=True)
        if math.isfinite(x)
        and math.isfinite(y)
        and not (frame.log_x and x <= 0)
        and not (frame.log_y and y <= 0)
    ]


def _line(one: Series, known: Sequence[tuple[Number, Number]], x: _Scale, y: _Scale) -> Markup:
    places = [(x.at(a), y.at(b)) for a, b in known]
    if one.faint:
        path = _path(places, one.look.colour, "", 0.8)
        return tag("g", tag("title", one.name), path, opacity=0.35)
    every = max(1, len(places) // 10)  # markers tell series apart; one per point would hide them
    marks = [marker(*place, one.look) for place in places[::every]]
    path = _path(places, one.look.colour, one.look.dash, 1.8)
    return tag("g", tag("title", one.name), path, *marks)


def _strip(
    name: str,
    dots: Sequence[tuple[str, Number]],
    mean: tuple[Number, Number, Number] | None,
    look: Look,
    x: _Scale,
    top: Number,
) -> Markup:
    middle = top + ROW / 2
    parts = [
        _text(NAMES - 10, middle + 4, _short(name), "end", AXIS),
        _stroke(NAMES, top + ROW, x.stop, top + ROW, GRID),
    ]
    for subject, value in dots:
        if math.isfinite(value):
            said = tag("title", f"{subject}: {value:.3g}")
            parts.append(
                tag("g", marker(x.at(value), middle - 5, look, said, size=3.2), opacity=0.75)
            )
    if mean is not None and math.isfinite(mean[0]):
        centre, low, high = mean
        if math.isfinite(low) and math.isfinite(high):
            parts.append(_stroke(x.at(low), middle + 7, x.at(high), middle + 7, "#000", 2.2))
        said = tag("title", f"mean {centre:.3g}")
        parts.append(marker(x.at(centre), middle + 7, Look("#000", "diamond", ""), said, size=4.2))
    return tag("g", *parts)


def _axes(frame: Frame, x: _Scale, y: _Scale) -> Markup:
    lines, bottom = [], HEIGHT - BOTTOM
    for tick in y.ticks():
        place = y.at(tick)
        lines.append(_stroke(LEFT, place, WIDTH - RIGHT, place, GRID))
        lines.append(_text(LEFT - 6, place + 4, _number(tick), "end", AXIS))
    middle = (TOP + bottom) / 2
    label = tag(
        "text", frame.y_label, transform=f"translate(12 {middle:.0f}) rotate(-90)",
        text_anchor="middle", fill=AXIS,
    )  # fmt: skip
    return join(*lines, label, _x_axis(frame, x, bottom, bottom))


def _x_axis(frame: Frame, x: _Scale, top: Number, bottom: Number) -> Markup:
    parts = []
    for tick in frame.x_ticks or x.ticks():
        place = x.at(tick)
        parts.append(_stroke(place, top, place, bottom + 4, GRID if top < bottom else AXIS))
        parts.append(_text(place, bottom + 16, _number(tick), "middle", AXIS))
    parts.append(_stroke(x.start, bottom, x.stop, bottom, AXIS))
    parts.append(_text((x.start + x.stop) / 2, bottom + 34, frame.x_label, "middle", AXIS))
    return join(*parts)


def _svg(title: str, *parts: str, width: Number = WIDTH, height: Number = HEIGHT) -> Markup:
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
        class_="chart",
    )


def _path(
    places: Sequence[tuple[Number, Number]], colour: str, dash: str, width: Number
) -> Markup:
    if len(places) < 2:
        return Markup()
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dashed = {"stroke_dasharray": dash} if dash else {}
    return tag("polyline", points=points, fill="none", stroke=colour, stroke_width=width, **dashed)


def _stroke(
    x1: Number, y1: Number, x2: Number, y2: Number, colour: str, width: Number = 1
) -> Markup:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return tag("line", **ends, stroke=colour, stroke_width=width)


def _text(x: Number, y: Number, text: str, anchor: str, colour: str) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=colour)


def _scale(
    values: Sequence[Number],
    ends: tuple[Number, Number] | None,
    start: Number,
    stop: Number,
    *,
    log: bool,
    margin: Number,
) -> _Scale:
    if ends is not None:
        return _Scale(*ends, start, stop, log)
    low, high = min(values), max(values)
    if log:
        low, high = 10 ** (math.log10(low) - 0.12), 10 ** (math.log10(high) + 0.12)
    else:
        room = margin * (high - low) or max(abs(high) * 0.1, 0.1)
        low, high = low - room, high + room
    return _Scale(low, high, start, stop, log)


def _ticks(low: Number, high: Number) -> list[Number]:
    """Returns about five round numbers between two.

    >>> _ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda size: abs(size * power - rough)) * power
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _number(value: Number) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def _short(name: str) -> str:
    """Returns a name that fits beside a row."""
    longest = 32
    return name if len(name) <= longest else f"{name[: longest - 3]}..."
