"""The kinds of charts on a page: lines, histograms, rows of dots; drawn by matplotlib.

Lengths are in points, each of which is a pixel of the page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from mriimpute.report._html import tag
from mriimpute.report._styles import LineStyle
from mriimpute.report._svg import Tooltips, inline_svg

__all__ = ["Frame", "Series", "dot_rows", "histogram", "line_chart"]

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 10.0, 40.0
ROW_WIDTH, ROW_HEIGHT = 780.0, 30.0  # of rows of dots
LABELS = 210.0  # width of the labels left of rows
LONGEST_LABEL = 32  # characters
TICK = 40.0  # least distance of labels along x
AXIS, GRID, FAINT = "#444444", "#dddddd", "#888888"
DASHED = (0, (3.3, 3.3))

STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "axes.labelsize": 11.5,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "axes.edgecolor": AXIS,
    "axes.labelcolor": AXIS,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "ytick.major.size": 0.0,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
}
"""Settings of matplotlib."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The axes of a chart.

    Attributes:
        title: Read aloud instead of the chart; no other chart of a page has the same.
        x_label: Below.
        y_label: Beside.
        x_limits: Both ends of the axis; None: those of the data.
        x_scale: "linear" or "log".
        y_scale: The same.
        x_ticks: Where the axis has ticks; none: at round numbers.
    """

    title: str
    x_label: str
    y_label: str = ""
    x_limits: tuple[float, float] | None = None
    x_scale: str = "linear"
    y_scale: str = "linear"
    x_ticks: tuple[float, ...] = ()


class Series(NamedTuple):
    """A line, and its name, which is shown where the mouse rests on it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: LineStyle
    faint: bool = False


def line_chart(
    series: Sequence[Series],
    frame: Frame,
    *,
    ideal: Sequence[tuple[float, float]] = (),
    rings: Sequence[tuple[str, float, float]] = (),
) -> Markup:
    """Returns a chart of lines with markers.

    Args:
        series: What is drawn; a point that is not finite is left out.
        frame: Its axes.
        ideal: Corners of the grey dashed line that a perfect method follows.
        rings: Points with a ring around: tooltip, x, y.
    """

    def plot(axes: Any) -> Tooltips:
        axes.grid(axis="y")
        axes.margins(0.03, 0.06)
        if frame.x_limits:
            axes.set_xlim(frame.x_limits)
        if ideal:
            axes.plot(*zip(*ideal, strict=True), color=FAINT, lw=1.2, ls=DASHED)
        for n, line in enumerate(series):
            _plot_line(axes, line, frame, f"line{n}")
        ring = {"ms": 14, "mfc": "none", "mec": "black", "mew": 1.6}
        for n, (_, x, y) in enumerate(rings):
            axes.plot(x, y, "o", gid=f"ring{n}", **ring)
        tooltips: Tooltips = {f"line{n}": [line.name] for n, line in enumerate(series)}
        return tooltips | {f"ring{n}": [text] for n, (text, _, _) in enumerate(rings)}

    if not any(_finite(line, frame) for line in series):
        return _nothing()
    return _chart(frame, plot)


def histogram(
    heights: Sequence[float], frame: Frame, colour: str, *, level: float | None = None
) -> Markup:
    """Returns a histogram.

    Args:
        heights: Of the bars, which share the axis evenly.
        frame: Its axes; without limits x counts the bars.
        colour: Of the bars.
        level: Where a dashed line is drawn: the height that all should have.
    """
    low, high = frame.x_limits or (0.0, float(len(heights)))
    width = (high - low) / max(len(heights), 1)

    def plot(axes: Any) -> Tooltips:
        axes.grid(axis="y")
        left = [low + n * width for n in range(len(heights))]
        axes.bar(left, heights, 0.92 * width, align="edge", color=colour)
        if level is not None:
            axes.hlines(level, low, high, color="black", lw=1.2, ls=DASHED)
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.08 * max(*filter(math.isfinite, heights), level or 0.0, 1e-12))
        return {}

    return _chart(frame, plot)


def dot_rows(
    rows: Mapping[str, Sequence[tuple[str, float]]],
    frame: Frame,
    styles: Mapping[str, LineStyle],
    *,
    means: Mapping[str, tuple[float, float, float]],
    zero: float | None = None,
) -> Markup:
    """Returns rows of dots, one row per method.

    Args:
        rows: By method, the name and the value of each dot.
        frame: Its axes; `y_label` is not used.
        styles: Of the methods.
        means: By method the mean and both ends of its interval, NaN where there is none.
        zero: Where a line is drawn from top to bottom.
    """

    def plot(axes: Any) -> Tooltips:
        axes.grid(axis="x")
        axes.margins(x=0.04)
        if zero is not None:
            axes.axvline(zero, color=AXIS, lw=1)
        tooltips: Tooltips = {}
        for n, (name, dots) in enumerate(rows.items()):
            tooltips |= _plot_dots(axes, n, dots, styles[name])
            tooltips |= _plot_mean(axes, n, *means[name])
        axes.set_ylim(ROW_HEIGHT * len(rows), 0)
        axes.yaxis.set_visible(False)
        return tooltips

    if not any(math.isfinite(value) for dots in rows.values() for _, value in dots):
        return _nothing()
    labels = {f"label{n}": _shortened(name) for n, name in enumerate(rows)}
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    return _chart(frame, plot, width=ROW_WIDTH, height=height, left=LABELS, labels=labels)


def _chart(
    frame: Frame,
    plot: Callable[[Any], Tooltips],
    *,
    width: float = WIDTH,
    height: float = HEIGHT,
    left: float = LEFT,
    labels: Mapping[str, str] | None = None,
) -> Markup:
    """Returns a chart; `plot` fills its axes and returns their tooltips."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    with rc_context(STYLE):
        figure = Figure(figsize=(width / 72, height / 72))
        inside = (width - left - RIGHT) / width, (height - TOP - BOTTOM) / height
        axes = figure.add_axes((left / width, BOTTOM / height, *inside))
        axes.set(xlabel=frame.x_label, xscale=frame.x_scale)
        axes.set(ylabel=frame.y_label, yscale=frame.y_scale)
        axes.yaxis.set_label_coords(14 / width, 0.5, transform=figure.transFigure)
        tooltips = plot(axes)
        _set_ticks(axes.xaxis, frame.x_ticks, int((width - left) / TICK))
        _set_ticks(axes.yaxis, (), 8)
        return inline_svg(figure, frame.title, tooltips=tooltips, labels=labels)


def _set_ticks(axis: Any, ticks: Sequence[float], most: int) -> None:
    """Sets the ticks of an axis; none: at round numbers, at `most` so many."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    if ticks:
        axis.set_major_locator(FixedLocator(ticks))
    elif axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e3 * low else (1,)))
    else:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.set_minor_locator(NullLocator())


def _plot_line(axes: Any, line: Series, frame: Frame, gid: str) -> None:
    points = _finite(line, frame)
    if not points:
        return
    style = line.style.line2d()
    if line.faint:
        style |= {"linewidth": 0.8, "linestyle": "-", "alpha": 0.35, "marker": ""}
    every = max(1, len(points) // 10)  # markers tell series apart; one per point would hide them
    axes.plot(*zip(*points, strict=True), markevery=every, gid=gid, **style)


def _plot_dots(axes: Any, n: int, dots: Sequence[tuple[str, float]], style: LineStyle) -> Tooltips:
    """Adds a row: its label, a line below, and dots."""
    top = ROW_HEIGHT * n
    known = [(name, value) for name, value in dots if math.isfinite(value)]
    across = axes.get_yaxis_transform()
    axes.text(-0.018, top + 19, "-", ha="right", color=AXIS, transform=across, gid=f"label{n}")
    axes.hlines(top + ROW_HEIGHT, 0, 1, color=GRID, lw=1, transform=across)
    dot = {"ms": 6.4, "mew": 0, "alpha": 0.75, "gid": f"dots{n}"}
    values = [value for _, value in known]
    axes.plot(values, [top + 10] * len(known), style.marker, color=style.colour, **dot)
    return {f"dots{n}": [f"{name}: {value:.3g}" for name, value in known]}


def _plot_mean(axes: Any, n: int, mean: float, low: float, high: float) -> Tooltips:
    if not math.isfinite(mean):
        return {}
    place = ROW_HEIGHT * n + 22
    if math.isfinite(low) and math.isfinite(high):
        axes.hlines(place, low, high, color="black", lw=2.2)
    axes.plot(mean, place, "D", ms=7, mew=0, color="black", gid=f"mean{n}")
    return {f"mean{n}": [f"mean {mean:.3g}"]}


def _finite(line: Series, frame: Frame) -> list[tuple[float, float]]:
    """Returns the points that can be drawn."""
    lowest_x, lowest_y = (
        0.0 if scale == "log" else -math.inf for scale in (frame.x_scale, frame.y_scale)
    )
    return [
        (x, y)
        for x, y in zip(line.x, line.y, strict=True)
        if lowest_x < x < math.inf and lowest_y < y < math.inf
    ]


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 3]}..."


def _nothing() -> Markup:
    return tag("p", "No number to draw.", class_="note")
