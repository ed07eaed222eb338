"""Scoring scans by methods: side by side in processes, each finished result kept at once.

The results are the same for any number of processes and after any number of stops, but for the
seconds in them.
"""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.evaluation.case import SparseScan, TestCase
from mriimpute.evaluation.failures import Scored, as_mriimpute_error, comparable, pair
from mriimpute.evaluation.hidden import TargetGridImputer
from mriimpute.evaluation.inpainting import inpainting_scores
from mriimpute.evaluation.methods import Method, require_unshared
from mriimpute.evaluation.panels import SHOWN_DRAWS, Panel, cut
from mriimpute.evaluation.protocol import INPAINT
from mriimpute.evaluation.result import Result
from mriimpute.evaluation.scores import score_method
from mriimpute.evaluation.simulated import OnFailure
from mriimpute.evaluation.store import Store
from mriimpute.imputation.companions import HelpedImputer
from mriimpute.imputation.sources import session_of
from mriimpute.io import find_scans
from mriimpute.memory import keep_freed_memory
from mriimpute.methods.base import Imputer
from mriimpute.progress import Track
from mriimpute.workers import killed_worker, run_tasks, stop_requested

__all__ = ["Work", "score_all"]

log = logging.getLogger(__name__)

S = TypeVar("S", bound=SparseScan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work(Generic[S]):
    """What is done with each scan; travels to other processes.

    Attributes:
        read: Makes the test case of a scan.
        methods: What imputes each scan.
        store: Where results are kept.
        samples: Draws to score, at least 2.
        seed: Of the draws.
        shown_scan: Name of the scan whose draws the figures show.
    """

    read: Callable[[S], TestCase]
    methods: tuple[Method, ...]
    store: Store
    samples: int
    seed: int
    shown_scan: str


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """A result, or why there is none; without a method the scan itself cannot be read."""

    scan: str
    method: str
    result: Result | None = None
    error: MriImputeError | None = None

    @property
    def name(self) -> str:
        """What is left out where there is no result."""
        return pair(self.method, self.scan) if self.method else self.scan


def score_all(
    work: Work[S],
    scans: Sequence[S],
    *,
    jobs: int,
    track: Track,
    on_failure: OnFailure | None,
) -> Scored:
    """Returns what is compared, and what failed; whatever fails, everything else goes on.

    Args:
        work: What to do with each scan.
        scans: What to score.
        jobs: Processes that work side by side.
        track: Shows progress.
        on_failure: Called for each scan that cannot be read, and for each method that fails on a
            scan; None: the first failure is raised.

    Raises:
        ConfigError: If several processes would share one GPU.
        MriImputeError: The first failure, if `on_failure` is None, or if the only scan cannot be
            read.
        OutputError: If a result was made by a method of that name with other weights.
        ResourceError: If memory ran out.
        VolumeError: If nothing could be scored.
    """
    require_unshared({m.imputer.device for m in work.methods}, jobs)
    results: dict[tuple[str, str], Result] = {}
    missing: dict[tuple[str, str], MriImputeError] = {}
    total = len(scans) * len(work.methods)
    for outcome in track(_outcomes(work, scans, jobs), total=total, label="scoring"):
        key = outcome.scan, outcome.method
        if outcome.result is not None:
            results[key] = outcome.result
        elif outcome.error is not None and key not in missing:
            # The error of a lone scan says more than that none is left.
            if on_failure is None or (len(scans) == 1 and not outcome.method):
                raise outcome.error
            on_failure(outcome.name, outcome.error)
            missing[key] = outcome.error
    names = [scan.name for scan in scans]
    methods = [method.name for method in work.methods]
    failed = {m: tuple(name for name in names if (name, m) in missing) for m in methods}
    return Scored(
        results=comparable(results, names, methods),
        scans=sum((name, "") not in missing for name in names),
        failed={method: on for method, on in failed.items() if on},
    )


def _outcomes(work: Work[S], scans: Sequence[S], jobs: int) -> Iterator[_Outcome]:
    """Yields one outcome per scan and method, in any order."""
    todo = []
    for scan in scans:
        kept = [work.store.result(scan.name, method) for method in work.methods]
        yield from (
            _Outcome(result.scan, result.method, result) for result in kept if result is not None
        )
        if None in kept:
            todo.append(scan)
    if jobs == 1 or len(todo) < 2:
        for scan in todo:
            yield from _scored(work, scan)
        return

    workers = min(jobs, len(todo))
    log.info("%d scans at once: times are those of a machine that is busy with others", workers)
    score, killed = partial(_scored_here, work), killed_worker("scored scans")
    for _, outcomes in run_tasks(score, todo, workers=workers, killed=killed):
        yield from outcomes


def _scored(work: Work[S], scan: S) -> Iterator[_Outcome]:
    """Yields the outcomes of methods whose result is missing."""
    missing = [m for m in work.methods if work.store.result(scan.name, m) is None]
    try:
        case = work.read(scan)
    except Exception as error:  # whatever is wrong with one scan, the others are scored
        unreadable = _Outcome(scan.name, "", error=as_mriimpute_error(error, scan.name))
        yield from itertools.repeat(unreadable, len(missing))
        return

    for method in missing:
        try:
            result, panel = _examined(work, case, method)
        except Exception as error:  # nor does a method that fails on it stop any other
            failure = as_mriimpute_error(error, pair(method.name, scan.name))
            yield _Outcome(scan.name, method.name, error=failure)
        else:
            work.store.save(result, method, panel)
            yield _Outcome(scan.name, method.name, result)


def _examined(work: Work[S], case: TestCase, method: Method) -> tuple[Result, Panel]:
    """Returns result and panel; the imputation is gone before the next method begins."""
    result, imputation = score_method(
        _on_target_grid(_helped(method, case), case),
        case,
        method=method.name,
        samples=work.samples,
        seed=work.seed,
    )
    if not result.rmse_percent:
        raise VolumeError(
            f"{method.name} predicts {case.source.path} exactly: no comparison has a scale there",
            hint="leave that scan out",
        )
    if case.protocol.name == INPAINT.name:
        scores = inpainting_scores(case.truth, imputation.mean, case.region)
        result = dataclasses.replace(result, **dataclasses.asdict(scores))
    draws = SHOWN_DRAWS if case.source.name == work.shown_scan else 0
    return result, cut(case, imputation, draws=draws)


def _helped(method: Method, case: TestCase) -> Imputer:
    """Returns the imputer of a method, with the other scans of the session if they are to help."""
    if not method.together:
        return method.imputer
    scan = case.source.path
    beside = find_scans(scan.parent) if scan.is_file() else []
    others = [one for one in beside if one != scan and session_of(one) == session_of(scan)]
    if not others:
        raise VolumeError(
            f"{scan} has no other scan of its session beside it",
            hint=f"leave {method.name} out, or pass whole sessions",
        )
    return HelpedImputer(method.imputer, others)


def _on_target_grid(imputer: Imputer, case: TestCase) -> Imputer:
    """Returns the imputer, made to fill the target grid of the case."""
    if case.refinement == 1 or case.stack is None:
        return imputer
    return TargetGridImputer(imputer, case.stack.axis, case.refinement)


def _scored_here(work: Work[S], scan: S) -> list[_Outcome]:
    """Returns the outcomes of a scan: what a worker does. A stop ends it between two methods."""
    keep_freed_memory()  # as every command does
    outcomes = []
    for outcome in _scored(work, scan):
        outcomes.append(outcome)
        if stop_requested():
            break
    return outcomes
