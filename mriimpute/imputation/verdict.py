"""Whether an imputed scan can be trusted, from its own acquired slices: pass, look or fail.

No truth is asked. What a method has measured on the scan (lines hidden in slices, slices left out)
comes in its `Imputation.quality`; the rest are measures of the scan.

Axes: n = scans that the weights know, l = levels of a distribution.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float64

from mriimpute.cohort.consistency import Consistency, consistency
from mriimpute.geometry import find_stack
from mriimpute.imputation.measures import MEASURES, Status
from mriimpute.methods.base import LEAST_COMPANION_DB, Imputer
from mriimpute.volume import Volume

__all__ = ["NOT_COVERED", "Verdict", "judged"]

NOT_COVERED = (
    "A lesion that lies between two slices is not shown, and neither the standard deviation nor "
    "the draws cover it: only another scan tells."
)

FEWEST_PIXELS = 2000
"""On hidden lines at each distance, that say how well a method does."""

WIDEST_MM = 12.0
"""From slice to slice: farther apart, anatomy alone may move and darken every second one."""

LEAST_REACH = 0.25
"""Of what companions say on hidden lines, that they must say between slices to be praised."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a result can be trusted.

    Attributes:
        status: "pass": nothing speaks against it. "look": somebody should look at it, and at the
            reasons. "fail": not to be used.
        reasons: In words, the worst first.
        measures: By name, see `MEASURES`; NaN where there was nothing to measure.
    """

    status: Status
    reasons: tuple[str, ...]
    measures: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Returns it as plain values for JSON."""
        measures = {}
        for name, value in self.measures.items():
            low, high = (None if math.isinf(end) else end for end in MEASURES[name].usual)
            shown = None if math.isnan(value) else round(value, 4)
            unit = MEASURES[name].unit
            measures[name] = {"value": shown, "unit": unit, "usual": [low, high]}
        return {
            "verdict": self.status,
            "reasons": list(self.reasons),
            "not_covered": NOT_COVERED,
            "measures": measures,
        }


def judged(
    volume: Volume, quality: Mapping[str, Any], imputer: Imputer, *, packaged: bool
) -> Verdict:
    """Returns the verdict on an imputed scan.

    Args:
        volume: The scan on its target grid, as the method saw it.
        quality: What the method measured on it, see `Imputation`; may be empty.
        imputer: The method.
        packaged: Whether it has the weights of the package: only then is it known which scans are
            foreign to it.
    """
    scan = consistency(volume)
    if scan is None:
        reason = "this is no stack of slices: nothing was measured on the scan itself"
        return Verdict("look", (reason,), {})
    if not scan.contrast:
        return Verdict("fail", ("every acquired voxel has the same value",), {})
    known = _of_scan(scan) | _of_method(volume, quality)
    measures = {name: known[name] for name in MEASURES}
    found = [
        MEASURES[name].asked(_adjusted(name, value, scan))
        for name, value in measures.items()
        if packaged or not MEASURES[name].foreign
    ]
    if reason := _unmeasured(scan, measures, imputer):
        found.append(("look", reason))
    for status in ("fail", "look"):
        if any(status == each for each, _ in found):
            order = sorted(found, key=lambda each: ("fail", "look", "pass").index(each[0]))
            reasons = tuple(reason for _, reason in order if reason)
            return Verdict(status, reasons, measures)
    reach = quality.get("companions_reach", 1.0)
    is_believed = quality.get("companions_believed") != 0 and reach >= LEAST_REACH
    helped_db = quality.get("companions_gain_db", 0.0) if is_believed else 0.0
    return Verdict("pass", (_praise(measures, helped_db),), measures)


def _of_scan(scan: Consistency) -> dict[str, float]:
    """Returns the measures of the scan itself."""
    return {
        "slice_shift_mm": scan.slice_shift_mm,
        "brightness_step": math.expm1(scan.brightness_step),
        "neighbour_correlation": scan.neighbour_correlation,
        "smoothness": scan.smoothness,
        "intensity_distance": float(np.abs(_reference() - scan.levels).mean(axis=1).min()),
        "concentration": scan.concentration,
        "slice_spacing_mm": scan.spacing_mm,
        "pixel_mm": max(scan.pixel_mm, key=lambda mm: abs(math.log(mm))),
    }


@cache
def _reference() -> Float64[np.ndarray, "n l"]:
    """Returns the distributions of intensities that the weights of the package know."""
    file = resources.files("mriimpute").joinpath("weights/reference.json")
    return np.array(json.loads(file.read_text(encoding="ascii"))["levels"])


def _of_method(volume: Volume, quality: Mapping[str, Any]) -> dict[str, float]:
    """Returns what a method measured, for the gap that the scan has most of."""
    stack = find_stack(volume.observed)
    # Between neighbours, 1 voxel apart, nothing is missing.
    gaps = Counter(gap for gap in stack.gaps if gap > 1) if stack else Counter[int]()
    commonest = str(gaps.most_common(1)[0][0]) if gaps else ""
    lines = quality.get("gaps", {}).get(commonest, {})
    if lines.get("target_pixels", 0) < FEWEST_PIXELS:
        lines = {}
    slices = quality.get("left_out_slices", {}).get(commonest, {})
    names = ("gain_db", "shrinkage", "error_over_std", "coverage_90")
    found = {name: lines.get(name, math.nan) for name in names}
    for name in ("gain_db", "error_over_std", "coverage_90"):
        found[f"slices_{name}"] = slices.get(name, math.nan)
    return found | {"interpolated_share": quality.get("interpolated_share", math.nan)}


def _adjusted(name: str, value: float, scan: Consistency) -> float:
    """Returns a value as its limits take it: at least so large as it surely is."""
    if name not in ("slice_shift_mm", "brightness_step"):
        return value
    # How far apart are slices that have nothing in common? That reason says enough.
    alike = scan.neighbour_correlation >= MEASURES["neighbour_correlation"].usable[0]
    if scan.spacing_mm > WIDEST_MM or not alike:
        return math.nan
    if name == "slice_shift_mm":
        return max(value - 2 * scan.slice_shift_error_mm, 0.0)
    return math.expm1(max(scan.brightness_step - 2 * scan.brightness_step_error, 0.0))


def _unmeasured(scan: Consistency, measures: Mapping[str, float], imputer: Imputer) -> str:
    """Returns why it is not known how well the method does, if so."""
    if not math.isnan(measures["gain_db"]) or measures["interpolated_share"] > 0.5:
        return ""
    if math.isnan(measures["interpolated_share"]):
        return f"{imputer.name} does not measure on the scan itself how well it does"
    return "too little of a head lies on hidden lines to measure how well it does"


def _praise(measures: Mapping[str, float], companions_db: float) -> str:
    more = (
        f"; companions gain {companions_db:.2f} dB more"
        if companions_db >= LEAST_COMPANION_DB
        else ""
    )
    return (
        f"{measures['gain_db']:.2f} dB better than interpolation on lines hidden in its slices, "
        f"90 % intervals cover {100 * measures['coverage_90']:.0f} % of them{more}"
    )
