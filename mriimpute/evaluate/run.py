"""Imputed against truth: every method answers the same question for every test subject."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from mriimpute.evaluate.cases import Exam, find_cases, read_exam
from mriimpute.evaluate.contenders import DEFAULT_METHODS, gather, require_known
from mriimpute.evaluate.panels import cut
from mriimpute.evaluate.scores import examine
from mriimpute.evaluate.store import Store
from mriimpute.evaluate.summary import FEWEST_SUBJECTS, Summary, summarise
from mriimpute.evaluate.tables import write_tables
from mriimpute.files import sha256
from mriimpute.metrics import COVERAGE_DRAWS
from mriimpute.progress import Track, silent

__all__ = ["evaluate"]

log = logging.getLogger(__name__)

DEFINITIONS_VERSION = 1
"""Counts up when a score changes its meaning: rows made before are then not mixed in."""


def evaluate(
    sim: Path,
    out: Path,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    models: Sequence[Path] = (),
    samples: int = 20,
    seed: int = 0,
    device: str = "cpu",
    track: Track = silent,
    overwrite: bool = False,
) -> Summary:
    """Scores methods on the test split of a simulation and writes the tables.

    A call that was stopped goes on from its finished rows when repeated with the same arguments;
    with further methods it only scores those.

    Args:
        sim: What `mriimpute simulate` wrote.
        out: The report folder.
        methods: Names; those that need fitting are fitted on the train split, without truth.
        models: Run folders or checkpoints.
        samples: Draws to score, at least two.
        seed: Of draws, fitting and the bootstrap.
        device: "cpu" or "cuda:N".
        track: Shows progress.
        overwrite: Do everything again.

    Raises:
        ConfigError: If `sim` is no simulation, has no test subject, or a method is unknown.
        GeometryError: If a scan and its truth do not lie on one grid.
        OutputError: If `out` holds something else, or results made with other settings.
        VolumeError: If truth is missing or cannot be read.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    require_known(methods, models)
    cases = find_cases(sim)
    settings = _settings(sim, samples, seed)
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
    )

    rows = []
    exam: Exam | None = None
    pairs = [(case, contender) for case in cases for contender in contenders]
    for case, contender in track(pairs, total=len(pairs), label="scoring"):
        row = store.row(case.name, contender)
        if row is None:
            if exam is None or exam.case != case:
                exam = read_exam(case)
            row, imputation = examine(
                contender.imputer, exam, method=contender.name, samples=samples, seed=seed
            )
            # The figure shows the first scan: chosen before any score is known.
            store.keep(row, contender, cut(exam, imputation) if case == cases[0] else None)
        rows.append(row)

    panels = {contender.name: store.panel(contender.name) for contender in contenders}
    summary = summarise(rows, report=out, panels=panels, seed=seed)
    write_tables(
        summary, settings, {contender.name: contender.fingerprint for contender in contenders}
    )
    log.info("%s: metrics.csv, distance.csv, summary.json", out)
    _say_limits(summary, samples)
    return summary


def _settings(sim: Path, samples: int, seed: int) -> Mapping[str, str | int]:
    record = sim / "simulation.json"
    return {
        "simulation": sha256(record if record.is_file() else sim / "participants.tsv"),
        "samples": samples,
        "seed": seed,
        "definitions_version": DEFINITIONS_VERSION,
    }


def _say_limits(summary: Summary, samples: int) -> None:
    if not summary.ranked:
        log.warning(
            "%d test subjects: fewer than %d, so no ranking and no intervals",
            summary.subjects,
            FEWEST_SUBJECTS,
        )
    if samples < COVERAGE_DRAWS:
        log.warning(
            "%d draws: coverage of the 90 %% interval takes at least %d", samples, COVERAGE_DRAWS
        )
