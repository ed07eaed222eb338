"""All methods on one plane: what each made of it, its error and its stated uncertainty.

All images share one intensity window, all error maps and all uncertainties one scale. The error
map is blue to red, the uncertainty is cividis: both keep their order for colour-blind eyes.

Axes: u, v = the axes of the plane that is shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mriimpute.evaluate import Panel, Summary, View
from mriimpute.files import atomic
from mriimpute.report._plane import annotate, show

__all__ = ["write_comparison"]

WIDTH_INCH = 2.1  # of one column
DPI = 150
ERROR_PERCENTILE = 99.0  # of all methods' absolute errors: the end of the error scale


def write_comparison(path: Path, summary: Summary) -> None:
    """Writes the comparison as a PNG, atomically.

    The first row shows truth, acquired slices and what each method made of them; below each
    method are its error and its standard deviation, in percent of the data range.
    """
    figure = _draw(summary)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": "mriimpute"})


def _draw(summary: Summary) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    panels = summary.panels
    first = next(iter(panels.values()))
    limit = _error_limit(panels)
    view = first.views[0]
    figure = Figure(figsize=_size_inch(view, len(panels)), facecolor="white")
    figure.set_layout_engine("constrained")
    axes = figure.subplots(3, 2 + len(panels), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()

    _show_image(axes[0, 0], view.truth, first, "truth")
    _show_image(axes[0, 1], view.sparse, first, "acquired")
    annotate(axes[0, 0], view)
    _caption(axes[1, 0], first, summary.protocol.part)
    psnr_db = {row.method: row.psnr_db for row in summary.results if row.scan == first.scan}
    for (name, panel), column in zip(panels.items(), axes.T[2:], strict=True):
        _show_image(column[0], panel.views[0].mean, panel, f"{name}\n{psnr_db[name]:.2f} dB")
        error = _show_error(column[1], panel, limit)
        std = _show_std(column[2], panel, limit)
    figure.colorbar(error, ax=axes[1, -1], label="imputed - truth\n(% of data range)")
    figure.colorbar(std, ax=axes[2, -1], label="standard deviation\n(% of data range)")
    return figure


def _size_inch(view: View, methods: int) -> tuple[float, float]:
    (us, vs), (u_mm, v_mm) = view.truth.shape, view.spacing_mm
    height = WIDTH_INCH * (vs * v_mm) / (us * u_mm)
    return WIDTH_INCH * (2 + methods) + 1.2, 3 * height + 0.7


def _show_image(axis: Any, plane: Float32[np.ndarray, "u v"], panel: Panel, title: str) -> None:
    window = (0.0, panel.data_range)
    show(axis, plane, panel.views[0], colours="gray", blank="black", window=window)
    axis.set_title(title, fontsize=9)


def _show_error(axis: Any, panel: Panel, limit: float) -> Any:
    window = (-limit, limit)
    error = _error_percent(panel)
    return show(axis, error, panel.views[0], colours="RdBu_r", blank="0.75", window=window)


def _show_std(axis: Any, panel: Panel, limit: float) -> Any:
    view = panel.views[0]
    if np.isnan(view.std).all():
        where = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "states no\nuncertainty", fontsize=8, color="0.4", **where)
    std = 100 * view.std / panel.data_range
    return show(axis, std, view, colours="cividis", blank="0.75", window=(0.0, limit))


def _caption(axis: Any, panel: Panel, part: str) -> None:
    text = (
        f"{panel.scan}\nthe first scan,\nchosen before any score\n\n"
        f"masked to the {part}\nimages: 0 to the\ndata range\n"
        "dB: all voxels scored"
    )
    axis.text(0.0, 1.0, text, transform=axis.transAxes, fontsize=7, va="top")


def _error_limit(panels: Mapping[str, Panel]) -> float:
    errors = np.concatenate([np.abs(_error_percent(panel)).ravel() for panel in panels.values()])
    known = errors[np.isfinite(errors)]
    return float(max(np.percentile(known, ERROR_PERCENTILE), 1e-6))


def _error_percent(panel: Panel) -> Float[np.ndarray, "u v"]:
    view = panel.views[0]
    return 100 * (view.mean - view.truth) / panel.data_range
