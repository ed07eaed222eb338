"""What becomes of a method that fails on a scan: it is reported and favours no method.

Everything else goes on. All methods are compared on the same scans: those on which none of them
failed. A method that fails so often that too few scans would be left is not compared.
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mriimpute.errors import MethodError, MriImputeError, VolumeError
from mriimpute.evaluation.result import Result
from mriimpute.memory import is_shortage, shortage_as_error

__all__ = ["Scored", "as_mriimpute_error", "comparable", "pair", "pairs"]

MIN_SHARED_FRACTION = 0.5
"""Of the scans that any method has, which the compared methods have to share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Results to compare, and failures.

    Attributes:
        results: Of the scans that all compared methods have, by scan, then by method.
        scans: How many every method was tried on.
        failed: Scans on which a method failed, by method; only of those that did.
    """

    results: list[Result]
    scans: int
    failed: Mapping[str, tuple[str, ...]]


def pair(method: str, scan: str) -> str:
    """Returns what a method on a scan is called."""
    return f"{method} on {scan}"


def pairs(failed: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the names of all failures.

    Args:
        failed: Scans by method.
    """
    return [pair(method, scan) for method, scans in failed.items() for scan in scans]


def as_mriimpute_error(error: Exception, what: str) -> MriImputeError:
    """Returns a failure for the user: its traceback is a note, as frames would hold images.

    Args:
        error: What was caught.
        what: Name of what failed.

    Raises:
        ResourceError: If memory ran out: the next method, or scan, would fail of that, too.
    """
    if isinstance(error, MriImputeError):
        failure = type(error)(str(error), error.hint)
    elif is_shortage(error):
        with shortage_as_error(what):
            raise error
    else:
        problem = " ".join(str(error).split())
        failure = MethodError(
            f"{what}: unexpected {type(error).__name__}: {problem}",
            hint="this is a bug; pass --debug for the traceback and report it",
        )
    failure.add_note("".join(traceback.format_exception(error)))
    return failure


def comparable(
    results: Mapping[tuple[str, str], Result], scans: Sequence[str], methods: Sequence[str]
) -> list[Result]:
    """Returns the results of the scans that every compared method has, by scan, then by method.

    The method with the fewest scans is left out, and then the next, until the others share half
    of the scans that any method has.

    Args:
        results: By scan and method.
        scans: In the order of the results.
        methods: In the order of the results.

    Raises:
        VolumeError: If there is no result.
    """
    if not results:
        raise VolumeError(
            f"none of the {len(scans)} scans can be scored: they cannot be read, or every method "
            "fails on them",
            hint="repair what is named above, or simulate again",
        )
    scans_of = {name: {scan for scan, method in results if method == name} for name in methods}
    compared = [name for name in methods if scans_of[name]]
    enough = MIN_SHARED_FRACTION * len(set.union(*scans_of.values()))
    while len(shared := set.intersection(*(scans_of[m] for m in compared))) < enough:
        if len(compared) == 1:
            break
        compared.remove(min(compared, key=lambda name: len(scans_of[name])))
    return [results[scan, method] for scan in scans if scan in shared for method in compared]
