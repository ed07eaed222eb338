"""Truth, what was acquired, the best interpolator and another method, its std and two draws.

One brain and no face: what lies outside of the brain is black; where only the head is known, no
plane is a profile. All images share one intensity window; markers at the margins show
where the acquired slices lie.

Axes: u, v = the axes of a plane.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from mriimpute import metrics
from mriimpute.evaluation import Panel, Summary, View
from mriimpute.files import atomic
from mriimpute.report._mosaics import grey_window

__all__ = ["write_figure"]

COLUMN_INCH = 1.6
GAP_INCH, TITLE_INCH, MARGIN_INCH, HEAD_INCH, FOOT_INCH = 0.06, 0.2, 0.25, 0.2, 0.6
DPI = 130
MARKER = 0.025  # length of the marker of a slice, as a fraction of the plane
BAR_MM = 20.0
STD_PERCENTILE = 99.5  # end of the colour scale
COLOURS = 255  # of the file: one fifth of the size, and no step that can be seen


class Column(NamedTuple):
    """One column: its head, and the image that it takes from each view."""

    head: str
    panel: Panel
    image: Callable[[View], Float32[np.ndarray, "u v"]]
    kind: str = "imputed"


def write_figure(path: Path, summary: Summary) -> None:
    """Writes the figure as a PNG, atomically.

    One row per plane. Above each imputed image stands the PSNR of its missing voxels. The methods
    are those that the page shows first, too.
    """
    figure = _draw(summary)
    with atomic(path) as temporary:
        temporary.write_bytes(_png(figure))


def _png(figure: Any) -> bytes:
    from PIL import Image

    drawn, stored = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=DPI, format="png")
    with Image.open(drawn) as image:
        # Not the default, median cut: it spends no colour on the few pixels of a colour scale.
        few = image.convert("RGB").quantize(
            COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    few.save(stored, format="png", optimize=True)
    return stored.getvalue()


def _draw(summary: Summary) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    columns = _columns(summary)
    layout = _layout(columns)
    figure = Figure(figsize=layout.size, facecolor="white")
    window = grey_window(columns[0].panel)
    for row in range(len(layout.heights)):
        for number, column in enumerate(columns):
            axis = figure.add_axes(layout.place(row, number))
            _fill(axis, column, row, layout.width_mm, window, first=number == 0)
    for number, column in enumerate(columns):
        left, _, width, _ = layout.place(0, number)
        x, y = left + width / 2, 1 - layout.fraction_of_height(HEAD_INCH)
        _write(figure, x, y, column.head, ha="center", va="bottom", fontsize=9)
        if column.kind == "std":
            bottom, height = (
                layout.fraction_of_height(FOOT_INCH - 0.17),
                layout.fraction_of_height(0.08),
            )
            _bar(figure, figure.add_axes((left, bottom, width, height)), column)
    left, bottom = layout.place(0, 0)[0], layout.fraction_of_height(0.06)
    _write(figure, left, bottom, _caption(summary, columns), fontsize=7)
    return figure


def _write(figure: Any, x: float, y: float, text: str, **style: Any) -> None:
    """Adds text with names from outside: dollars are no mathematics, and not all is UTF-8."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    figure.text(x, y, plain, parse_math=False, **style)


def _layout(columns: Sequence[Column]) -> "_Layout":
    views = columns[0].panel.views
    width_mm = max(view.truth.shape[0] * view.spacing_mm[0] for view in views)
    heights = [COLUMN_INCH * view.truth.shape[1] * view.spacing_mm[1] / width_mm for view in views]
    width = 2 * MARGIN_INCH + len(columns) * (COLUMN_INCH + GAP_INCH)
    height = HEAD_INCH + sum(heights) + TITLE_INCH * len(views) + FOOT_INCH
    return _Layout(size=(width, height), heights=tuple(heights), width_mm=width_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the planes lie in a figure, all to one scale.

    Attributes:
        size: Of the figure, in inches.
        heights: Of the rows, in inches.
        width_mm: What a column shows.
    """

    size: tuple[float, float]
    heights: tuple[float, ...]
    width_mm: float

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Returns left, bottom, width and height, as fractions of the figure."""
        left = MARGIN_INCH + column * (COLUMN_INCH + GAP_INCH)
        above = HEAD_INCH + sum(self.heights[: row + 1]) + TITLE_INCH * (row + 1)
        return (
            left / self.size[0],
            1 - above / self.size[1],
            COLUMN_INCH / self.size[0],
            self.heights[row] / self.size[1],
        )

    def fraction_of_height(self, inches: float) -> float:
        """Returns a length as a fraction of the figure's height."""
        return inches / self.size[1]


def _columns(summary: Summary) -> list[Column]:
    panels = summary.panels
    baseline, method = summary.best_interpolator, summary.shown_method
    first = panels[method or baseline]
    columns = [
        Column("truth", first, lambda view: view.truth, "truth"),
        Column("acquired", first, lambda view: view.sparse, "sparse"),
    ]
    if baseline:
        columns.append(Column(baseline, panels[baseline], lambda view: view.mean))
    if method:
        columns.append(Column(method, first, lambda view: view.mean))
    if not np.isnan(first.views[0].std).all():
        columns.append(Column("standard deviation", first, lambda view: view.std, "std"))
    if len(first.views[0].draws) > 1:
        columns.append(Column("a draw", first, lambda view: view.draws[0]))
        columns.append(Column("another draw", first, lambda view: view.draws[1]))
    return columns


def _fill(
    axis: Any,
    column: Column,
    row: int,
    width_mm: float,
    window: tuple[float, float],
    *,
    first: bool,
) -> None:
    view = column.panel.views[row]
    image = column.image(view)
    if column.kind == "std":
        percent, limit = 100 / column.panel.data_range, _std_limit(column.panel)
        _show(axis, percent * image, view, colours="inferno", blank="black", window=(0.0, limit))
    else:
        _show(axis, image, view, colours="gray", blank="black", window=window)
    _same_scale(axis, view, width_mm)
    if column.kind == "imputed":
        axis.set_title(f"{_psnr_db(view, image, column.panel):.2f} dB", fontsize=8, pad=2)
    if column.kind in ("truth", "sparse"):
        _add_slice_markers(axis, view)
    if first:
        axis.set_ylabel(view.name, fontsize=8, labelpad=6)
        _annotate(axis, view)
    if column.kind == "sparse" and np.isnan(image).all():
        where = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "between\ntwo slices", fontsize=8, color="0.6", **where)


def _show(
    axis: Any,
    plane: Float[np.ndarray, "u v"],
    view: View,
    *,
    colours: str,
    blank: str,
    window: tuple[float, float],
) -> Any:
    """Returns the image that it adds to `axis`; NaN is `blank`."""
    from matplotlib import colormaps

    u_mm, v_mm = view.spacing_mm
    return axis.imshow(
        np.ma.masked_invalid(plane.T),
        cmap=colormaps[colours].with_extremes(bad=blank),
        vmin=window[0],
        vmax=window[1],
        origin="lower",
        aspect=v_mm / u_mm,
        interpolation="nearest",  # what is shown is what was computed
    )


def _annotate(axis: Any, view: View) -> None:
    """Adds a scale bar and the anatomical letters of the four sides."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    length = BAR_MM / view.spacing_mm[0]
    start, low = left + 1, bottom + 1
    axis.plot([start, start + length], [low, low], color="white", lw=2, solid_capstyle="butt")
    axis.text(start, low + 1, f"{BAR_MM:.0f} mm", color="white", fontsize=6, va="bottom")
    style = {"color": "white", "fontsize": 7}
    middle_u, middle_v = (left + right) / 2, (bottom + top) / 2
    axis.text(left + 1, middle_v, view.ends[0], ha="left", va="center", **style)
    axis.text(right - 1, middle_v, view.ends[1], ha="right", va="center", **style)
    axis.text(middle_u, bottom + 0.5, view.ends[2], ha="center", va="bottom", **style)
    axis.text(middle_u, top - 0.5, view.ends[3], ha="center", va="top", **style)


def _same_scale(axis: Any, view: View, width_mm: float) -> None:
    """Gives all planes as many millimetres per inch, the narrow ones a black margin."""
    middle, half = (view.truth.shape[0] - 1) / 2, width_mm / view.spacing_mm[0] / 2
    axis.set_xlim(middle - half, middle + half)
    axis.set_facecolor("black")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _add_slice_markers(axis: Any, view: View) -> None:
    """Adds lines at both ends of the acquired slices, outside of the image."""
    style = {"color": "tab:red", "linewidth": 0.8, "clip_on": False}
    for place in view.slices.tolist():
        for start, stop in ((-MARKER, 0.0), (1.0, 1 + MARKER)):
            if view.across == 1:
                axis.plot(
                    [start, stop], [place] * 2, transform=axis.get_yaxis_transform(), **style
                )
            else:
                axis.plot(
                    [place] * 2, [start, stop], transform=axis.get_xaxis_transform(), **style
                )


def _bar(figure: Any, axis: Any, column: Column) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(0.0, _std_limit(column.panel)), "inferno")
    bar = figure.colorbar(scale, cax=axis, orientation="horizontal")
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.set_label("% of data range", fontsize=7, labelpad=1)


def _psnr_db(view: View, image: Float32[np.ndarray, "u v"], panel: Panel) -> float:
    missing = view.missing
    return metrics.psnr(view.truth[missing], image[missing], data_range=panel.data_range)


def _std_limit(panel: Panel) -> float:
    values = np.concatenate([view.std[view.missing] for view in panel.views])
    known = values[np.isfinite(values)]
    return float(max(100 * np.percentile(known, STD_PERCENTILE) / panel.data_range, 1e-6))


def _caption(summary: Summary, columns: Sequence[Column]) -> str:
    scan = columns[0].panel.scan
    heads = [column.head for column in columns]
    whole = ", ".join(
        f"{row.method} {row.psnr_db:.2f} dB"
        for row in summary.results
        if row.scan == scan and row.method in heads
    )
    return (
        f"{scan}, the first scan, chosen before any score. Masked to the {summary.protocol.part}; "
        f"red: acquired slices.\ndB: PSNR of the missing voxels shown. All of the scan: {whole}."
    )
