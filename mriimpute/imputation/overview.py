"""The verdicts of a batch at a glance: `quality.tsv`, a row for each scan, the worst first.

It is made from the sidecars that are there, so every part of a batch, and every call that goes on
with one, writes the table of all. The table that is there tells of scans that this call is not
about: their rows stay as long as their results do, failures until the scan has a new result. A
file of that name that is none of ours stays.
"""

import hashlib
import json
import logging
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriimpute.errors import ConfigError, OutputError
from mriimpute.files import read_json, read_tsv, write_tsv
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.measures import MEASURES
from mriimpute.io import stem

__all__ = [
    "PAGE",
    "TABLE",
    "Row",
    "grouped",
    "is_table",
    "quality_of",
    "read_quality",
    "rows_of",
    "write_quality",
]

log = logging.getLogger(__name__)

TABLE, PAGE = "quality.tsv", "index.html"

ORDER = ("failed", "fail", "look", "", "pass")
"""Of verdicts, see `Row`."""

NONE = "n/a"

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that names of files may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A scan of a batch.

    Attributes:
        name: Of the scan.
        verdict: "failed": the last try gave no result; "": it has one of a version that gave no
            verdict.
        mean: Where the mean is, or would be.
        page: Where a page about the result is, or would be.
        reasons: In words.
        measures: By name; None where there was nothing to measure.
        key: Tells the result that is there from an earlier one of the same scan; empty for none.
    """

    name: str
    verdict: str
    mean: Path
    page: Path
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float | None] = field(default_factory=dict)
    key: str = ""

    def cells(self, root: Path) -> dict[str, str]:
        """Returns the row of the table, by column.

        Args:
            root: Folder of the table.
        """
        values = {name: self.measures.get(name) for name in MEASURES}
        return {
            "scan": _line(self.name),
            "verdict": self.verdict or NONE,
            "reasons": _line("; ".join(self.reasons)) or NONE,
            **{name: NONE if v is None else f"{v:.4g}" for name, v in values.items()},
            "result": _line(self.mean.relative_to(root).as_posix()),
            "key": self.key or NONE,
        }


def grouped(jobs: Iterable[Job]) -> dict[Path, list[Job]]:
    """Returns the scans by the folder for all results.

    Those that are alone there are left out, unless they are of a batch that has a table.
    """
    found: dict[Path, list[Job]] = {}
    for job in jobs:
        root = job.folder.parents[len(job.below.parts) - 1] if job.below.parts else job.folder
        found.setdefault(root, []).append(job)
    return {
        root: alike
        for root, alike in found.items()
        if len(alike) > 1 or (is_table(root / TABLE) and not alike[0].target)
    }


def rows_of(
    root: Path,
    jobs: Iterable[Job],
    problems: Mapping[Job, str],
    earlier: Sequence[Mapping[str, str]] = (),
) -> list[Row]:
    """Returns a row for each scan that has a result or has failed, the worst first.

    Args:
        root: Folder of the table.
        jobs: Of all parts.
        problems: What went wrong with each that ended in this call; empty where nothing did.
        earlier: The table that is there.
    """
    before = {cells["scan"]: cells for cells in earlier}
    rows = []
    for job in jobs:
        there = before.pop(_line(job.name), {})
        rows.append(_row(job.name, job.file("mean"), job.page, problems.get(job), there))
    for name, there in before.items():
        result = there.get("result", "")
        mean = root / result
        if result and mean.is_relative_to(root) and ".." not in mean.parts:
            # Named as by `Job.page`: only the user's own file, one without a table, is not.
            page = stem(mean).replace("_desc-mean", "_desc-report")
            rows.append(_row(name, mean, mean.with_name(f"{page}.html"), None, there))
    return sorted(filter(None, rows), key=_rank)


def _row(
    name: str, mean: Path, page: Path, problem: str | None, there: Mapping[str, str]
) -> Row | None:
    """Returns the row of a scan; None where it has neither a result nor failed.

    Args:
        name: Of the scan.
        mean: Where its mean is, or would be.
        page: Where its page is, or would be.
        problem: See `rows_of`; None where it did not end in this call.
        there: Its row in the table that is there.
    """
    record = _record(mean)
    key = "" if record is None else hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]
    if problem is None and there.get("verdict") == "failed" and there.get("key") == (key or NONE):
        problem = there.get("reasons", NONE)
    if problem:
        reasons = (problem,)
        return Row(name=name, verdict="failed", mean=mean, page=page, reasons=reasons, key=key)
    if record is None:
        return None
    quality = _quality(record)
    return Row(
        name=name,
        verdict=_known(quality.get("verdict", "")),
        mean=mean,
        page=page,
        reasons=tuple(quality.get("reasons", ())),
        measures={name: m.get("value") for name, m in quality.get("measures", {}).items()},
        key=key,
    )


def quality_of(job: Job) -> Mapping[str, Any]:
    """Returns what the sidecar says of the quality of a result; empty where it says nothing."""
    return _quality(_record(job.file("mean")) or {})


def _quality(record: Mapping[str, Any]) -> Mapping[str, Any]:
    quality = record.get("Quality")
    return quality if isinstance(quality, Mapping) and "verdict" in quality else {}


def read_quality(folder: Path) -> list[dict[str, str]]:
    """Returns the table of a batch that is there; no rows where there is none that can be read."""
    with suppress(ConfigError, OSError):
        return read_tsv(folder / TABLE) if is_table(folder / TABLE) else []
    return []


def write_quality(folder: Path, rows: Sequence[Row]) -> bool:
    """Writes the table of a batch; tells whether it was another before.

    Raises:
        OutputError: If it cannot be written.
    """
    path, table = folder / TABLE, [row.cells(folder) for row in rows]
    if path.exists() and not is_table(path):
        log.warning("%s is no table of this program and stays as it is", path)
        return False
    if read_quality(folder) == table:
        return False
    write_tsv(path, table)
    return True


def is_table(path: Path) -> bool:
    """Tells whether a file is a table of a batch, as written or as saved by a spreadsheet."""
    start = path.read_bytes()[:80] if path.is_file() else b""
    return start.removeprefix(BOM_UTF8).startswith(b"scan\tverdict\t")


def _line(text: str) -> str:
    """Returns text that fits into a cell and commands no terminal."""
    return " ".join(CONTROL.sub(" ", text).split())


def _record(mean: Path) -> dict[str, Any] | None:
    """Returns the sidecar of a mean, if there is one."""
    try:
        return read_json(mean.with_name(f"{stem(mean)}.json"))
    except (OSError, OutputError):
        return None


def _known(verdict: Any) -> str:
    """Returns a verdict; one that only another version knows is to be looked at."""
    return verdict if verdict in ORDER else "look"


def _rank(row: Row) -> tuple[int, float, str]:
    gain = row.measures.get("gain_db")
    return ORDER.index(row.verdict), 0.0 if gain is None else gain, row.name
