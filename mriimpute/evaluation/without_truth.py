"""Methods compared on sparse scans without truth: on what is hidden of their own slices.

REPORT/slices    every second acquired slice hidden: a complete report
REPORT/lines     lines hidden inside acquired slices, along either axis: another one

Neither is the real gap; `Protocol.bias` says how each differs from it.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from mriimpute.checkpoint import load
from mriimpute.cohort.split import Split, sparse_scans, subjects_of
from mriimpute.errors import ConfigError, VolumeError
from mriimpute.evaluation.hidden import Hidden, HiddenScan, read_hidden
from mriimpute.evaluation.methods import (
    DEFAULT_METHODS,
    Method,
    load_methods,
    require_known,
    require_own_device,
    require_unseen,
    to_fit,
)
from mriimpute.evaluation.protocol import LINES, SLICES, Protocol
from mriimpute.evaluation.run import DEFINITIONS_VERSION, LeftOut, score_and_summarise
from mriimpute.evaluation.scoring import Work
from mriimpute.evaluation.simulated import OnFailure, ScoredSplit
from mriimpute.evaluation.store import Store
from mriimpute.evaluation.summary import Summary
from mriimpute.files import refuse_inside
from mriimpute.io import find_scans, stem
from mriimpute.io.tree import subject
from mriimpute.methods.external import External
from mriimpute.methods.registry import model_file
from mriimpute.progress import Track, silent
from mriimpute.training.run import fingerprint

__all__ = ["SEEN", "without_truth"]

PROTOCOLS = (SLICES, LINES)

SEEN = "@seen"
"""Ends the names of methods that were fitted on the very scans that are scored."""


def without_truth(
    sources: Sequence[Path],
    out: Path,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    models: Sequence[Path] = (),
    externals: Sequence[External] = (),
    split: ScoredSplit | None = None,
    samples: int = 20,
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    track: Track = silent,
    overwrite: bool = False,
    on_failure: OnFailure | None = None,
) -> Mapping[str, Summary]:
    """Scores methods on hidden slices, and on hidden lines, of sparse scans; opens no truth.

    Goes on after a stop as `evaluate` does. A method that was fitted on the scans it is scored on
    has a name that ends in "@seen", as far as that is known: a model's cohort is recognised where
    it is exactly these scans.

    Args:
        sources: Files, folders, BIDS trees; of a simulation, its cohort.
        out: Gets a report for each of the two protocols.
        methods: Names; those that need fitting are fitted on the scans' own cohort.
        models: Run folders or checkpoints.
        externals: Other programs.
        split: Whom to score; a source without a `participants.tsv` that knows splits has none but
            "all". None: the test subjects where a table knows them, elsewhere everyone.
        samples: Draws to score, at least two.
        seed: Of draws, fitting and the bootstrap.
        device: "cpu" or "cuda:N".
        jobs: Processes that score scans side by side; changes no score.
        track: Shows progress.
        overwrite: Do everything again.
        on_failure: Called for each scan that cannot be scored, and for each method that fails on
            a scan; they are left out. None: the first failure is raised.

    Returns:
        The summaries, by name of the protocol: "slices" and "lines".

    Raises:
        ConfigError: If a method is unknown, would be fitted on one of several cohorts or on the
            scans to score, no table says who is in `split`, or several processes would share a
            GPU.
        OutputError: If `out` lies among the scans, holds something else, or results made with
            other settings.
        VolumeError: If a scan cannot be read and `on_failure` is None, none can be scored, or none
            is in the split.
    """
    if samples < 2:
        raise ValueError(f"samples must be at least 2, got {samples}")
    require_known(methods, models, externals)
    require_own_device(methods, device, jobs)
    left_out = LeftOut(on_failure) if on_failure else None
    folders = [sparse_scans(source) for source in sources]
    for folder in folders:
        refuse_inside(out, folder)
    split = _split(folders, split)
    paths = [path for folder in folders for path in _scans(folder, split)]
    if not paths:
        raise VolumeError(
            f"no scan of {', '.join(map(str, sources))} is in the {split} split",
            hint="pass another --split, or all",
        )
    fitted = to_fit(methods)
    if fitted and len(folders) > 1:
        raise ConfigError(
            f"{fitted[0]} is fitted on one cohort, not on {len(folders)} sources",
            hint="put the scans into one folder, or pass a trained model with --model",
        )
    if any(map(_knows_splits, folders)):
        require_unseen(methods, split)
        fitted = []  # on the train split alone

    stores = [_store(out, p, paths, split, samples, seed, overwrite) for p in PROTOCOLS]
    loaded = load_methods(
        methods,
        models,
        externals=externals,
        cohort=folders[0],
        runs=out / "runs",
        seed=seed,
        device=device,
        track=track,
        overwrite=overwrite,
        on_failure=left_out,
    )
    marked = _mark_seen(loaded, fitted, models, paths)

    summaries = {}
    for protocol, store in zip(PROTOCOLS, stores, strict=True):
        scans = _hidden_scans(paths, ("slices",) if protocol == SLICES else ("x", "y"))
        work = Work(
            read=read_hidden,
            methods=marked,
            store=store,
            samples=samples,
            seed=seed,
            shown_scan=scans[0].name,
        )
        summaries[protocol.name] = score_and_summarise(
            work,
            scans,
            protocol,
            jobs=jobs,
            track=track,
            split=split,
            left_out=dataclasses.replace(left_out, names=[*left_out.names]) if left_out else None,
        )
    return summaries


def _store(
    out: Path,
    protocol: Protocol,
    paths: Sequence[Path],
    split: ScoredSplit,
    samples: int,
    seed: int,
    overwrite: bool,
) -> Store:
    """Returns where the results of a protocol are kept."""
    settings: dict[str, str | int] = {
        "scans": fingerprint(paths),
        "protocol": protocol.name,
        "split": split,
        "samples": samples,
        "seed": seed,
        "definitions_version": DEFINITIONS_VERSION,
    }
    return Store(out / protocol.name, settings, overwrite=overwrite)


def _split(folders: Sequence[Path], split: ScoredSplit | None) -> ScoredSplit:
    """Returns whom to score; a split that a source does not know is refused, not ignored."""
    unknown = [folder for folder in folders if not _knows_splits(folder)]
    if split is None:
        return "all" if len(unknown) == len(folders) else "test"
    if split != "all" and unknown:
        raise ConfigError(
            f"{unknown[0]} has no participants.tsv that says who is in the {split} split",
            hint="leave --split out: everyone is then scored there",
        )
    return split


def _knows_splits(folder: Path) -> bool:
    table = folder / "participants.tsv"
    return table.is_file() and any(subjects_of(table, part) for part in get_args(Split))


def _scans(folder: Path, split: ScoredSplit) -> list[Path]:
    paths = find_scans(folder)
    if split == "all" or not _knows_splits(folder):
        return paths
    subjects = subjects_of(folder / "participants.tsv", split)
    return [path for path in paths if subject(path) in subjects]


def _hidden_scans(paths: Sequence[Path], hidden: Sequence[Hidden]) -> list[HiddenScan]:
    """Returns what is scored of each scan, under names that differ."""
    counts = Counter(stem(path) for path in paths)
    scans = []
    for path in paths:
        unique = counts[stem(path)] == 1
        name = stem(path) if unique else f"{path.parent.name}_{stem(path)}"
        owner = subject(path) if unique else name
        for part in hidden:
            label = name if part == "slices" else f"{name}_{part}"
            scans.append(HiddenScan(subject=owner, name=label, path=path, hidden=part))
    if twice := [name for name, count in Counter(s.name for s in scans).items() if count > 1]:
        raise ConfigError(
            f"two scans are called {twice[0]}", hint="rename one, or score them in two calls"
        )
    return scans


def _mark_seen(
    methods: Sequence[Method],
    fitted: Sequence[str],
    models: Sequence[Path],
    paths: Sequence[Path],
) -> tuple[Method, ...]:
    """Returns the methods; the names of those that were fitted on the scans end in `SEEN`."""
    cohort = fingerprint(paths)
    first = len(methods) - len(models)  # models come last
    seen = {n for n, method in enumerate(methods[:first]) if method.name in fitted}
    for n, path in enumerate(models, start=first):
        if load(model_file(path.resolve()))[1].get("cohort") == cohort:
            seen.add(n)
    return tuple(
        dataclasses.replace(method, name=f"{method.name}{SEEN}") if n in seen else method
        for n, method in enumerate(methods)
    )
