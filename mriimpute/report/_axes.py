"""The axes of a chart: from values to places, and where round numbers lie."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mriimpute.report._html import Markup, join, tag
from mriimpute.report._marks import Number, stroke, words

__all__ = [
    "AXIS",
    "BOTTOM",
    "GRID",
    "HEIGHT",
    "LEFT",
    "RIGHT",
    "TOP",
    "WIDTH",
    "Frame",
    "Scale",
    "axes",
    "scale_of",
    "x_axis",
]

WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 10.0, 40.0
AXIS, GRID = "#444", "#ddd"
TICKS = 5


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


class Scale(NamedTuple):
    """From values to places."""

    low: Number
    high: Number
    start: Number
    stop: Number
    log: bool

    def at(self, value: Number) -> Number:
        """Returns the place of a value."""
        low, high, value = (
            map(math.log10, (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[Number]:
        """Returns round values between both ends."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            sizes = (1, 2, 5) if last - first < 3 else (1,)
            every = [size * 10.0**power for power in range(first, last + 1) for size in sizes]
            return [tick for tick in every if self.low <= tick <= self.high]
        return _ticks(self.low, self.high)


def axes(frame: Frame, x: Scale, y: Scale) -> Markup:
    """Returns both axes of a chart of the usual size."""
    lines, bottom = [], HEIGHT - BOTTOM
    for tick in y.ticks():
        place = y.at(tick)
        lines.append(stroke(LEFT, place, WIDTH - RIGHT, place, GRID))
        lines.append(words(LEFT - 6, place + 4, _number(tick), "end", AXIS))
    middle = (TOP + bottom) / 2
    label = tag(
        "text", frame.y_label, transform=f"translate(12 {middle:.0f}) rotate(-90)",
        text_anchor="middle", fill=AXIS,
    )  # fmt: skip
    return join(*lines, label, x_axis(frame, x, bottom, bottom))


def x_axis(frame: Frame, x: Scale, top: Number, bottom: Number) -> Markup:
    """Returns the axis below, whose ticks begin at `top`."""
    parts = []
    for tick in frame.x_ticks or x.ticks():
        place = x.at(tick)
        parts.append(stroke(place, top, place, bottom + 4, GRID if top < bottom else AXIS))
        parts.append(words(place, bottom + 16, _number(tick), "middle", AXIS))
    parts.append(stroke(x.start, bottom, x.stop, bottom, AXIS))
    parts.append(words((x.start + x.stop) / 2, bottom + 34, frame.x_label, "middle", AXIS))
    return join(*parts)


def scale_of(
    values: Sequence[Number],
    ends: tuple[Number, Number] | None,
    start: Number,
    stop: Number,
    *,
    log: bool,
    margin: Number,
) -> Scale:
    """Returns the scale that holds the values with a margin, or one with these ends."""
    if ends is not None:
        return Scale(*ends, start, stop, log)
    low, high = min(values), max(values)
    if log:
        low, high = 10 ** (math.log10(low) - 0.12), 10 ** (math.log10(high) + 0.12)
    else:
        room = margin * (high - low) or max(abs(high) * 0.1, 0.1)
        low, high = low - room, high + room
    return Scale(low, high, start, stop, log)


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
