"""One plane of a scan, drawn to scale.

Axes: u, v = the axes of the plane.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from mriimpute.evaluate import View

__all__ = ["annotate", "show"]

BAR_MM = 20.0


def show(
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


def annotate(axis: Any, view: View) -> None:
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
