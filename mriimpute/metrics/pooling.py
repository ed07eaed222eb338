"""Rubin's rules: one answer out of the answers that many draws give.

Whatever is measured on images (a volume, a thickness, a coefficient of a regression) is measured
on each of m draws, and the m answers are pooled. With q_k the answer of draw k, and u_k the
variance that it would have if no voxel were missing,

    estimate q = mean q_k        within W = mean u_k        between B = sum (q_k - q)^2 / (m - 1)
    total T = W + (1 + 1/m) B    dof = (m - 1) (1 + W / ((1 + 1/m) B))^2

and (truth - q) / sqrt(T) is Student's t of so many degrees of freedom. Where the answer of a
complete image would be certain, as a volume of a fixed segmentation is, W is 0: what is left is
the missing voxels, and the interval holds the answer of one more draw as often as it says.

Axes: m = draws, and any others behind.

References:
    Rubin, Multiple Imputation for Nonresponse in Surveys, 1987, equations 3.1.2 to 3.1.6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

__all__ = ["Pooled", "pool"]

Number: TypeAlias = float | Float64[np.ndarray, "*n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """A pooled answer; an array in each place where several things were measured.

    Attributes:
        estimate: Mean over draws.
        within: W, mean of the variances given; 0 without any.
        between: B, variance over draws.
        total: T, variance of the estimate.
        dof: Degrees of freedom; infinite where draws do not differ.
        interval: Ends of the central interval.
    """

    estimate: Number
    within: Number
    between: Number
    total: Number
    dof: Number
    interval: tuple[Number, Number]


def pool(
    values: Sequence[Any] | NDArray[Any],
    variances: Sequence[Any] | NDArray[Any] | None = None,
    *,
    level: float = 0.9,
) -> Pooled:
    """Returns what was measured on each draw, pooled by Rubin's rules.

    Example:
        >>> pooled = pool([10.0, 12.0, 14.0], variances=[4.0, 5.0, 7.0])
        >>> pooled.estimate, round(pooled.total, 2), round(pooled.dof, 2)
        (12.0, 10.67, 8.0)

    Args:
        values: One per draw, at least two; or an array per draw, such as several volumes.
        variances: Of each value if no voxel were missing, of the same shape, as a segmentation or
            a regression states it; None: 0.
        level: Of the interval, between 0 and 1.

    Raises:
        ValueError: If there are fewer than two draws, the shapes differ, or a number makes no
            sense.
    """
    from scipy import stats  # not before it is needed: half a second

    measured = np.asarray(values, np.float64)
    stated = np.zeros_like(measured) if variances is None else np.asarray(variances, np.float64)
    _check(measured, stated, level)

    draws = len(measured)
    estimate, within = measured.mean(axis=0), stated.mean(axis=0)
    between = measured.var(axis=0, ddof=1)
    missing = (1 + 1 / draws) * between
    total = within + missing
    share = np.divide(within, missing, out=np.full_like(within, np.inf), where=missing > 0)
    dof = (draws - 1) * np.square(1 + share)
    reach = stats.t.ppf((1 + level) / 2, dof) * np.sqrt(total)
    return Pooled(
        estimate=_number(estimate),
        within=_number(within),
        between=_number(between),
        total=_number(total),
        dof=_number(dof),
        interval=(_number(estimate - reach), _number(estimate + reach)),
    )


def _check(
    measured: Float64[np.ndarray, "*n"], stated: Float64[np.ndarray, "*m"], level: float
) -> None:
    if measured.ndim == 0 or len(measured) < 2:
        raise ValueError(f"values must be those of at least 2 draws, got {measured.size}")
    if stated.shape != measured.shape:
        raise ValueError(f"variances must be {measured.shape} as values are, got {stated.shape}")
    if not (np.isfinite(measured).all() and np.isfinite(stated).all() and (stated >= 0).all()):
        raise ValueError("values must be finite, and variances neither negative nor infinite")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")


def _number(value: Any) -> Number:
    """Returns a plain number where one thing was measured."""
    array = np.asarray(value, np.float64)
    return array if array.ndim else float(array)
