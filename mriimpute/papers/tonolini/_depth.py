"""The table, panels and claims of `tae-depth`."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from mriimpute.papers.experiment import Cell, Claim, Conclusion, Images, Outcomes, Table

__all__ = ["METHODS", "Method", "conclusion"]

Method = Literal["median", "median-wide", "mvae", "tae"]
METHODS: dict[Method, str] = {
    "median": "median, 5 x 5",
    "median-wide": "median, 11 x 11",
    "mvae": "MVAE",
    "tae": "TAE",
}
UNCERTAINTY: dict[str, str] = {
    "crps": "CRPS [m]",
    "coverage90": "90 % covers",
    "spread_skill": "spread/skill",
    "correlation": "rank correlation of std and error",
}
LEARNT: tuple[Method, ...] = ("mvae", "tae")


def conclusion(outcomes: Outcomes) -> Conclusion:
    """Returns the errors of the methods, and maps of depth and uncertainty as in the paper."""
    # Errors are compared on what the filter of the paper can fill, too: the easier pixels.
    easy = np.isfinite(outcomes[("median",)].arrays["error_m"])
    rows: list[list[Cell]] = []
    for method, label in METHODS.items():
        outcome = outcomes[(method,)]
        error = outcome.arrays["error_m"].astype(np.float64)
        filled = np.isfinite(error)
        rows.append(
            [
                label,
                float((~filled).mean()),
                _root_mean_square(error[filled]),
                float(np.abs(error[filled]).mean()),
                _root_mean_square(error[easy & filled]),
                *(outcome.numbers.get(name) for name in UNCERTAINTY),
                "figure only",
            ]
        )
    columns = [
        "method",
        "not filled",
        "RMSE [m]",
        "MAE [m]",
        "RMSE where 5 x 5 fills [m]",
        *UNCERTAINTY.values(),
        "paper",
    ]
    table = Table("Hidden pixels of test maps", columns, rows)
    return Conclusion([table], _pictures(outcomes), _claims(outcomes))


def _pictures(outcomes: Outcomes) -> list[Images]:
    shown = {label: outcomes[(method,)].arrays for method, label in METHODS.items()}
    first = outcomes[("median",)].arrays
    depth = [
        [
            first["truth_m"][n],
            first["y_m"][n],
            *(arrays["filled_m"][n] for arrays in shown.values()),
        ]
        for n in range(len(first["y_m"]))
    ]
    low, high = np.nanpercentile(first["truth_m"], [1, 99]).tolist()
    std = [
        [outcomes[(method,)].arrays["std_m"][n] for method in LEARNT]
        for n in range(len(first["y_m"]))
    ]
    return [
        Images("Depth", ["recorded", "observed", *METHODS.values()], depth, low, high),
        Images(
            "Standard deviation of draws",
            [METHODS[method] for method in LEARNT],
            std,
            0.0,
            float(np.percentile(np.array(std), 98)),
        ),
    ]


def _claims(outcomes: Outcomes) -> list[Claim]:
    numbers = {method: outcomes[(method,)].numbers for method in LEARNT}
    unfilled = float((~np.isfinite(outcomes[("median",)].arrays["error_m"])).mean())
    mvae, tae = (numbers[method] for method in LEARNT)
    return [
        Claim(
            "The median filter cannot fill pixels surrounded by large missing areas",
            unfilled > 0,
            f"{unfilled:.1%} of the hidden pixels by 5 x 5 pixels",
        ),
        Claim(
            "The uncertainty of TAE is high where it is wrong, more so than that of MVAE",
            tae["correlation"] > max(mvae["correlation"], 0.0),
            f"rank correlation of std and error: TAE {tae['correlation']:.2f}, "
            f"MVAE {mvae['correlation']:.2f}",
        ),
    ]


def _root_mean_square(error: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.square(error).mean())) if error.size else math.nan
