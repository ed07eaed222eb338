"""Scoring scans by methods: side by side in processes, each finished row kept at once.

The rows are the same for any number of processes and after any number of stops, but for the
seconds in them.
"""

import dataclasses
import itertools
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

from mriimpute.errors import ConfigError, MriImputeError, ResourceError
from mriimpute.evaluate.failures import Scored, as_told, comparable, pair
from mriimpute.evaluate.hidden import Finer
from mriimpute.evaluate.inpainting import inpainting_scores
from mriimpute.evaluate.methods import Contender
from mriimpute.evaluate.panels import DRAWS, Panel, cut
from mriimpute.evaluate.protocol import INPAINT
from mriimpute.evaluate.result import Row
from mriimpute.evaluate.scores import examine
from mriimpute.evaluate.store import Store
from mriimpute.evaluate.test_case import Exam, SparseCase
from mriimpute.evaluate.test_set import OnFailure
from mriimpute.memory import keep_freed_memory
from mriimpute.methods.base import Imputer
from mriimpute.progress import Track
from mriimpute.workers import begin_worker, divided_threads

__all__ = ["Work", "score_all"]

log = logging.getLogger(__name__)

C = TypeVar("C", bound=SparseCase)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work(Generic[C]):
    """What is done with each scan; travels to other processes.

    Attributes:
        read: Opens a case.
        contenders: Who answers.
        store: Where rows are kept.
        samples: Draws to score.
        seed: Of the run.
        pictured: Name of the scan whose draws the figures show.
    """

    read: Callable[[C], Exam]
    contenders: tuple[Contender, ...]
    store: Store
    samples: int
    seed: int
    pictured: str


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """A row, or why there is none; without a method the scan itself cannot be read."""

    scan: str
    method: str
    row: Row | None = None
    error: MriImputeError | None = None

    @property
    def name(self) -> str:
        """What is left out where there is no row."""
        return pair(self.method, self.scan) if self.method else self.scan


def score_all(
    work: Work[C],
    cases: Sequence[C],
    *,
    jobs: int,
    track: Track,
    on_failure: OnFailure | None,
) -> Scored:
    """Returns what is compared, and what failed; whatever fails, everything else goes on.

    Args:
        work: What to do.
        cases: The scans.
        jobs: Processes that work side by side.
        track: Shows progress.
        on_failure: Told of each scan that cannot be read, and of each method that fails on a
            scan; None: the first one is an error.

    Raises:
        ConfigError: If several processes would share one GPU.
        MriImputeError: What a scan or a method fails of, if `on_failure` is None or there is one
            scan, which cannot be read.
        OutputError: If a row was made by a method of that name with other weights.
        ResourceError: If memory ran out.
        VolumeError: If nothing could be scored.
    """
    busy = {c.imputer.device for c in work.contenders} - {"cpu"}
    if jobs > 1 and busy:
        raise ConfigError(
            f"{jobs} processes would share {busy.pop()}", hint="leave --jobs out with a GPU"
        )
    rows: dict[tuple[str, str], Row] = {}
    missing: dict[tuple[str, str], MriImputeError] = {}
    total = len(cases) * len(work.contenders)
    for outcome in track(_outcomes(work, cases, jobs), total=total, label="scoring"):
        key = outcome.scan, outcome.method
        if outcome.row is not None:
            rows[key] = outcome.row
        elif outcome.error is not None and key not in missing:
            # The error of a lone scan says more than that none is left.
            if on_failure is None or (len(cases) == 1 and not outcome.method):
                raise outcome.error
            on_failure(outcome.name, outcome.error)
            missing[key] = outcome.error
    scans = [case.name for case in cases]
    methods = [contender.name for contender in work.contenders]
    failed = {m: tuple(scan for scan in scans if (scan, m) in missing) for m in methods}
    return Scored(
        rows=comparable(rows, scans, methods),
        scans=sum((scan, "") not in missing for scan in scans),
        failed={method: on for method, on in failed.items() if on},
    )


def _outcomes(work: Work[C], cases: Sequence[C], jobs: int) -> Iterator[_Outcome]:
    """Yields one outcome per case and contender, in any order."""
    todo = []
    for case in cases:
        kept = [work.store.row(case.name, contender) for contender in work.contenders]
        yield from (_Outcome(row.scan, row.method, row) for row in kept if row is not None)
        if None in kept:
            todo.append(case)
    if jobs == 1 or len(todo) < 2:
        for case in todo:
            yield from _scored(work, case)
        return

    yield from _side_by_side(work, todo, min(jobs, len(todo)))


def _side_by_side(work: Work[C], cases: Sequence[C], workers: int) -> Iterator[_Outcome]:
    # Spawned, not forked: the threads of a parent that has loaded torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    log.info("%d scans at once: times are those of a machine that is busy with others", workers)
    with (
        divided_threads(workers),
        ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(stop,)
        ) as pool,
    ):
        futures = [pool.submit(_scored_here, work, case) for case in cases]
        try:
            for future in as_completed(futures):
                yield from future.result()
        except BrokenProcessPool as error:
            raise ResourceError(
                "a process that scored scans was ended, most likely for want of memory",
                hint="run the same command again with fewer --jobs",
            ) from error
        finally:  # Ctrl-C: each finishes the method it is at
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _scored(work: Work[C], case: C) -> Iterator[_Outcome]:
    """Yields the outcomes of contenders whose row is missing."""
    missing = [c for c in work.contenders if work.store.row(case.name, c) is None]
    try:
        exam = work.read(case)
    except Exception as error:  # whatever is wrong with one scan, the others are scored
        unreadable = _Outcome(case.name, "", error=as_told(error, case.name))
        yield from itertools.repeat(unreadable, len(missing))
        return

    for contender in missing:
        try:
            row, panel = _examined(work, exam, contender)
        except Exception as error:  # nor does a method that fails on it stop any other
            told = as_told(error, pair(contender.name, case.name))
            yield _Outcome(case.name, contender.name, error=told)
        else:
            work.store.keep(row, contender, panel)
            yield _Outcome(case.name, contender.name, row)


def _examined(work: Work[C], exam: Exam, contender: Contender) -> tuple[Row, Panel]:
    """Returns row and panel; the imputation is gone before the next method begins."""
    row, imputation = examine(
        _asked(contender.imputer, exam),
        exam,
        method=contender.name,
        samples=work.samples,
        seed=work.seed,
    )
    if exam.protocol.name == INPAINT.name:
        scores = inpainting_scores(exam.truth, imputation.mean, exam.region)
        row = dataclasses.replace(row, **dataclasses.asdict(scores))
    shown = DRAWS if exam.case.name == work.pictured else 0
    return row, cut(exam, imputation, draws=shown)


def _asked(imputer: Imputer, exam: Exam) -> Imputer:
    if exam.finer == 1 or exam.stack is None:
        return imputer
    return Finer(imputer, exam.stack.axis, exam.finer)


_STOP: Event | None = None  # an event reaches a worker only while it is started


def _begin(stop: Event) -> None:
    global _STOP
    _STOP = stop
    keep_freed_memory()
    begin_worker()


def _scored_here(work: Work[C], case: C) -> list[_Outcome]:
    """Returns the outcomes of a case: what a worker does. A stop ends it between two methods."""
    outcomes = []
    for outcome in _scored(work, case):
        outcomes.append(outcome)
        if _STOP is not None and _STOP.is_set():
            break
    return outcomes
