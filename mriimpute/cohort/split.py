"""Which scans a model is fitted on, and which ones it is validated on."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mriimpute.errors import VolumeError, listed
from mriimpute.files import read_tsv
from mriimpute.io import find_scans
from mriimpute.io.tree import stem, subject

__all__ = [
    "Cohort",
    "Split",
    "cohort",
    "observed_beside",
    "scans_of",
    "sparse_scans",
    "subjects_of",
]

log = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
SPLITS = get_args(Split)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The scans of a cohort; a test scan is in neither list.

    Attributes:
        train: What a model is fitted on.
        val: What it is validated on. Which weights are kept, when a run ends early, and the
            factors of the std depend on it, by what is hidden of acquired voxels: it is as
            sparse, and has no truth either.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...] = ()


def cohort(source: Path) -> Cohort:
    """Returns the scans that `source` stands for, split by subject.

    Args:
        source: A scan, a folder, a BIDS tree, or what `mriimpute simulate` wrote (then its
            `cohort` folder is meant). A `participants.tsv` with a column `split` (train, val or
            test) decides; without one, every scan is fitted on. Case and blanks in its header
            do not matter.

    Raises:
        VolumeError: If there is no scan to fit on, or the table contradicts itself.
    """
    folder = sparse_scans(source)
    scans = find_scans(folder)
    split = _split(folder / "participants.tsv")
    if split is None:
        return Cohort(tuple(scans))

    unknown = sorted({subject(path) for path in scans} - split.keys())
    if unknown:
        log.warning("not in participants.tsv and left out: %s", ", ".join(unknown))
    chosen = Cohort(
        *(tuple(p for p in scans if split.get(subject(p)) == name) for name in ("train", "val"))
    )
    if not chosen.train:
        raise VolumeError(
            f"{folder / 'participants.tsv'} puts no scan of {folder} into the train split",
            hint="write train into its column split, or remove the column",
        )
    return chosen


def sparse_scans(source: Path) -> Path:
    """Returns the folder of sparse scans in what `simulate` wrote, anything else as it is."""
    return source / "cohort" if (source / "cohort").is_dir() else source


def scans_of(source: Path, split: Split) -> list[Path]:
    """Returns the scans of one split of a folder with a `participants.tsv`.

    Raises:
        VolumeError: If the table has no such split, or no scan is in it.
    """
    table = _split(source / "participants.tsv")
    scans = [path for path in find_scans(source) if (table or {}).get(subject(path)) == split]
    if not scans:
        raise VolumeError(
            f"{source / 'participants.tsv'} puts no scan into the {split} split",
            hint="leave --split out, or pass the cohort folder that simulate wrote",
        )
    return scans


def subjects_of(table: Path, split: Split) -> list[str]:
    """Returns the subjects (`sub-01`) that a `participants.tsv` puts into a split, sorted.

    Raises:
        VolumeError: If the table contradicts itself.
    """
    return sorted(name for name, part in (_split(table) or {}).items() if part == split)


def observed_beside(scan: Path) -> Path | None:
    """Returns the image that says which voxels of `scan` were acquired, if one lies beside it.

    For `sub-01_T1w.nii.gz` that is `sub-01_desc-observedT1w_mask.nii.gz` or, for all scans of
    these entities, `sub-01_desc-observed_mask.nii.gz`; for `head.nii.gz` it is
    `head_desc-observed.nii.gz`.
    """
    name = stem(scan)
    ending = scan.name.removeprefix(name)
    if name.startswith("sub-") and "_" in name:
        start, _, suffix = name.rpartition("_")
        marks = [f"{start}_desc-observed{which}_mask" for which in (suffix, "")]
    else:
        marks = [f"{name}_desc-observed"]
    paths = (scan.with_name(mark + end) for mark in marks for end in (ending, ending.lower()))
    try:
        return next((path for path in paths if path.is_file()), None)
    except OSError:  # the name is too long for a file to lie beside it
        return None


def _split(table: Path) -> dict[str, str] | None:
    """Returns the split of each subject, or None where the table says nothing about it."""
    if not table.is_file():
        return None
    rows = [_by_plain_names(row) for row in read_tsv(table)]
    names = list(rows[0]) if rows else []
    # Whoever means a split and is not understood would learn from test scans.
    if not rows and "split" in table.read_text(encoding="utf-8-sig").casefold().split():
        raise VolumeError(
            f"{table} names no subject", hint="write a line for each, or remove the table"
        )
    if len(names) == 1 and "split" in re.split(r"[,;\s]+", names[0]):
        raise VolumeError(
            f"{table} has a single column, {names[0]!r}", hint="separate its columns by tabs"
        )
    if "split" not in names:
        return None
    if "participant_id" not in names:
        raise VolumeError(
            f"{table} has a column split, and none that is called participant_id",
            hint="name the column of the subjects participant_id",
        )

    split: dict[str, str] = {}
    for row in rows:
        name = f"sub-{row['participant_id'].removeprefix('sub-')}"
        if row["split"] not in SPLITS:
            raise VolumeError(
                f"{table}: split of {name} must be one of {listed(SPLITS)}, got {row['split']!r}",
                hint="correct the table",
            )
        if split.setdefault(name, row["split"]) != row["split"]:
            raise VolumeError(
                f"{table}: {name} is in {split[name]} and in {row['split']}",
                hint="put each subject into one split",
            )
    return split


def _by_plain_names(row: dict[str, str]) -> dict[str, str]:
    """Returns a row by the names of its columns as BIDS writes them."""
    return {name.strip().casefold(): value for name, value in row.items()}
