"""Imputed against truth: every method answers the same question for every subject."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.evaluate.cases import (
    Case,
    Exam,
    OnFailure,
    ScoredSplit,
    find_cases,
    read_exam,
)
from mriimpute.evaluate.contenders import (
    DEFAULT_METHODS,
    Contender,
    gather,
    require_known,
    require_unseen,
)
from mriimpute.evaluate.panels import cut
from mriimpute.evaluate.scores import Row, examine
from mriimpute.evaluate.store import Store
from mriimpute.evaluate.summary import FEWEST_SUBJECTS, Summary, summarise
from mriimpute.evaluate.tables import write_tables
from mriimpute.files import sha256
from mriimpute.metrics import COVERAGE_DRAWS
from mriimpute.progress import Track, silent

__all__ = ["evaluate"]

log = logging.getLogger(__name__)

DEFINITIONS_VERSION = 2
"""Counts up when a score changes its meaning: rows made before are then not mixed in."""


def evaluate(
    sim: Path,
    out: Path,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    models: Sequence[Path] = (),
    split: ScoredSplit = "test",
    samples: int = 20,
    seed: int = 0,
    device: str = "cpu",
    track: Track = silent,
    overwrite: bool = False,
    on_failure: OnFailure | None = None,
) -> Summary:
    """Scores methods on the test split of a simulation, or another, and writes the tables.

    A call that was stopped goes on from its finished rows when repeated with the same arguments;
    with further methods it only scores those.

    Args:
        sim: What `mriimpute simulate` wrote.
        out: The report folder.
        methods: Names; those that need fitting are fitted on the train split, without truth.
        models: Run folders or checkpoints.
        split: Whom to score. "train", "val" and "all" make sense only for scans from which no
            model has learnt: whether one of `models` has, is not known here.
        samples: Draws to score, at least two.
        seed: Of draws, fitting and the bootstrap.
        device: "cpu" or "cuda:N".
        track: Shows progress.
        overwrite: Do everything again.
        on_failure: Told of each subject or scan, to test or to train on, that is missing or
            cannot be read and is left out; None: the first one is an error.

    Raises:
        ConfigError: If `sim` is no simulation, has no subject in the split, or a method is
            unknown or would be fitted on the scans to score.
        GeometryError: If a scan and its truth do not lie on one grid, and `on_failure` is None.
        OutputError: If `out` holds something else, or results made with other settings.
        VolumeError: If a scan or truth is missing or cannot be read and `on_failure` is None, or
            if none can be scored.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    require_known(methods, models)
    require_unseen(methods, split)
    left_out: list[str] = []

    def leave_out(name: str, error: MriImputeError) -> None:
        left_out.append(name)
        if on_failure is not None:
            on_failure(name, error)

    told = leave_out if on_failure else None
    cases = find_cases(sim, split=split, on_failure=told)
    settings = _settings(sim, split, samples, seed)
    store = Store(out, settings, overwrite=overwrite)
    contenders = gather(
        methods,
        models,
        cohort=sim / "cohort",
        runs=out / "runs",
        seed=seed,
        device=device,
        track=track,
        overwrite=overwrite,
        on_failure=told,
    )

    rows = _rows(
        cases,
        contenders,
        store,
        samples=samples,
        seed=seed,
        track=track,
        on_failure=told,
    )
    panels = {contender.name: store.panel(contender.name) for contender in contenders}
    summary = summarise(rows, report=out, panels=panels, seed=seed)
    summary = dataclasses.replace(summary, left_out=tuple(dict.fromkeys(left_out)), split=split)
    write_tables(
        summary, settings, {contender.name: contender.fingerprint for contender in contenders}
    )
    log.info("%s: metrics.csv, distance.csv, summary.json", out)
    _say_limits(summary, samples)
    return summary


def _rows(
    cases: Sequence[Case],
    contenders: Sequence[Contender],
    store: Store,
    *,
    samples: int,
    seed: int,
    track: Track,
    on_failure: OnFailure | None,
) -> list[Row]:
    """Returns the rows of all contenders, for every case that can be read."""
    rows: list[Row] = []
    exam: Exam | None = None
    broken: set[str] = set()
    pairs = [(case, contender) for case in cases for contender in contenders]
    for case, contender in track(pairs, total=len(pairs), label="scoring"):
        if case.name in broken:
            continue
        row = store.row(case.name, contender)
        if row is None:
            if exam is None or exam.case != case:
                # The error of a lone scan says more than that none is left.
                told = on_failure if len(cases) > 1 else None
                exam = _opened(case, contenders, store, told)
            if exam is None:
                broken.add(case.name)
                continue
            row, imputation = examine(
                contender.imputer, exam, method=contender.name, samples=samples, seed=seed
            )
            # The figure shows the first scan: chosen before any score is known.
            first = next(c for c in cases if c.name not in broken)
            store.keep(row, contender, cut(exam, imputation) if case == first else None)
        rows.append(row)
    if not rows:
        raise VolumeError(
            f"none of the {len(cases)} scans can be read",
            hint="repair the files named above, or simulate again",
        )
    return rows


def _opened(
    case: Case, contenders: Sequence[Contender], store: Store, on_failure: OnFailure | None
) -> Exam | None:
    """Returns the exam of a case, or None where it cannot be read and is left out."""
    try:
        return read_exam(case)
    except VolumeError as error:
        # Methods are compared on the same scans: one that a method was scored on before cannot
        # be left out for another.
        if on_failure is None or any(store.row(case.name, c) for c in contenders):
            raise
        on_failure(case.name, error)
        return None


def _settings(sim: Path, split: ScoredSplit, samples: int, seed: int) -> Mapping[str, str | int]:
    record = sim / "simulation.json"
    return {
        "simulation": sha256(record if record.is_file() else sim / "participants.tsv"),
        "split": split,
        "samples": samples,
        "seed": seed,
        "definitions_version": DEFINITIONS_VERSION,
    }


def _say_limits(summary: Summary, samples: int) -> None:
    if not summary.ranked:
        log.warning(
            "%d subjects: fewer than %d, so no ranking and no intervals",
            summary.subjects,
            FEWEST_SUBJECTS,
        )
    if samples < COVERAGE_DRAWS:
        log.warning(
            "%d draws: coverage of the 90 %% interval takes at least %d", samples, COVERAGE_DRAWS
        )
