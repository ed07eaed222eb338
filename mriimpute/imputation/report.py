"""What became of each scan of a batch: a report that is true whenever it is read."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mriimpute.errors import MriImputeError, OutputError
from mriimpute.files import read_json, write_json
from mriimpute.imputation.anonymous import without_folders
from mriimpute.imputation.bids import NOTICE
from mriimpute.imputation.disk import written
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.overview import quality_of
from mriimpute.io import checksum

__all__ = ["Outcome", "Report", "Status"]

Status = Literal["waiting", "done", "skipped", "failed"]
"""skipped: done before."""

KIND = "mriimpute report"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one scan.

    Attributes:
        status: See `Status`.
        sha256: Of the input; empty where it could not be read.
        outputs: Images written, by their place in the folder for all results.
        bytes: Of everything written for the scan.
        seconds: It took.
        problem: What went wrong; folders left out.
        hint: What to do about it.
        verdict: On the result, see `mriimpute.imputation.verdict`; empty where there is none.
        reasons: Of the verdict.
        peak_memory_mb: The most main memory the process held until then.
        peak_gpu_memory_mb: The most memory of the GPU that tensors of this scan held.
    """

    status: Status = "waiting"
    sha256: str = ""
    outputs: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    problem: str = ""
    hint: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None


@dataclass(slots=True)
class Report:
    """Keeps the outcome of every scan, and writes all to a file after each, if there is one.

    Attributes:
        jobs: All scans of this part.
        record: Returns what made the results.
        file: JSON; None for a report that is only looked at.
        part: Of a larger batch: which one, of how many.
        others: Files that every scan is imputed with.
        outcomes: By the index of the job.
    """

    jobs: Sequence[Job]
    record: Callable[[], dict[str, Any]]
    file: Path | None = None
    part: tuple[int, int] = (1, 1)
    others: Sequence[Path] = ()
    outcomes: dict[int, Outcome] = field(init=False)
    _started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.outcomes = {number: Outcome() for number in range(len(self.jobs))}

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
        """Starts the clock of a scan."""
        self._started = time.monotonic()
        if cuda := _cuda():
            cuda.reset_peak_memory_stats()

    def end(self, job: Job, status: Status, *, problem: str = "", hint: str = "") -> Outcome:
        """Notes the outcome of a scan, writes the file, and returns the outcome.

        Args:
            job: One of `jobs`.
            status: What became of it.
            problem: What went wrong; empty where nothing did.
            hint: What to do about it.
        """
        skipped = status == "skipped"
        cuda = None if skipped else _cuda()
        results = [] if status == "failed" else job.results()
        quality = {} if status == "failed" else quality_of(job)
        known = [*_paths(job), *self.others]
        outcome = Outcome(
            status=status,
            sha256=_checksum(job, finished=status != "failed"),
            outputs=tuple((job.below / path.name).as_posix() for path in results),
            bytes=sum(each.size for each in written(job)) if status == "done" else 0,
            seconds=0.0 if skipped else round(time.monotonic() - self._started, 3),
            problem=without_folders(problem, known),
            hint=without_folders(hint, known),
            verdict=str(quality.get("verdict", "")),
            reasons=tuple(quality.get("reasons", ())),
            peak_memory_mb=None if skipped else _peak_memory_mb(),
            peak_gpu_memory_mb=round(cuda.max_memory_allocated() / 2**20, 1) if cuda else None,
        )
        self.note(self.jobs.index(job), outcome)
        return outcome

    def note(self, number: int, outcome: Outcome) -> None:
        """Takes over the outcome of a scan, and writes the file.

        Args:
            number: Index of the job.
            outcome: From whatever process.
        """
        self.outcomes[number] = outcome
        if outcome.status != "skipped":
            self._write()

    def count(self, status: Status) -> int:
        """Returns how many scans have a status."""
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
                {"input": job.name, **_plain(self.outcomes[number])}
                for number, job in enumerate(self.jobs)
            ],
        }
        write_json(self.file, content)


def _plain(outcome: Outcome) -> Mapping[str, Any]:
    quality = {"verdict": outcome.verdict, "reasons": list(outcome.reasons)}
    error = {"problem": outcome.problem, "hint": outcome.hint} if outcome.problem else None
    return {
        "status": outcome.status,
        "sha256": outcome.sha256 or None,
        "outputs": list(outcome.outputs),
        "bytes": outcome.bytes,
        "seconds": outcome.seconds,
        "quality": quality if outcome.verdict else None,
        "error": error,
        "peak_memory_mb": outcome.peak_memory_mb,
        "peak_gpu_memory_mb": outcome.peak_gpu_memory_mb,
    }


def _checksum(job: Job, *, finished: bool) -> str:
    try:
        if finished:  # a record tells, and no large file is read once more
            return str(read_json(job.record)["settings"]["input"]["sha256"])
        return checksum(job.scan)
    except (KeyError, OSError, MriImputeError, TypeError):
        return ""


def _paths(job: Job) -> list[Path]:
    """Returns the files that messages about a scan may name."""
    others = [job.scan, *job.companions, job.file("mean"), job.target]
    return [path for path in others if path]


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
