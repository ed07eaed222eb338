"""The pictures of an evaluation: what each method made of a scan, its error and its uncertainty.

Axes: u, v = the axes of a plane.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from markupsafe import Markup

from mriimpute import metrics
from mriimpute.evaluation import Panel, View
from mriimpute.report._html import join, tag
from mriimpute.report._pictures import (
    DIVERGING,
    SEQUENTIAL,
    Album,
    Plane,
    Scale,
    flicker,
    scale_bar,
)

__all__ = ["Mosaics", "flicker_of", "grey_window"]

PERCENTILE = 99.0  # of absolute errors, or of standard deviations, of all methods: end of a scale
WINDOW = (0.5, 99.8)  # percentiles of the truth at which pictures are black and white
MARGIN_MM = 4.0
PERCENT = "% of the data range"


class Cell(NamedTuple):
    """A picture and what stands below it."""

    name: str
    description: str
    caption: str
    slices: bool = False
    sides: bool = False
    map_: bool = False


class Mosaics:
    """The pictures of one scan.

    Args:
        album: Keeps the pictures.
        panels: What each method made of the scan, by method. Their errors decide where the scale
            of errors ends, and their standard deviations where that of standard deviations does.
    """

    def __init__(self, album: Album, panels: Mapping[str, Panel]) -> None:
        self.album = album
        self.panels = panels
        self.first = next(iter(panels.values()))
        self.error_scale = DIVERGING(_limit_percent(panels, lambda view: view.mean - view.truth))
        self.grey = Scale("gray", *grey_window(self.first))
        self.std_scale = SEQUENTIAL(_limit_percent(panels, lambda view: view.std))
        self.width_mm = MARGIN_MM + max(
            view.truth.shape[0] * view.spacing_mm[0] for view in self.first.views
        )
        self._names: dict[tuple[str, str, int], str] = {}

    def picture(self, kind: str, method: str, number: int) -> str:
        """Returns the name of a picture, which is stored when first asked for.

        Args:
            kind: "truth", "sparse", "mean", "error" or "std".
            method: Its name; not used for truth and sparse.
            number: Of the view, from 0.
        """
        method = method if kind in ("mean", "error", "std") else ""
        key = (kind, method, number)
        if key not in self._names:
            panel = self.panels[method] if method else self.first
            view = panel.views[number]
            image, scale = self._image(kind, view, panel.data_range)
            self._names[key] = self.album.put(image, scale, view.spacing_mm)
        return self._names[key]

    def _image(
        self, kind: str, view: View, data_range: float
    ) -> tuple[Float32[np.ndarray, "u v"], Scale]:
        match kind:
            case "error":
                return 100 * (view.mean - view.truth) / data_range, self.error_scale
            case "std":
                return 100 * view.std / data_range, self.std_scale
            case _:
                return getattr(view, kind), self.grey

    def overview(self, baseline: str, method: str, *, failure: bool = False) -> Markup:
        """Returns one row per plane: truth, acquired, two methods, error and std of the second.

        Args:
            baseline: The first method; "" leaves it out.
            method: The second; "" leaves it out.
            failure: Show the error of the first, too, instead of what was acquired.
        """
        methods = [name for name in (baseline, method) if name]
        rows = []
        for number in range(len(self.first.views)):
            figures = [
                tag("figure", self._show(cell, number), tag("figcaption", cell.caption))
                for cell in self._overview_cells(number, methods, failure=failure)
            ]
            rows.append(tag("div", *figures, class_="row"))
        return tag("div", *rows, self._scales(), class_="mosaic")

    def each(self) -> Markup:
        """Returns for every plane what every method made of it, its error and its std."""
        return join(
            *(
                join(
                    tag("h4", f"{view.name.capitalize()} plane"),
                    tag("div", *(self._card(m, number) for m in self.panels), class_="cards"),
                )
                for number, view in enumerate(self.first.views)
            ),
            self._scales(),
        )

    def _scales(self) -> Markup:
        """Returns what the colours mean."""
        return tag(
            "div",
            scale_bar(self.error_scale, f"error: imputed minus truth, {PERCENT}"),
            scale_bar(self.std_scale, f"standard deviation, {PERCENT}"),
            class_="scales",
        )

    def _show(self, cell: Cell, number: int) -> Markup:
        return self.album.show(
            cell.name,
            _plane(self.first.views[number]),
            cell.description,
            width_mm=self.width_mm,
            slices=cell.slices,
            sides=cell.sides,
            class_="plane map" if cell.map_ else "plane",
        )

    def _overview_cells(self, number: int, methods: list[str], *, failure: bool) -> list[Cell]:
        view = self.first.views[number]
        between = ": none here, between two slices" if np.isnan(view.sparse).all() else ""
        shown = [("truth", "", f"{view.name}, truth")]
        shown += [] if failure else [("sparse", "", f"acquired{between}")]
        shown += [("mean", name, f"{name} {self._psnr(name, number)}") for name in methods]
        with_error = methods if failure else methods[-1:]
        shown += [("error", name, f"error of {name}") for name in with_error]
        if not np.isnan(self.panels[methods[-1]].views[number].std).all():
            shown.append(("std", methods[-1], f"standard deviation of {methods[-1]}"))
        return [
            Cell(
                self.picture(kind, name, number),
                f"{view.name} plane: {caption}",
                caption,
                slices=kind in ("truth", "sparse"),
                sides=kind == "truth",
                map_=kind in ("error", "std"),
            )
            for kind, name, caption in shown
        ]

    def _card(self, method: str, number: int) -> Markup:
        view = self.panels[method].views[number]
        kinds = {"mean": "imputed", "error": "error"}
        if not np.isnan(view.std).all():
            kinds["std"] = "standard deviation"
        pictures = [
            self._show(
                Cell(
                    self.picture(kind, method, number),
                    f"{view.name} plane, {method}: {what}",
                    "",
                    slices=kind == "mean",
                    map_=kind != "mean",
                ),
                number,
            )
            for kind, what in kinds.items()
        ]
        caption = tag("figcaption", tag("b", method), f" {self._psnr(method, number)}")
        note = () if "std" in kinds else (tag("p", "states no uncertainty", class_="none"),)
        return tag("figure", caption, *pictures, *note)

    def _psnr(self, method: str, number: int) -> str:
        panel = self.panels[method]
        view = panel.views[number]
        missing = view.missing
        if not missing.any():
            return ""
        value = metrics.psnr(view.truth[missing], view.mean[missing], data_range=panel.data_range)
        return f"{value:.2f} dB"


def grey_window(panel: Panel) -> tuple[float, float]:
    """Returns the intensities that are black and white: they need not begin at 0."""
    truth = np.concatenate([view.truth[np.isfinite(view.truth)] for view in panel.views])
    low, high = np.percentile(truth, WINDOW).tolist() if len(truth) else (0.0, 0.0)
    return low, high if high > low else low + panel.data_range


def flicker_of(mosaics: Mosaics, before: str, after: str) -> Markup:
    """Returns the planes of a scan, which change between two methods, truth or acquired slices."""
    views = mosaics.first.views
    sources = {"truth": ("truth", ""), "acquired slices": ("sparse", "")}
    sources |= {method: ("mean", method) for method in mosaics.panels}
    names = {
        label: [mosaics.picture(*source, number) for number in range(len(views))]
        for label, source in sources.items()
    }
    return flicker(
        mosaics.album,
        [_plane(view) for view in views],
        names,
        before=before,
        after=after,
        width_mm=mosaics.width_mm,
    )


def _plane(view: View) -> Plane:
    return Plane(view.name, view.spacing_mm, view.ends, view.across, tuple(view.slices.tolist()))


def _limit_percent(
    panels: Mapping[str, Panel], kind: Callable[[View], Float32[np.ndarray, "u v"]]
) -> float:
    """Returns the end of a scale, in percent of the data range, for all methods and planes."""
    values = np.concatenate(
        [
            np.abs(100 * kind(view) / panel.data_range)[view.missing]
            for panel in panels.values()
            for view in panel.views
        ]
    )
    known = values[np.isfinite(values)]
    return float(max(np.percentile(known, PERCENTILE), 1e-6)) if len(known) else 1.0
