"""Many scans in one call: parts for job arrays, and what every case of a batch goes through.

Processes that share a batch take the next scan whenever they are done with one, so none waits for
another. Every scan is imputed by one of them as by a process that is alone, to the same bytes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, OutputError
from mriimpute.impute.bids import describe, require_own
from mriimpute.impute.case import Request, impute_case, is_done, plain
from mriimpute.impute.jobs import Case
from mriimpute.impute.report import Outcome, Report, Status
from mriimpute.memory import shortage_as_error
from mriimpute.methods.base import Imputer

__all__ = ["Batch", "Datasets", "Part", "part_of"]

QUEUE, ENDED = "scans", "ended"
"""Names under which processes take scans, and tell what became of them."""


class Part(NamedTuple):
    """Which part of a batch a job does.

    Attributes:
        number: From 1.
        parts: How many jobs there are.
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


def part_of(cases: Sequence[Case], part: Part) -> list[Case]:
    """Returns a part of the cases; every case is in exactly one, in whatever order they come."""
    ordered = sorted(cases, key=lambda case: (case.scan.as_posix(), case.folder.as_posix()))
    return ordered[part.number - 1 :: part.parts]


class Datasets:
    """Describes the results of BIDS trees as datasets of their own, each once.

    Args:
        cases: Of all parts.
        samples: Number of posterior draws.

    Raises:
        OutputError: If the results of two BIDS trees would be one dataset, or another dataset is
            where results should go.
    """

    def __init__(self, cases: Sequence[Case], *, samples: int) -> None:
        self.samples = samples
        self.described: set[Path] = set()
        self.cases: dict[Path, list[Case]] = {}
        for case in cases:
            if (root := case.dataset) is None:
                continue
            others = self.cases.setdefault(root, [])
            if others and others[0].tree != case.tree:
                raise OutputError(
                    f"results of {others[0].tree} and {case.tree} would be one dataset, {root}",
                    hint="impute them in two calls with different -o",
                )
            others.append(case)
        for root in self.cases:
            require_own(root)

    def describe(self, case: Case) -> None:
        """Describes the dataset that the results of a case are in.

        Raises:
            MriImputeError: If that cannot be written.
        """
        root = case.dataset
        if root is None or root in self.described or case.tree is None:
            return
        scans = [other.scan for other in self.cases[root]]
        describe(root, case.tree, scans, samples=self.samples)
        self.described.add(root)


class Batch:
    """The scans of one job, what to make of each, and what became of it.

    Args:
        cases: Of all jobs.
        request: What to make of each scan.
        imputer: The method.
        record: Adds what decided a result to the provenance of the run.
        overwrite: Replace results that are there.
        resume: A single scan that was done before is no error, as it is none among several.
        part: What of the cases is this job's.
        file: Where to keep the report, if anywhere.
        page: Writes the page of a finished case, if one is wanted.
        world: The processes that share this job. The main one finds out what is left to do,
            and keeps the report.

    Raises:
        MriImputeError: If the report or the results cannot be written where they should be.
        PeerError: If another process of `world` has ended.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        request: Request,
        imputer: Imputer,
        *,
        record: Callable[[Mapping[str, Any]], dict[str, Any]],
        overwrite: bool = False,
        resume: bool = False,
        part: Part = WHOLE,
        file: Path | None = None,
        page: Callable[[Case], object] | None = None,
        world: World = ALONE,
    ) -> None:
        self.page, self.world = page, world
        self.cases = part_of(cases, part)
        self.request, self.imputer = request, imputer
        self.record, self.overwrite = record, overwrite
        self.datasets = Datasets(cases, samples=request.samples)
        self.report = Report(
            self.cases,
            lambda: record({"request": plain(request)}),
            file=file if world.main else None,
            part=part,
        )

        left = []
        if world.main:
            alone = len(cases) == 1 and not resume
            left = [n for n in range(len(self.cases)) if alone or not self._is_done(n)]
            for number in sorted(set(range(len(self.cases))) - set(left)):
                case = self.cases[number]
                self._add_page(case)
                self.datasets.describe(case)
                self.report.end(case, "skipped")
            self.report.claim(overwrite=overwrite)
        left = json.loads(world.broadcast(json.dumps(left).encode()))
        self.left = [self.cases[number] for number in left]

    def _is_done(self, number: int) -> bool:
        return not self.overwrite and is_done(self.cases[number], self.request)

    def turns(self) -> Iterator[tuple[Case, Outcome | None]]:
        """Yields the scans that are left: each with None, if it is to be imputed now.

        The main process is told of the others' scans, too, each with its outcome.

        Raises:
            PeerError: If another process of `world` has ended.
        """
        if self.world.size == 1:
            yield from ((case, None) for case in self.left)
            return
        heard = own = 0
        while (turn := self.world.take(QUEUE)) < len(self.left):
            own += 1
            yield self.left[turn], None
            while self.world.main and self.world.is_sent(f"{ENDED}/{heard}"):
                yield self._hear(heard)
                heard += 1
        if self.world.main:
            yield from map(self._hear, range(heard, len(self.left) - own))
        self.world.dismiss()

    def _hear(self, number: int) -> tuple[Case, Outcome]:
        """Notes what another process has told, and returns it."""
        place, told = json.loads(self.world.wait_for(f"{ENDED}/{number}"))
        outcome = Outcome(**{**told, "outputs": tuple(told["outputs"])})
        self.report.note(place, outcome)
        return self.cases[place], outcome

    def _end(self, case: Case, status: Status, *, problem: str = "", hint: str = "") -> None:
        """Notes what became of a case, or tells the main process."""
        outcome = self.report.end(case, status, problem=problem, hint=hint)
        if not self.world.main:
            message = json.dumps([self.cases.index(case), asdict(outcome)])
            self.world.send(f"{ENDED}/{self.world.take(ENDED)}", message.encode())

    def impute(self, case: Case) -> Path:
        """Imputes a scan and returns the path of the mean.

        Raises:
            MriImputeError: If that fails; the caller then says so to `fail`.
        """
        self.report.begin()
        with shortage_as_error(str(case.scan)):
            mean = impute_case(
                case, self.imputer, self.request, record=self.record, overwrite=self.overwrite
            )
            self._add_page(case)
        self.datasets.describe(case)
        self._end(case, "done")
        return mean

    def _add_page(self, case: Case) -> None:
        """Writes the page of a case, unless an earlier call has: imputing again removes it."""
        if self.page is not None and not case.page.is_file():
            self.page(case)

    def fail(self, case: Case, problem: str, hint: str) -> None:
        """Notes why a scan failed."""
        self._end(case, "failed", problem=problem, hint=hint)

    @property
    def failed(self) -> list[str]:
        """The names of the scans that failed."""
        told = zip(self.cases, self.report.outcomes.values(), strict=True)
        return [case.name for case, outcome in told if outcome.status == "failed"]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Returns name, status, seconds and problem of each scan, to be looked at."""
        return [
            (case.name, told.status, f"{told.seconds:7.1f}" if told.seconds else "", told.problem)
            for case, told in zip(self.cases, self.report.outcomes.values(), strict=True)
        ]
