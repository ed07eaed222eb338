"""The outcome of a check."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Verdict", "at_most"]

RELATIVE = "share of the largest"

Verdict = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        verdict: "warn" where the tool works, but slower or not for everything.
        measured: What was found; None where there is no finite number.
        limit: What it must not exceed, or for "bytes" not fall below; None where it is no number.
        unit: Of both: "bytes", "values that differ", "share of the largest", ...
        note: What it means, or what to do.
    """

    name: str
    verdict: Verdict
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    note: str = ""


def at_most(name: str, measured: float, limit: float, unit: str = RELATIVE) -> Check:
    """Returns the check that fails above a limit. NaN fails.

    Example:
        >>> at_most("sum", float("nan"), 1.0).verdict
        'fail'
    """
    if not math.isfinite(measured):
        return Check(name, "fail", None, limit, unit, f"{measured} was computed")
    return Check(name, "ok" if measured <= limit else "fail", measured, limit, unit)
