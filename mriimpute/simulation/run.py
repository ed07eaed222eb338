"""Simulating a whole cohort: in parallel, resumable, with a record of every draw.

The record of a scan beside its truth is written last, so it marks the scan as complete; the
record of the whole, `simulation.json`, is written first without the scans and last with them.
"""

import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mriimpute.errors import ConfigError, MriImputeError, OutputError
from mriimpute.files import is_occupied, read_json, refuse_inside, sha256, write_json, write_tsv
from mriimpute.io import checksum
from mriimpute.memory import available_bytes
from mriimpute.progress import Track, silent
from mriimpute.provenance import versions
from mriimpute.simulation.acquisition import SimulationConfig
from mriimpute.simulation.head import record_path, simulate_head, template_path
from mriimpute.simulation.sources import SourceScan, find_sources, split
from mriimpute.workers import killed_worker, run_tasks

__all__ = ["Failure", "SimulationReport", "simulate"]

RECORD = "simulation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A scan that could not be simulated.

    Attributes:
        name: Name of the scan.
        problem: What is wrong, with value and file.
        hint: What to do.
    """

    name: str
    problem: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationReport:
    """What a simulation did.

    Attributes:
        out: The simulation folder.
        written: Names of the scans simulated now.
        kept: Names of the scans that an earlier run of the same simulation had finished.
        failures: The scans that failed.
        subjects: How many subjects each split has.
    """

    out: Path
    written: tuple[str, ...]
    kept: tuple[str, ...]
    failures: tuple[Failure, ...]
    subjects: dict[str, int]


def simulate(
    source: Path,
    out: Path,
    config: SimulationConfig,
    *,
    seed: int,
    jobs: int = 1,
    overwrite: bool = False,
    track: Track = silent,
) -> SimulationReport:
    """Makes sparse scans of full ones, and keeps the truth apart.

    The same source, settings and seed give the same bytes for any number of jobs, and after any
    number of interruptions. A scan that fails does not stop the others.

    Args:
        source: A scan, a folder of scans or a BIDS tree, fully observed.
        out: Gets `cohort/`, `truth/`, `participants.tsv` and `simulation.json`.
        config: How scans are made sparse.
        seed: Of every random draw.
        jobs: Processes that work side by side.
        overwrite: Whether another simulation in `out` is replaced.
        track: Shows progress.

    Raises:
        OutputError: If `out` holds something else than this simulation.
        VolumeError: If there is no source.
    """
    scans = find_sources(source)
    header = _header(scans, config, seed)
    _claim(out, source, header, overwrite=overwrite)

    finished = {scan.name: _finished(out, scan) for scan in scans}
    todo = [scan for scan in scans if finished[scan.name] is None]
    workers = max(1, min(jobs, len(todo)))
    free_bytes = available_bytes("cpu")
    limit_bytes = None if free_bytes is None else free_bytes // workers
    work = partial(_attempt, out=out, config=config, seed=seed, limit_bytes=limit_bytes)
    failures: dict[str, Failure] = {}
    results = run_tasks(work, todo, workers=workers, killed=killed_worker("simulated scans"))
    for scan, result in track(results, total=len(todo), label="scans"):
        if isinstance(result, Failure):
            failures[scan.name] = result
        else:
            finished[scan.name] = result

    done = {name: record for name, record in sorted(finished.items()) if record is not None}
    parts = _write_tables(out, scans, done, seed)
    write_json(out / RECORD, header | {"complete": not failures, "scans": done})
    new = {scan.name for scan in todo}
    return SimulationReport(
        out=out,
        written=tuple(name for name in done if name in new),
        kept=tuple(name for name in done if name not in new),
        failures=tuple(failures[name] for name in sorted(failures)),
        subjects=dict(Counter(parts.values())),
    )


def _header(scans: list[SourceScan], config: SimulationConfig, seed: int) -> dict[str, Any]:
    settings = asdict(config)
    if config.register:
        path = template_path(config)
        if not path.is_file():
            raise ConfigError(f"{path} is not a file", hint="check --template")
        settings["template"] = path.name
        settings["template_sha256"] = sha256(path)
    else:
        del settings["template"]
    if not config.motion:  # simulations of earlier versions, which had none, go on
        del settings["motion"]
    if config.thickness_mm:  # simulations of earlier versions averaged the truth, too
        settings["truth"] = "point samples"
    header = {
        "seed": seed,
        "settings": settings,
        "versions": versions(),
        "sources": [scan.name for scan in scans],
    }
    as_read: dict[str, Any] = json.loads(json.dumps(header))
    return as_read


def _claim(out: Path, source: Path, header: dict[str, Any], *, overwrite: bool) -> None:
    """Makes `out` the folder of this simulation; refuses one that holds something else."""
    if source.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{source} lies in {out}", hint="choose another folder with -o")
    refuse_inside(out, source)
    if is_occupied(out):
        if not (out / RECORD).is_file():
            raise OutputError(
                f"{out} holds something else than a simulation",
                hint="choose another folder with -o",
            )
        if not overwrite:
            stored = read_json(out / RECORD)
            if {key: stored.get(key) for key in header} == header:
                return
            raise OutputError(
                f"{out} exists and was simulated from other sources, settings or versions",
                hint="pass --overwrite to replace it, or choose another folder with -o",
            )
        for folder in ("cohort", "truth"):
            shutil.rmtree(out / folder, ignore_errors=True)
        (out / "participants.tsv").unlink(missing_ok=True)
    write_json(out / RECORD, header | {"complete": False, "scans": {}})


def _finished(out: Path, scan: SourceScan) -> dict[str, Any] | None:
    path = record_path(out, scan)
    if not path.is_file():
        return None
    record = read_json(path)
    same = record.get("source_sha256") == checksum(scan.path)
    return record if same and _same_labels(scan, record) else None


def _same_labels(scan: SourceScan, record: dict[str, Any]) -> bool:
    """Tells whether brain and label maps are those of the record; 0.1.0 kept their names only."""
    made_with = record.get("labels_sha256", {})
    return record.get("labels") == [path.name for path in scan.labels] and all(
        checksum(path) == made_with[path.name] for path in scan.labels if path.name in made_with
    )


def _attempt(
    scan: SourceScan, *, out: Path, config: SimulationConfig, seed: int, limit_bytes: int | None
) -> dict[str, Any] | Failure:
    try:
        return simulate_head(scan, out, config, seed=seed, limit_bytes=limit_bytes)
    except MriImputeError as error:
        return Failure(name=scan.name, problem=str(error), hint=error.hint)


def _write_tables(
    out: Path, scans: list[SourceScan], done: dict[str, Any], seed: int
) -> dict[str, str]:
    """Writes who is in which split; returns it. A failed scan changes no one else's split."""
    succeeded = {scan.subject for scan in scans if scan.name in done}
    parts = split([scan.subject for scan in scans], seed=seed)
    parts = {name: part for name, part in parts.items() if name in succeeded}
    rows = [{"participant_id": name, "split": part} for name, part in parts.items()]
    for folder in (out, out / "cohort"):
        if rows:
            write_tsv(folder / "participants.tsv", rows)
    for part, title in (("cohort", "sparse scans"), ("truth", "every slice of the same scans")):
        description = {
            "Name": f"Simulated by mriimpute: {title}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "mriimpute", "Version": versions()["mriimpute"]}],
        }
        write_json(out / part / "dataset_description.json", description)
    return parts
