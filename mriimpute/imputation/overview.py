"""The verdicts of a batch at a glance: `quality.tsv`, a row for each scan, the worst first.

It is made from the sidecars that are there, so every part of a batch, and every call that goes on
with one, writes the table of all. A file of that name that is none of ours stays.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriimpute.errors import ConfigError, OutputError
from mriimpute.files import read_json, read_tsv, write_tsv
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.measures import MEASURES

__all__ = ["PAGE", "TABLE", "Row", "grouped", "quality_of", "rows_of", "write_quality"]

log = logging.getLogger(__name__)

TABLE, PAGE = "quality.tsv", "index.html"

ORDER = ("failed", "fail", "look", "", "pass")
"""Of verdicts: no result at all, then by the verdict, where "" is a result without one."""

NONE = "n/a"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A scan of a batch.

    Attributes:
        job: The scan.
        verdict: "failed": it has no result; "": it has one of a version that gave no verdict.
        reasons: In words.
        measures: By name; None where there was nothing to measure.
        key: Tells this result from an earlier one of the same scan.
    """

    job: Job
    verdict: str
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float | None] = field(default_factory=dict)
    key: str = ""

    @property
    def cells(self) -> dict[str, str]:
        """Returns the row of the table, by column."""
        values = {name: self.measures.get(name) for name in MEASURES}
        return {
            "scan": _line(self.job.name),
            "verdict": self.verdict or NONE,
            "reasons": _line("; ".join(self.reasons)) or NONE,
            **{name: NONE if v is None else f"{v:.4g}" for name, v in values.items()},
        }


def grouped(jobs: Iterable[Job]) -> dict[Path, list[Job]]:
    """Returns the scans by the folder for all results; those that are alone there are left out."""
    found: dict[Path, list[Job]] = {}
    for job in jobs:
        root = job.folder.parents[len(job.below.parts) - 1] if job.below.parts else job.folder
        found.setdefault(root, []).append(job)
    return {root: alike for root, alike in found.items() if len(alike) > 1}


def rows_of(jobs: Iterable[Job], problems: Mapping[Job, str]) -> list[Row]:
    """Returns a row for each scan that has a result or has failed, the worst first.

    Args:
        jobs: Of all parts.
        problems: What went wrong with those that failed in this call.
    """
    rows = []
    for job in jobs:
        if job in problems:
            rows.append(Row(job=job, verdict="failed", reasons=(problems[job],)))
        elif (record := _record(job)) is not None:
            quality = _quality(record)
            measures = {name: m["value"] for name, m in quality.get("measures", {}).items()}
            rows.append(
                Row(
                    job=job,
                    verdict=quality.get("verdict", ""),
                    reasons=tuple(quality.get("reasons", ())),
                    measures=measures,
                    key=hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16],
                )
            )
    return sorted(rows, key=_rank)


def quality_of(job: Job) -> Mapping[str, Any]:
    """Returns what the sidecar says of the quality of a result; empty where it says nothing."""
    return _quality(_record(job) or {})


def _quality(record: Mapping[str, Any]) -> Mapping[str, Any]:
    quality = record.get("Quality")
    return quality if isinstance(quality, Mapping) and "verdict" in quality else {}


def write_quality(folder: Path, rows: Sequence[Row]) -> bool:
    """Writes the table of a batch; tells whether it was another before.

    Raises:
        OutputError: If it cannot be written.
    """
    path, table = folder / TABLE, [row.cells for row in rows]
    if path.exists():
        if not _is_ours(path):
            log.warning("%s is no table of this program and stays as it is", path)
            return False
        with suppress(ConfigError):  # one that somebody has changed is written anew
            if read_tsv(path) == table:
                return False
    write_tsv(path, table)
    return True


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:80].startswith(b"scan\tverdict\t")


def _line(text: str) -> str:
    """Returns text that fits into a cell."""
    return " ".join(text.split())


def _record(job: Job) -> dict[str, Any] | None:
    try:
        return read_json(job.record)
    except (OSError, OutputError):
        return None


def _rank(row: Row) -> tuple[int, float, str]:
    gain = row.measures.get("gain_db")
    return ORDER.index(row.verdict), 0.0 if gain is None else gain, row.job.name
