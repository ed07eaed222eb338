"""Charts as inline SVG: sharp at any size, printed as lines, their numbers readable as text.

Lengths are those of the SVG's own coordinates, in which one unit is one pixel at full size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mriimpute.report._axes import (
    AXIS,
    BOTTOM,
    GRID,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    Scale,
    axes,
    scale_of,
    x_axis,
)
from mriimpute.report._html import Markup, tag
from mriimpute.report._marks import Number, marker, polyline, stroke, words
from mriimpute.report._styles import Look

__all__ = ["Frame", "Series", "bars", "curves", "key_of", "strips"]

ROW = 30.0  # height of one row of dots
NAMES = 210.0  # room for names at the left of dots
FAINT = "#888"


class Series(NamedTuple):
    """A line: places, heights, and what is said of it where the mouse rests."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    look: Look
    faint: bool = False


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
    x = scale_of(xs, frame.x, LEFT, WIDTH - RIGHT, log=frame.log_x, margin=0.03)
    y = scale_of(ys, frame.y, HEIGHT - BOTTOM, TOP, log=frame.log_y, margin=0.06)
    rings = [
        tag("circle", cx=x.at(a), cy=y.at(b), r=7, fill="none", stroke="#000", stroke_width=1.6)
        for a, b in (marked or {}).values()
    ]
    return _svg(
        frame.title,
        axes(frame, x, y),
        polyline([(x.at(a), y.at(b)) for a, b in ideal], FAINT, "4 4", 1.2),
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
    x = Scale(low, high, LEFT, WIDTH - RIGHT, log=False)
    known = [height for height in heights if math.isfinite(height)]
    y = Scale(0, 1.08 * max([*known, level or 0.0, 1e-12]), HEIGHT - BOTTOM, TOP, log=False)
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
    return _svg(frame.title, axes(frame, x, y), *drawn, polyline(ends, "#000", "4 4", 1.2))


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
    x = scale_of(values, frame.x, NAMES, width - RIGHT, log=frame.log_x, margin=0.04)
    parts = []
    if zero is not None:
        parts.append(stroke(x.at(zero), TOP, x.at(zero), height - BOTTOM, AXIS))
    for number, (name, dots) in enumerate(rows.items()):
        parts.append(_strip(name, dots, means.get(name), looks[name], x, TOP + ROW * number))
    below = x_axis(frame, x, TOP, height - BOTTOM)
    return _svg(frame.title, below, *parts, width=width, height=height)


def key_of(looks: Mapping[str, Look]) -> Markup:
    """Returns the list of names with how each is drawn."""
    entries = []
    for name, look in looks.items():
        line = polyline([(1, 7), (33, 7)], look.colour, look.dash, 1.8)
        sample = tag("svg", line, marker(17, 7, look), width=34, height=14, aria_hidden="true")
        entries.append(tag("li", sample, name))
    return tag("ul", *entries, class_="key")


def _known(one: Series, frame: Frame) -> list[tuple[Number, Number]]:
    return [
        (x, y)
        for x, y in zip(one.x, one.y, strict=True)
        if math.isfinite(x)
        and math.isfinite(y)
        and not (frame.log_x and x <= 0)
        and not (frame.log_y and y <= 0)
    ]


def _line(one: Series, known: Sequence[tuple[Number, Number]], x: Scale, y: Scale) -> Markup:
    places = [(x.at(a), y.at(b)) for a, b in known]
    if one.faint:
        path = polyline(places, one.look.colour, "", 0.8)
        return tag("g", tag("title", one.name), path, opacity=0.35)
    every = max(1, len(places) // 10)  # markers tell series apart; one per point would hide them
    marks = [marker(*place, one.look) for place in places[::every]]
    path = polyline(places, one.look.colour, one.look.dash, 1.8)
    return tag("g", tag("title", one.name), path, *marks)


def _strip(
    name: str,
    dots: Sequence[tuple[str, Number]],
    mean: tuple[Number, Number, Number] | None,
    look: Look,
    x: Scale,
    top: Number,
) -> Markup:
    middle = top + ROW / 2
    parts = [
        words(NAMES - 10, middle + 4, _short(name), "end", AXIS),
        stroke(NAMES, top + ROW, x.stop, top + ROW, GRID),
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
            parts.append(stroke(x.at(low), middle + 7, x.at(high), middle + 7, "#000", 2.2))
        said = tag("title", f"mean {centre:.3g}")
        parts.append(marker(x.at(centre), middle + 7, Look("#000", "diamond", ""), said, size=4.2))
    return tag("g", *parts)


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


def _short(name: str) -> str:
    """Returns a name that fits beside a row."""
    longest = 32
    return name if len(name) <= longest else f"{name[: longest - 3]}..."
