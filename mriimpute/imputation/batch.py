"""Many scans in one call: parts for array jobs, and what every scan of a batch goes through.

Processes that share a batch take the next scan whenever they are done with one, so none waits for
another. Every scan is imputed by one of them as by a process that is alone, to the same bytes.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.imputation.bids import dataset_files, describe, require_own
from mriimpute.imputation.disk import require_disk_for_all
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.overview import PAGE, TABLE, grouped
from mriimpute.imputation.report import Outcome, Report, Status
from mriimpute.imputation.request import Request, is_done, recorded
from mriimpute.imputation.scan import impute_scan
from mriimpute.memory import format_bytes, shortage_as_error
from mriimpute.methods.base import Imputer
from mriimpute.progress import SILENT, Progress

__all__ = ["Batch", "Datasets", "Part", "part_of"]

log = logging.getLogger(__name__)

QUEUE, ENDED = "scans", "ended"
"""Names in the store: of the scans to take, and of their outcomes."""


class Part(NamedTuple):
    """Which part of a batch a call does, such as one of an array of jobs.

    Attributes:
        number: From 1.
        parts: How many there are.
    """

    number: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Returns the part that a text like "2/8" names.

        Raises:
            ConfigError: If it names none.
        """
        number, _, parts = text.partition("/")
        part = cls(int(number), int(parts)) if number.isdecimal() and parts.isdecimal() else None
        if part is None or not 1 <= part.number <= part.parts:
            raise ConfigError(
                f"part must be I/N with 1 <= I <= N, got {text!r}",
                hint="the first job of eight is 1/8",
            )
        return part


WHOLE = Part()


def part_of(jobs: Sequence[Job], part: Part) -> list[Job]:
    """Returns a part of the scans; every scan is in exactly one, in whatever order they come."""
    ordered = sorted(jobs, key=lambda job: (job.scan.as_posix(), job.folder.as_posix()))
    return ordered[part.number - 1 :: part.parts]


class Datasets:
    """Describes the results of BIDS trees as datasets of their own, each once.

    Args:
        jobs: Of all parts.
        samples: Number of posterior draws.

    Raises:
        OutputError: If the results of two BIDS trees would be one dataset, or another dataset is
            where results should go.
    """

    def __init__(self, jobs: Sequence[Job], *, samples: int) -> None:
        self.samples = samples
        self.described: set[Path] = set()
        self.jobs: dict[Path, list[Job]] = {}
        for job in jobs:
            if (root := job.dataset) is None:
                continue
            others = self.jobs.setdefault(root, [])
            if others and others[0].tree != job.tree:
                raise OutputError(
                    f"results of {others[0].tree} and {job.tree} would be one dataset, {root}",
                    hint="impute them in two calls with different -o",
                )
            others.append(job)
        for root in self.jobs:
            require_own(root)

    def describe(self, job: Job) -> None:
        """Describes the dataset that the results of a scan are in.

        Raises:
            MriImputeError: If that cannot be written.
        """
        root = job.dataset
        if root is None or root in self.described or job.tree is None:
            return
        scans = [each.scan for each in self.jobs[root]]
        describe(root, job.tree, scans, samples=self.samples)
        self.described.add(root)


class Batch:
    """The scans of one call, what to make of each, and what became of it.

    Args:
        jobs: Of all parts.
        request: What to make of each scan.
        imputer: The method.
        record: Adds what decided a result to the provenance of the run.
        overwrite: Replace results that are there.
        part: Which of them this call does.
        file: Where to keep the report, if anywhere.
        page: Writes the page of a finished scan, if one is wanted.
        overview: Writes about all scans, given those of all parts and what went wrong with those
            that ended, empty where nothing did.
        world: The processes that share this call. The main one finds out what is left to do,
            and keeps the report.

    Raises:
        MriImputeError: If the report or the results cannot be written where they should be.
        PeerError: If another process of `world` has ended.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        request: Request,
        imputer: Imputer,
        *,
        record: Callable[[Mapping[str, Any]], dict[str, Any]],
        overwrite: bool = False,
        part: Part = WHOLE,
        file: Path | None = None,
        page: Callable[[Job], object] | None = None,
        overview: Callable[[Sequence[Job], Mapping[Job, str]], object] | None = None,
        world: World = ALONE,
    ) -> None:
        self.page, self.world = page, world
        self.overview, self.all_jobs = overview, jobs
        self.jobs = part_of(jobs, part)
        self.request, self.imputer = request, imputer
        self.record, self.overwrite = record, overwrite
        self.datasets = Datasets(jobs, samples=request.samples)
        self.report = Report(
            self.jobs,
            lambda: record({"request": recorded(request)}),
            file=file if world.main else None,
            part=part,
            others=[request.observed] if request.observed else [],
        )

        left: list[int] = []
        without_page: list[int] = []
        if world.main:
            left = [n for n, job in enumerate(self.jobs) if overwrite or not is_done(job, request)]
            if len(left) > 1:
                require_disk_for_all([self.jobs[n] for n in left], imputer, request)
            done = sorted(set(range(len(self.jobs))) - set(left))
            without_page = [n for n in done if not self._skip(self.jobs[n])]
            self.report.claim(overwrite=overwrite)
        numbers = json.dumps([sorted(left + without_page), without_page])
        left, without_page = json.loads(world.broadcast(numbers.encode()))
        self.left = [self.jobs[number] for number in left]
        self.without_page = {self.jobs[number] for number in without_page}

    def _skip(self, job: Job) -> bool:
        """Notes that an earlier call has done a scan, and adds what that may have left out.

        Returns:
            Whether that could be added. If not, the scan has a turn, in which it may fail alone.
        """
        try:
            self._add_page(job)
        except Exception as error:  # whatever is wrong with one result, the others are imputed
            log.debug("%s: no page: %s", job.scan.name, error)
            return False
        self.datasets.describe(job)
        self.report.end(job, "skipped")
        return True

    def turns(self) -> Iterator[tuple[Job, Outcome | None]]:
        """Yields the scans that are left: each with None, if it is to be imputed now.

        The main process gets those of the others, too, each with its outcome.

        Raises:
            PeerError: If another process of `world` has ended.
        """
        if self.world.size == 1:
            yield from ((job, None) for job in self.left)
            return
        received = taken = 0
        while (turn := self.world.take(QUEUE)) < len(self.left):
            taken += 1
            yield self.left[turn], None
            while self.world.main and self.world.is_sent(f"{ENDED}/{received}"):
                yield self._receive(received)
                received += 1
        if self.world.main:
            yield from map(self._receive, range(received, len(self.left) - taken))
        self.world.dismiss()

    def _receive(self, number: int) -> tuple[Job, Outcome]:
        """Notes an outcome that another process has sent, and returns it."""
        index, values = json.loads(self.world.wait_for(f"{ENDED}/{number}"))
        several = {name: tuple(values[name]) for name in ("outputs", "reasons")}
        outcome = Outcome(**{**values, **several})
        self.report.note(index, outcome)
        return self.jobs[index], outcome

    def _end(self, job: Job, status: Status, *, problem: str = "", hint: str = "") -> Outcome:
        """Notes what became of a scan, or sends it to the main process."""
        outcome = self.report.end(job, status, problem=problem, hint=hint)
        if not self.world.main:
            message = json.dumps([self.jobs.index(job), asdict(outcome)])
            self.world.send(f"{ENDED}/{self.world.take(ENDED)}", message.encode())
        return outcome

    def impute(self, job: Job, progress: Progress = SILENT) -> Outcome:
        """Imputes a scan and returns what became of it.

        Args:
            job: The scan and where its results go.
            progress: Is told how far it is.

        Raises:
            MriImputeError: If that fails; the caller then calls `fail`.
        """
        self.report.begin()
        with shortage_as_error(str(job.scan)):
            if not self._is_complete(job):
                impute_scan(
                    job,
                    self.imputer,
                    self.request,
                    record=self.record,
                    overwrite=self.overwrite or job in self.without_page,
                    progress=progress,
                )
            progress.advance("writing")
            self._add_page(job)
        self.datasets.describe(job)
        return self._end(job, "done")

    def _is_complete(self, job: Job) -> bool:
        """Tells whether a scan that was done before has its page now, and needs nothing else."""
        if job not in self.without_page:
            return False
        try:
            self._add_page(job)
        except VolumeError as error:
            log.warning("%s is imputed anew: %s", job.scan.name, error)
            return False
        return True

    def _add_page(self, job: Job) -> None:
        """Writes the page of a scan, unless an earlier call has: imputing again removes it."""
        if self.page is not None and not job.page.is_file():
            self.page(job)

    def fail(self, job: Job, problem: str, hint: str) -> None:
        """Notes why a scan failed."""
        self._end(job, "failed", problem=problem, hint=hint)

    def conclude(self) -> None:
        """Writes the overview of the whole batch, if one is wanted: all scans have ended.

        Raises:
            MriImputeError: If it cannot be written.
        """
        if self.overview is not None:
            ends = zip(self.jobs, self.report.outcomes.values(), strict=True)
            problems = {job: end.problem for job, end in ends if end.status != "waiting"}
            self.overview(self.all_jobs, problems)

    @property
    def failed(self) -> list[str]:
        """The names of the scans that failed."""
        pairs = zip(self.jobs, self.report.outcomes.values(), strict=True)
        return [job.name for job, outcome in pairs if outcome.status == "failed"]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Returns name, status, seconds, size and problem of each scan, to be looked at."""
        return [
            (
                job.name,
                end.status,
                f"{end.seconds:7.1f}" if end.seconds else "",
                format_bytes(end.bytes) if end.bytes else "",
                end.problem,
            )
            for job, end in zip(self.jobs, self.report.outcomes.values(), strict=True)
        ]

    @property
    def done(self) -> list[Job]:
        """The scans that this call imputed."""
        pairs = zip(self.jobs, self.report.outcomes.values(), strict=True)
        return [job for job, outcome in pairs if outcome.status == "done"]

    def beside(self) -> list[Path]:
        """Returns the files that are written once for many scans."""
        roots = grouped(self.all_jobs) if self.overview else ()
        named = [root / name for root in roots for name in (TABLE, PAGE)]
        named += [self.report.file] if self.report.file else []
        named += [path for root in self.datasets.described for path in dataset_files(root)]
        return [path for path in named if path.is_file()]
