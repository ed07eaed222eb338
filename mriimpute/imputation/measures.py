"""What is measured on a scan of its own imputation, and which values are usual.

Limits were set on validation scans: `mriimpute/weights/MODEL_CARD.md` says how.
"""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["MEASURES", "Measure", "Status"]

Status = Literal["pass", "look", "fail"]

OPEN = (-math.inf, math.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What is measured, and what it means for the verdict.

    Attributes:
        meaning: In words.
        unit: Empty for a ratio.
        usual: Outside of these limits somebody should look.
        usable: Outside of these the result is not to be used.
        low: Reason below the limits, with {value} or {percent} in it.
        high: Reason above them.
        foreign: Asks whether the scan is like those that the weights of the package learnt from.
    """

    meaning: str
    unit: str = ""
    usual: tuple[float, float] = OPEN
    usable: tuple[float, float] = OPEN
    low: str = ""
    high: str = ""
    foreign: bool = False

    def asked(self, value: float) -> tuple[Status, str]:
        """Returns what a value means, and the reason if it is not "pass"; NaN means nothing."""
        for status, (low, high) in (("fail", self.usable), ("look", self.usual)):
            if value < low or value > high:
                words = self.low if value < low else self.high
                return status, words.format(value=value, percent=100 * value)  # type: ignore[return-value]
        return "pass", ""


MEASURES: dict[str, Measure] = {
    "gain_db": Measure(
        meaning="gain in PSNR over the better of linear and PCHIP interpolation, on lines hidden "
        "in slices of the scan",
        unit="dB",
        usual=(0.3, math.inf),
        low="only {value:.2f} dB better than interpolation on lines hidden in its slices",
    ),
    "shrinkage": Measure(
        meaning="how far from interpolation (0) to the network (1) hidden lines let it go",
        usual=(0.4, 1.0),
        low="hidden lines keep it near interpolation (shrinkage {value:.2f})",
    ),
    "error_over_std": Measure(
        meaning="errors on hidden lines over the std that the model states, uncorrected",
        usual=(0.5, 1.5),
        usable=(0.2, 3.0),
        low="errors on hidden lines are {value:.2f} times what the model expects",
        high="errors on hidden lines are {value:.2f} times what the model expects",
    ),
    "coverage_90": Measure(
        meaning="fraction of hidden pixels inside 90 % intervals",
        usual=(0.85, 0.96),
        usable=(0.75, 0.99),
        low="90 % intervals cover only {percent:.0f} % of hidden pixels",
        high="90 % intervals cover {percent:.0f} % of hidden pixels: they are too wide",
    ),
    "slices_gain_db": Measure(
        meaning="the same gain on every second slice, left out",
        unit="dB",
        usual=(0.0, math.inf),
        low="{value:.2f} dB against interpolation on slices left out",
    ),
    "slices_error_over_std": Measure(
        meaning="errors on left-out slices over the std that hidden lines say, before it is "
        "corrected",
        usual=(0.5, 1.3),
        usable=(0.25, 1.9),
        low="errors on left-out slices are only {value:.2f} times what lines inside slices say",
        high="errors on left-out slices are {value:.2f} times what lines inside slices say",
    ),
    "slices_coverage_90": Measure(
        meaning="fraction of pixels of left-out slices inside 90 % intervals",
        usual=(0.85, 0.96),
        usable=(0.75, 0.99),
        low="90 % intervals cover only {percent:.0f} % of left-out slices",
        high="90 % intervals cover {percent:.0f} % of left-out slices: they are too wide",
    ),
    "interpolated_share": Measure(
        meaning="fraction of the missing voxels that are interpolated, as the model does not know "
        "their gap",
        usual=(0.0, 0.05),
        high="{percent:.0f} % of the missing voxels are interpolated: their gap is more than the "
        "model knows",
    ),
    "slice_shift_mm": Measure(
        meaning="how far every second slice lies from the others, inside slices",
        unit="mm",
        usual=(0.0, 0.7),
        usable=(0.0, 1.5),
        high="every second slice lies over {value:.1f} mm from its neighbours",
    ),
    "brightness_step": Measure(
        meaning="by which fraction every second slice is brighter or darker than the others",
        usual=(0.0, 0.08),
        usable=(0.0, 0.15),
        high="every second slice is {percent:.0f} % brighter or darker than its neighbours",
    ),
    "neighbour_correlation": Measure(
        meaning="correlation of slices with the mean of their neighbours",
        usual=(0.6, 1.0),
        usable=(0.3, 1.0),
        low="slices have little in common with their neighbours (correlation {value:.2f})",
    ),
    "smoothness": Measure(
        meaning="exponent by which differences inside slices grow with distance: 0 noise, 1 ramp",
        usual=(0.2, 0.95),
        usable=(0.1, 1.0),
        low="foreign: slices hold little but noise (smoothness {value:.2f}, heads 0.3 to 0.9)",
        high="foreign: slices are smoother than heads are (smoothness {value:.2f}, heads 0.3 to "
        "0.9)",
        foreign=True,
    ),
    "intensity_distance": Measure(
        meaning="mean difference of quantiles of the foreground from those of the nearest scan "
        "that the weights know",
        usual=(0.0, 0.07),
        usable=(0.0, 0.105),
        high="foreign: intensities are distributed as in no scan that the weights know "
        "({value:.2f} from the nearest, usual up to 0.07)",
        foreign=True,
    ),
    "concentration": Measure(
        meaning="largest fraction of the foreground in a hundredth of its range of intensities",
        usual=(0.0, 0.09),
        usable=(0.0, 0.18),
        high="foreign: {percent:.0f} % of the foreground has one and the same intensity, as in a "
        "phantom or CT (heads 2 to 6 %)",
        foreign=True,
    ),
    "slice_spacing_mm": Measure(
        meaning="widest distance of two neighbouring slices",
        unit="mm",
        usual=(2.0, 9.05),
        low="slices are {value:.1f} mm apart: 2.5 to 9 mm was learnt",
        high="slices are {value:.3g} mm apart: 2.5 to 9 mm was learnt",
        foreign=True,
    ),
    "pixel_mm": Measure(
        meaning="side of a pixel that is farthest from 1 mm",
        unit="mm",
        usual=(0.5, 2.4),
        low="pixels are {value:.2f} mm: 0.6 to 2 mm was learnt",
        high="pixels are {value:.2f} mm: 0.6 to 2 mm was learnt",
        foreign=True,
    ),
}
"""By name: in sidecars, and as columns of `quality.tsv`."""
