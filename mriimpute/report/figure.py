"""Truth, what was acquired, and each method with its error and its stated uncertainty.

All images share one intensity window, all error maps and all uncertainties one scale. The error
map is blue to red, the uncertainty is cividis: both keep their order for colour-blind eyes.

Axes: u, v = the axes of the plane that is shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mriimpute.evaluate import Panel, Summary
from mriimpute.files import atomic

__all__ = ["write_figure"]

WIDTH_INCH = 2.1  # of one column
DPI = 150
ERROR_PERCENTILE = 99.0  # of all methods' absolute errors: the end of the error scale
BAR_MM = 20.0


def write_figure(path: Path, summary: Summary) -> None:
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
    figure = Figure(figsize=_size_inch(first, len(panels)), facecolor="white")
    figure.set_layout_engine("constrained")
    axes = figure.subplots(3, 2 + len(panels), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()

    _show_image(axes[0, 0], first.truth, first, "truth")
    _show_image(axes[0, 1], first.sparse, first, "acquired")
    _annotate(axes[0, 0], first)
    _caption(axes[1, 0], first)
    psnr_db = {row.method: row.psnr_db for row in summary.rows if row.scan == first.scan}
    for (name, panel), column in zip(panels.items(), axes.T[2:], strict=True):
        _show_image(column[0], panel.mean, panel, f"{name}\n{psnr_db[name]:.2f} dB")
        error = _show_error(column[1], panel, limit)
        std = _show_std(column[2], panel, limit)
    figure.colorbar(error, ax=axes[1, -1], label="imputed - truth\n(% of data range)")
    figure.colorbar(std, ax=axes[2, -1], label="standard deviation\n(% of data range)")
    return figure


def _size_inch(panel: Panel, methods: int) -> tuple[float, float]:
    (us, vs), (u_mm, v_mm) = panel.truth.shape, panel.spacing_mm
    height = WIDTH_INCH * (vs * v_mm) / (us * u_mm)
    return WIDTH_INCH * (2 + methods) + 1.2, 3 * height + 0.7


def _show_image(axis: Any, plane: Float32[np.ndarray, "u v"], panel: Panel, title: str) -> None:
    _show(axis, plane, panel, "gray", "black", 0.0, panel.data_range)
    axis.set_title(title, fontsize=9)


def _show_error(axis: Any, panel: Panel, limit: float) -> Any:
    error = _percent(panel.mean - panel.truth, panel)
    return _show(axis, error, panel, "RdBu_r", "0.75", -limit, limit)


def _show_std(axis: Any, panel: Panel, limit: float) -> Any:
    if np.isnan(panel.std).all():
        where = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "states no\nuncertainty", fontsize=8, color="0.4", **where)
    return _show(axis, _percent(panel.std, panel), panel, "cividis", "0.75", 0.0, limit)


def _show(
    axis: Any,
    plane: Float[np.ndarray, "u v"],
    panel: Panel,
    colours: str,
    blank: str,
    low: float,
    high: float,
) -> Any:
    from matplotlib import colormaps

    cmap = colormaps[colours].with_extremes(bad=blank)
    u_mm, v_mm = panel.spacing_mm
    return axis.imshow(
        np.ma.masked_invalid(plane.T),
        cmap=cmap,
        vmin=low,
        vmax=high,
        origin="lower",
        aspect=v_mm / u_mm,
        interpolation="nearest",  # what is shown is what was computed
    )


def _annotate(axis: Any, panel: Panel) -> None:
    """Adds a scale bar and the anatomical letters of the four sides."""
    us, vs = panel.truth.shape
    length = BAR_MM / panel.spacing_mm[0]
    axis.plot([1, 1 + length], [1, 1], color="white", linewidth=2, solid_capstyle="butt")
    axis.text(1, 2, f"{BAR_MM:.0f} mm", color="white", fontsize=6, va="bottom")
    left, right, bottom, top = panel.ends
    style = {"color": "white", "fontsize": 7}
    axis.text(0, vs / 2, left, ha="left", va="center", **style)
    axis.text(us - 1, vs / 2, right, ha="right", va="center", **style)
    axis.text(us / 2, 0, bottom, ha="center", va="bottom", **style)
    axis.text(us / 2, vs - 1, top, ha="center", va="top", **style)


def _caption(axis: Any, panel: Panel) -> None:
    text = (
        f"{panel.scan}\nthe first test scan,\nchosen before any score\n\n"
        "masked to the brain\nimages: 0 to the 99.5th\npercentile of the truth\n"
        "dB: all missing voxels\nof the brain"
    )
    axis.text(0.0, 1.0, text, transform=axis.transAxes, fontsize=7, va="top")


def _error_limit(panels: Mapping[str, Panel]) -> float:
    errors = np.concatenate(
        [np.abs(_percent(panel.mean - panel.truth, panel)).ravel() for panel in panels.values()]
    )
    known = errors[np.isfinite(errors)]
    return float(max(np.percentile(known, ERROR_PERCENTILE), 1e-6))


def _percent(plane: Float32[np.ndarray, "u v"], panel: Panel) -> Float[np.ndarray, "u v"]:
    return 100 * plane / panel.data_range
