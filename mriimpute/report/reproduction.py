"""The panels of a reproduced figure.

The first colours are those of Okabe and Ito, which colour-blind eyes tell apart; each series has a
marker or a hatch besides, so that grey paper shows it, too, and is drawn alike in all panels.

Axes: (h, w) = rows and columns of an image.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mriimpute.files import atomic
from mriimpute.papers.experiment import Bars, Conclusion, Images, Lines, Plot
from mriimpute.report._styles import LineStyle, line_styles

__all__ = ["write_panels"]

DPI = 150
COLUMNS = 3  # panels side by side
PANEL_INCH = (4.2, 3.3)
IMAGE_INCH = 1.05
LEGEND_COLUMNS = 2  # above bars
MISSING = "#9BC4E2"  # no grey, so never taken for an intensity


def write_panels(path: Path, title: str, conclusion: Conclusion) -> None:
    """Writes all plots of a conclusion as one PNG, atomically.

    Args:
        path: Of the PNG.
        title: Stands above the panels.
        conclusion: Gives the plots, in order.
    """
    figure = _draw(title, conclusion.plots)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": "mriimpute"})


def _draw(title: str, plots: Sequence[Plot]) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = list(_rows(plots))
    sizes = [_size_inch(row) for row in rows]
    width, height = max(w for w, _ in sizes), sum(h for _, h in sizes)
    figure = Figure(figsize=(width, height + 0.5), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))
    figure.suptitle(title, fontsize=11)
    bands = figure.subfigures(len(rows), 1, height_ratios=[h for _, h in sizes], squeeze=False)
    styles = _styles(plots)
    for band, row in zip(bands[:, 0], rows, strict=True):
        if isinstance(row[0], Images):
            _show_images(band, row[0])
            continue
        axes = band.subplots(1, max(len(row), _across(rows)), squeeze=False)[0]
        for axis in axes[len(row) :]:
            axis.set_axis_off()
        for axis, plot in zip(axes, row, strict=False):
            _show(axis, plot, styles)
    return figure


def _rows(plots: Sequence[Plot]) -> Iterator[list[Plot]]:
    """Yields what stands side by side: up to three charts, or one block of images."""
    row: list[Plot] = []
    for plot in plots:
        if row and (isinstance(plot, Images) or len(row) == COLUMNS):
            yield row
            row = []
        if isinstance(plot, Images):
            yield [plot]
        else:
            row.append(plot)
    if row:
        yield row


def _across(rows: Sequence[Sequence[Plot]]) -> int:
    return max(len(row) for row in rows if not isinstance(row[0], Images))


def _size_inch(row: Sequence[Plot]) -> tuple[float, float]:
    first = row[0]
    if not isinstance(first, Images):
        return PANEL_INCH[0] * len(row), PANEL_INCH[1]
    h, w = first.rows[0][0].shape
    return IMAGE_INCH * len(first.columns) * max(w / h, 1.0), IMAGE_INCH * len(first.rows) + 0.6


def _styles(plots: Sequence[Plot]) -> Mapping[str, LineStyle]:
    return line_styles(
        name for plot in plots if not isinstance(plot, Images) for name in plot.series
    )


def _show(axis: Any, plot: Plot, styles: Mapping[str, LineStyle]) -> None:
    match plot:
        case Lines():
            _show_lines(axis, plot, styles)
        case Bars():
            _show_bars(axis, plot, styles)
    axis.set_title(plot.title, fontsize=10)
    axis.tick_params(which="both", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", which="major", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    if not isinstance(plot, Images) and len(plot.series) > 1:
        axis.legend(**_legend(plot))


def _legend(plot: Lines | Bars) -> dict[str, Any]:
    options: dict[str, Any] = {"fontsize": 8, "framealpha": 0.85, "handlelength": 2.2}
    if isinstance(plot, Bars):
        options |= {"loc": "upper center", "ncols": LEGEND_COLUMNS}  # in the space above the bars
    return options


def _show_lines(axis: Any, plot: Lines, styles: Mapping[str, LineStyle]) -> None:
    for name, (x, y, std) in plot.series.items():
        style = styles[name]
        every = max(1, len(x) // 8)  # markers tell series apart; one per point would hide them
        markers = {"marker": style.marker, "markersize": 4.5, "markevery": every}
        axis.plot(x, y, color=style.colour, label=name, linewidth=1.5, **markers)
        if std is not None:
            low, high = np.subtract(y, std), np.add(y, std)
            axis.fill_between(x, low, high, color=style.colour, alpha=0.2, linewidth=0)
    axis.set_xlabel(plot.x_label, fontsize=9)
    axis.set_ylabel(plot.y_label, fontsize=9)
    if plot.log_x:
        axis.set_xscale("log")
    if plot.log_y:
        axis.set_yscale("log")


def _show_bars(axis: Any, plot: Bars, styles: Mapping[str, LineStyle]) -> None:
    places, width = np.arange(len(plot.groups)), 0.8 / len(plot.series)
    for n, (name, heights) in enumerate(plot.series.items()):
        style = styles[name]
        axis.bar(
            places + (n - (len(plot.series) - 1) / 2) * width,
            heights,
            width,
            yerr=plot.error_bars.get(name),
            color=style.colour,
            hatch=style.hatch,
            edgecolor="white",
            error_kw={"linewidth": 1.0, "capsize": 2},
            label=name,
        )
    axis.margins(y=0.1 + 0.09 * -(-len(plot.series) // LEGEND_COLUMNS))
    axis.set_xticks(places, plot.groups, fontsize=8)
    axis.set_ylabel(plot.y_label, fontsize=9)


def _show_images(band: Any, plot: Images) -> None:
    from matplotlib import colormaps

    band.suptitle(plot.title, fontsize=10)
    cmap = colormaps["gray"].with_extremes(bad=MISSING)
    axes = band.subplots(len(plot.rows), len(plot.columns), squeeze=False)
    for line, images in zip(axes, plot.rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.set_axis_off()
            axis.imshow(
                np.ma.masked_invalid(image),
                cmap=cmap,
                vmin=plot.vmin,
                vmax=plot.vmax,
                interpolation="nearest",  # what is shown is what was computed
            )
    for axis, name in zip(axes[0], plot.columns, strict=True):
        axis.set_title(name, fontsize=8)
