"""Many scans in one call: parts for job arrays, and a report that is true whenever it is read."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mriimpute.errors import ConfigError, MriImputeError, OutputError
from mriimpute.files import read_json, write_json
from mriimpute.impute._contract import Imputer
from mriimpute.impute.case import Case, Request, impute_case, is_done, plain
from mriimpute.impute.dataset import NOTICE, describe, require_own
from mriimpute.io import checksum
from mriimpute.memory import shortage_told

__all__ = ["Batch", "Datasets", "Outcome", "Part", "Report", "Status", "part_of"]

Status = Literal["waiting", "done", "skipped", "failed"]
"""skipped: done before."""

KIND = "mriimpute report"

FOLDERS = re.compile(r"(?<![^\s'\"(])\.{0,2}/(?:[^\s/'\"]+/)*")
"""The folders of a path in running text."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one scan.

    Attributes:
        status: See `Status`.
        sha256: Of the input; empty where it could not be read.
        outputs: Images written, by their place in the folder for all results.
        seconds: It took.
        problem: What went wrong; folders left out.
        hint: What to do about it.
        peak_memory_mb: The most main memory the process held until then.
        peak_gpu_memory_mb: The most memory of the GPU that tensors of this case held.
    """

    status: Status = "waiting"
    sha256: str = ""
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    hint: str = ""
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None


@dataclass(slots=True)
class Report:
    """Keeps the outcome of every case, and writes all to a file after each, if there is one.

    Attributes:
        cases: All cases of this job.
        record: Returns what made the results.
        file: JSON; None for a report that is only looked at.
        part: Of a larger batch.
        outcomes: Of the cases, by their number.
    """

    cases: Sequence[Case]
    record: Callable[[], dict[str, Any]]
    file: Path | None = None
    part: Part = field(default_factory=Part)
    outcomes: dict[int, Outcome] = field(init=False)
    _started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.outcomes = {number: Outcome() for number in range(len(self.cases))}

    def claim(self, *, overwrite: bool) -> None:
        """Makes sure that the file may be written, and writes it for the first time.

        The report of an earlier call of the same part is replaced: that is how a batch goes on.

        Raises:
            OutputError: If another file or another part's report is there, or it cannot be
                written.
        """
        if self.file is None:
            return
        if self.file.exists() and not overwrite:
            before = read_json(self.file) if self.file.is_file() else {}
            if before.get("kind") != KIND:
                raise OutputError(
                    f"{self.file} exists and is no report", hint="choose another name"
                )
            if before.get("part") != list(self.part):
                raise OutputError(
                    f"{self.file} is the report of another part",
                    hint="give each part a report of its own, or pass --overwrite",
                )
        self._write()

    def begin(self) -> None:
        """Starts the clock of a case."""
        self._started = time.monotonic()
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()

    def end(self, case: Case, status: Status, *, problem: str = "", hint: str = "") -> None:
        """Notes the outcome of a case, and writes the file.

        Args:
            case: One of `cases`.
            status: What became of it.
            problem: What went wrong.
            hint: What to do about it.
        """
        idle = status == "skipped"
        cuda = None if idle else _cuda()
        results = [] if status == "failed" else case.results()
        self.outcomes[self.cases.index(case)] = Outcome(
            status=status,
            sha256=_checksum(case, finished=status != "failed"),
            outputs=tuple((case.below / path.name).as_posix() for path in results),
            seconds=0.0 if idle else round(time.monotonic() - self._started, 3),
            problem=_without_folders(problem, case),
            hint=_without_folders(hint, case),
            peak_memory_mb=None if idle else _peak_memory_mb(),
            peak_gpu_memory_mb=round(cuda.max_memory_allocated() / 2**20, 1) if cuda else None,
        )
        if not idle:
            self._write()

    def count(self, status: Status) -> int:
        """Returns how many cases have a status."""
        return sum(outcome.status == status for outcome in self.outcomes.values())

    def _write(self) -> None:
        if self.file is None:
            return
        counts = {
            status: self.count(status) for status in ("done", "skipped", "failed", "waiting")
        }
        content = {
            "kind": KIND,
            "notice": NOTICE,
            "complete": not counts["waiting"],
            "counts": counts,
            "part": list(self.part),
            **self.record(),
            "cases": [
                {"input": case.name, **_plain(self.outcomes[number])}
                for number, case in enumerate(self.cases)
            ],
        }
        write_json(self.file, content)


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

    Raises:
        MriImputeError: If the report or the results cannot be written where they should be.
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
    ) -> None:
        self.page = page
        self.cases = part_of(cases, part)
        self.request, self.imputer = request, imputer
        self.record, self.overwrite = record, overwrite
        self.datasets = Datasets(cases, samples=request.samples)
        self.report = Report(
            self.cases, lambda: record({"request": plain(request)}), file=file, part=part
        )

        self.left = [case for case in self.cases if overwrite or not is_done(case, request)]
        if len(cases) == 1 and not resume:
            self.left = self.cases
        waiting = set(self.left)
        for case in self.cases:
            if case not in waiting:
                self._add_page(case)
                self.datasets.describe(case)
                self.report.end(case, "skipped")
        self.report.claim(overwrite=overwrite)

    def impute(self, case: Case) -> Path:
        """Imputes a scan and returns the path of the mean.

        Raises:
            MriImputeError: If that fails; the caller then says so to `fail`.
        """
        self.report.begin()
        with shortage_told(str(case.scan)):
            mean = impute_case(
                case, self.imputer, self.request, record=self.record, overwrite=self.overwrite
            )
            self._add_page(case)
        self.datasets.describe(case)
        self.report.end(case, "done")
        return mean

    def _add_page(self, case: Case) -> None:
        """Writes the page of a case, unless an earlier call has: imputing again removes it."""
        if self.page is not None and not case.page.is_file():
            self.page(case)

    def fail(self, case: Case, problem: str, hint: str) -> None:
        """Notes why a scan failed."""
        self.report.end(case, "failed", problem=problem, hint=hint)

    @property
    def failed(self) -> list[str]:
        """The names of the scans that failed."""
        told = zip(self.cases, self.report.outcomes.values(), strict=True)
        return [case.name for case, outcome in told if outcome.status == "failed"]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Returns name, status, seconds and problem of each scan, to be looked at."""
        return [
            (case.name, told.status, f"{told.seconds:.1f}" if told.seconds else "", told.problem)
            for case, told in zip(self.cases, self.report.outcomes.values(), strict=True)
        ]


def _plain(outcome: Outcome) -> Mapping[str, Any]:
    error = {"problem": outcome.problem, "hint": outcome.hint} if outcome.problem else None
    return {
        "status": outcome.status,
        "sha256": outcome.sha256 or None,
        "outputs": list(outcome.outputs),
        "seconds": outcome.seconds,
        "error": error,
        "peak_memory_mb": outcome.peak_memory_mb,
        "peak_gpu_memory_mb": outcome.peak_gpu_memory_mb,
    }


def _checksum(case: Case, *, finished: bool) -> str:
    try:
        if finished:  # a record tells, and no large file is read once more
            return str(read_json(case.record)["settings"]["input"]["sha256"])
        return checksum(case.scan)
    except (KeyError, OSError, MriImputeError, TypeError):
        return ""


def _without_folders(text: str, case: Case) -> str:
    """Takes folders out of a message: a report travels further than a screen."""
    for folder in (case.folder, case.scan.parent):
        for spelled in (folder, folder.resolve()):
            if spelled.parts:
                text = text.replace(f"{spelled}/", "").replace(str(spelled), "the folder")
    return FOLDERS.sub("", text)


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.cuda if used and torch is not None else None
