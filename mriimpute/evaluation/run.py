"""Imputed against truth: every method on the same test cases."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mriimpute.errors import MriImputeError
from mriimpute.evaluation.failures import pairs
from mriimpute.evaluation.methods import (
    DEFAULT_METHODS,
    load_methods,
    require_known,
    require_own_device,
    require_unseen,
)
from mriimpute.evaluation.panels import Panel
from mriimpute.evaluation.protocol import Protocol, ProtocolName, resolve
from mriimpute.evaluation.result import Result
from mriimpute.evaluation.scoring import S, Work, score_all
from mriimpute.evaluation.simulated import (
    RECORD,
    OnFailure,
    ScoredSplit,
    find_simulated_scans,
    read_test_case,
    thickness_of,
)
from mriimpute.evaluation.store import Store
from mriimpute.evaluation.summary import MIN_SUBJECTS, Summary, summarise
from mriimpute.evaluation.tables import write_tables
from mriimpute.files import sha256
from mriimpute.methods.external import External
from mriimpute.metrics import COVERAGE_DRAWS
from mriimpute.progress import Track, silent

__all__ = ["DEFINITIONS_VERSION", "LeftOut", "evaluate", "score_and_summarise"]

log = logging.getLogger(__name__)

DEFINITIONS_VERSION = 4
"""Counts up when a score changes its meaning: results made before are then not mixed in."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Remembers subjects, scans, and methods on scans, that are left out.

    Attributes:
        on_failure: Called for each, too.
        names: Of those so far.
    """

    on_failure: OnFailure
    names: list[str] = field(default_factory=list)

    def __call__(self, name: str, error: MriImputeError) -> None:
        """Takes note of one."""
        self.names.append(name)
        self.on_failure(name, error)


def evaluate(
    sim: Path,
    out: Path,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    models: Sequence[Path] = (),
    externals: Sequence[External] = (),
    protocol: ProtocolName = "simulated",
    split: ScoredSplit = "test",
    samples: int = 20,
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    track: Track = silent,
    overwrite: bool = False,
    on_failure: OnFailure | None = None,
) -> Summary:
    """Scores methods on the test split of a simulation, or another, and writes the tables.

    A call that was stopped goes on from its results when repeated with the same arguments;
    with further methods it only scores those.

    Args:
        sim: What `mriimpute simulate` wrote.
        out: The report folder.
        methods: Names; those that need fitting are fitted on the train split, without truth.
        models: Run folders or checkpoints.
        externals: Other programs.
        protocol: How predictions are scored; "simulated": as slices were simulated.
        split: Whom to score. "train", "val" and "all" make sense only for scans from which no
            model has learnt: whether one of `models` has, is not known here.
        samples: Draws to score, at least two.
        seed: Of draws, fitting and the bootstrap.
        device: "cpu" or "cuda:N".
        jobs: Processes that score scans side by side; changes no score.
        track: Shows progress.
        overwrite: Do everything again.
        on_failure: Called for each subject or scan, to test or to train on, that is missing or
            cannot be read, and for each method that fails on a scan, even of a bug; everything
            else goes on, and the same call tries these again. None: the first failure is raised.

    Raises:
        ConfigError: If `sim` is no simulation or was made for another protocol, has no subject in
            the split, a method is unknown or would be fitted on the scans to score, or several
            processes would share a GPU.
        GeometryError: If a scan and its truth do not lie on one grid, and `on_failure` is None.
        MethodError: If a method fails on a scan of a bug, and `on_failure` is None.
        OutputError: If `out` holds something else, or results made with other settings.
        ResourceError: If memory ran out.
        VolumeError: If a scan or truth is missing or cannot be read and `on_failure` is None, or
            if none can be scored.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    require_known(methods, models, externals)
    require_own_device(methods, device, jobs)
    require_unseen(methods, split)
    left_out = LeftOut(on_failure) if on_failure else None

    scans = find_simulated_scans(sim, split=split, on_failure=left_out)
    thickness_mm = thickness_of(sim)
    resolved = resolve(protocol, thickness_mm)
    record = sim / RECORD
    settings: dict[str, str | int] = {
        "simulation": sha256(record if record.is_file() else sim / "participants.tsv"),
        "protocol": resolved.name,
        "thickness_mm": f"{thickness_mm:g}",
        "split": split,
        "samples": samples,
        "seed": seed,
        "definitions_version": DEFINITIONS_VERSION,
    }
    store = Store(out, settings, overwrite=overwrite)
    loaded = load_methods(
        methods,
        models,
        externals=externals,
        cohort=sim / "cohort",
        runs=out / "runs",
        seed=seed,
        device=device,
        track=track,
        overwrite=overwrite,
        on_failure=left_out,
    )
    work = Work(
        read=partial(read_test_case, protocol=resolved, thickness_mm=thickness_mm),
        methods=tuple(loaded),
        store=store,
        samples=samples,
        seed=seed,
        shown_scan=scans[0].name,
    )
    return score_and_summarise(
        work, scans, resolved, jobs=jobs, track=track, split=split, left_out=left_out
    )


def score_and_summarise(
    work: Work[S],
    scans: Sequence[S],
    protocol: Protocol,
    *,
    jobs: int,
    track: Track,
    split: ScoredSplit,
    left_out: LeftOut | None,
) -> Summary:
    """Scores the scans, writes the tables and returns the summary.

    Raises:
        MriImputeError: As `score_all` does.
    """
    scored = score_all(work, scans, jobs=jobs, track=track, on_failure=left_out)
    results, report = scored.results, work.store.report
    panels = _panels(work, results, results[0].scan)
    summary = summarise(results, report=report, panels=panels, seed=work.seed)
    compared = {result.method for result in results}
    failures = pairs(scored.failed)
    names = dict.fromkeys(left_out.names if left_out else ())
    summary = dataclasses.replace(
        summary,
        left_out=tuple(name for name in names if name not in failures),
        failed=scored.failed,
        scans_tried=scored.scans,
        split=split,
        settings=work.store.settings,
        fingerprints={m.name: m.fingerprint for m in work.methods if m.name in compared},
        protocol=protocol,
        worst=_panels(work, results, _worst_scan(summary)),
    )
    write_tables(summary)
    log.info("%s: metrics.csv, distance.csv, summary.json, index.html", report)
    _warn_of_limits(summary, work.samples)
    return summary


def _panels(work: Work[S], results: Sequence[Result], scan: str) -> dict[str, Panel]:
    return {r.method: work.store.panel(scan, r.method) for r in results if r.scan == scan}


def _worst_scan(summary: Summary) -> str:
    """Returns the scan where the best method gains least; empty where nothing is compared."""
    interpolated, best = (
        {result.scan: result.psnr_db for result in summary.results if result.method == method}
        for method in (summary.best_interpolator, summary.best_non_interpolator)
    )
    if not interpolated or not best or len(interpolated) < 2:
        return ""
    return min(interpolated, key=lambda scan: best[scan] - interpolated[scan])


def _warn_of_limits(summary: Summary, samples: int) -> None:
    if summary.scans < summary.scans_tried:
        log.warning(
            "compared on %d of %d scans: those on which none of the methods compared failed",
            summary.scans,
            summary.scans_tried,
        )
    if not summary.ranked:
        log.warning(
            "%d subject%s: fewer than %d, so no ranking and no intervals",
            summary.subjects,
            "" if summary.subjects == 1 else "s",
            MIN_SUBJECTS,
        )
    if samples < COVERAGE_DRAWS:
        log.warning(
            "%d draws: coverage of the 90 %% interval takes at least %d", samples, COVERAGE_DRAWS
        )
