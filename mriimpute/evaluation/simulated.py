"""The test set of a simulation: its scans with their truth, and a test case of each.

Truth is opened for subjects of the split to score only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from mriimpute.cohort import observed_beside, to_target_grid
from mriimpute.cohort.split import Split, subjects_of
from mriimpute.errors import ConfigError, GeometryError, MriImputeError, OutputError, VolumeError
from mriimpute.evaluation.case import (
    DATA_RANGE_PERCENTILE,
    SparseScan,
    TestCase,
    require_contrast,
)
from mriimpute.evaluation.protocol import PAPER, Protocol
from mriimpute.files import read_json
from mriimpute.geometry import find_stack, grids_agree, inside_grid, spanned, transform
from mriimpute.io import checksum, find_scans, read_scan, stem
from mriimpute.volume import Volume

__all__ = [
    "RECORD",
    "OnFailure",
    "ScoredSplit",
    "SimulatedScan",
    "find_simulated_scans",
    "read_test_case",
    "thickness_of",
]

OnFailure = Callable[[str, MriImputeError], None]
"""Called with the name of a subject or scan that is left out, and why."""

ScoredSplit = Split | Literal["all"]
"""Whom to score. Others than the test subjects only if no model has learnt from their scans."""

RECORD = "simulation.json"
TOLERANCE_MM = 0.01  # float32 headers round a corner by 1e-5 mm; a real shift is far larger
HINT = "run `mriimpute simulate` again, or pass the folder that it wrote"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedScan(SparseScan):
    """One sparse scan of a test subject, and where its truth lies.

    Attributes:
        truth: The same grid with every slice.
        brain: The brain on the grid of `truth`, non-zero inside.
        labels: A map of its structures on that grid; None where there is none.
    """

    truth: Path
    brain: Path
    labels: Path | None = None


def find_simulated_scans(
    sim: Path, *, split: ScoredSplit = "test", on_failure: OnFailure | None = None
) -> list[SimulatedScan]:
    """Returns the scans of one split of a simulation, sorted by subject; opens none of them.

    Args:
        sim: What `mriimpute simulate` wrote.
        split: Whose scans.
        on_failure: Called for each subject whose scan or truth is missing; None: the first one is
            raised.

    Raises:
        ConfigError: If `sim` is no simulation folder, or has no subject in the split.
        VolumeError: If the scan or the truth of a subject is missing and `on_failure` is None,
            or those of all subjects are.
    """
    table = sim / "participants.tsv"
    if not (sim / "cohort").is_dir() or not table.is_file():
        raise ConfigError(
            f"{sim} is not a simulation: it must hold cohort/, truth/ and participants.tsv",
            hint="pass the folder that `mriimpute simulate SOURCE -o SIM` wrote",
        )
    parts = get_args(Split) if split == "all" else (split,)
    subjects = sorted(name for part in parts for name in subjects_of(table, part))
    if not subjects:
        raise ConfigError(
            f"{table} has no subject whose split is {' or '.join(map(repr, parts))}",
            hint="simulate more subjects: 20 % of them are to test on",
        )

    scans = []
    for subject in subjects:
        try:
            scans += _scans_of(sim, subject)
        except VolumeError as error:
            if on_failure is None or len(subjects) == 1:
                raise
            on_failure(subject, error)
    if not scans:
        raise VolumeError(f"{sim} has no {split} subject with a scan and its truth", hint=HINT)
    return scans


def thickness_of(sim: Path) -> float:
    """Returns the thickness of a simulation's slices, in mm; 0: point samples.

    Raises:
        ConfigError: If its record is damaged, or its truth is averaged as slices are.
    """
    record = sim / RECORD
    if not record.is_file():
        return 0.0
    try:
        settings = read_json(record).get("settings", {})
        thickness_mm = float(settings.get("thickness_mm", 0.0))
        sharp = not thickness_mm or "truth" in settings
    except (AttributeError, OutputError, TypeError, ValueError) as error:
        raise ConfigError(f"{record} is damaged", hint=HINT) from error
    if not sharp:
        raise ConfigError(
            f"{sim} was simulated by an earlier version, which averaged the truth over "
            f"{thickness_mm:g} mm, too",
            hint="run `mriimpute simulate` again with --overwrite",
        )
    return thickness_mm


def read_test_case(
    scan: SimulatedScan, protocol: Protocol = PAPER, *, thickness_mm: float = 0.0
) -> TestCase:
    """Returns the test case of a sparse scan and its truth.

    Args:
        scan: The scan and its truth.
        protocol: What counts, and how it is scored.
        thickness_mm: Of the slices, which methods know; 0: point samples.

    Raises:
        GeometryError: If truth and scan do not lie on one grid, up to whole voxels.
        VolumeError: If a file cannot be read, or nothing is missing inside the brain.
    """
    truth = read_scan(scan.truth).volume
    brain, labels = _read_on_grid(scan.brain, scan, truth), _labels(scan, truth)
    inside = (brain.data > 0) & truth.observed
    if not inside.any():
        raise VolumeError(f"{scan.brain} marks no voxel of {scan.truth}", hint=HINT)

    sparse = read_scan(scan.path, observed=observed_beside(scan.path))
    axis = int(np.argmax(sparse.volume.spacing_mm))
    volume = to_target_grid(sparse, truth.spacing_mm[axis]).volume
    part = _part(scan, volume, truth)
    stack = find_stack(volume.observed)
    region = inside[part] & ~volume.observed & spanned(stack, volume.shape)
    if not region.any():
        raise VolumeError(f"{scan.path}: no voxel of the brain is missing", hint=HINT)
    require_contrast(volume.data[volume.observed], scan.path)

    data_range = (
        float(np.percentile(truth.data[inside], DATA_RANGE_PERCENTILE))
        if protocol.scale == "brain"
        else float(truth.data[part][region].max())
    )
    if data_range <= 0:
        raise VolumeError(f"{scan.truth} is dark: no score has a scale there", hint=HINT)
    require_contrast(truth.data[part][region], scan.truth)

    return TestCase(
        source=scan,
        checksum=checksum(scan.path),
        volume=replace(volume, thickness_mm=thickness_mm),
        stack=stack,
        truth=truth.data[part],
        brain=inside[part],
        region=region,
        data_range=data_range,
        protocol=protocol,
        labels=None if labels is None else labels[part],
    )


def _read_on_grid(path: Path, scan: SimulatedScan, truth: Volume) -> Volume:
    """Returns an image that must lie on the grid of the truth."""
    volume = read_scan(path).volume
    if volume.shape != truth.shape or not grids_agree(
        volume.affine, truth.affine, truth.shape, tolerance_mm=TOLERANCE_MM
    ):
        raise GeometryError(f"{path} and {scan.truth} lie on different grids", hint=HINT)
    return volume


def _labels(scan: SimulatedScan, truth: Volume) -> Int[np.ndarray, "i j k"] | None:
    if scan.labels is None:
        return None
    volume = _read_on_grid(scan.labels, scan, truth)
    return np.rint(np.where(volume.observed, volume.data, 0)).astype(np.int64)


def _scans_of(sim: Path, subject: str) -> list[SimulatedScan]:
    folder = sim / "truth" / subject / "anat"
    paths = find_scans(sim / "cohort" / subject / "anat")
    starts = [stem(path).rpartition("_")[0] for path in paths]
    scans = []
    for path, start in zip(paths, starts, strict=True):
        truth = folder / path.name
        brain = folder / f"{start}_desc-brain_mask.nii.gz"
        for file in (truth, brain):
            if not file.is_file():
                raise VolumeError(f"{file} does not exist: {subject} has no truth", hint=HINT)
        scans.append(
            SimulatedScan(
                subject=subject,
                name=stem(path),
                path=path,
                truth=truth,
                brain=brain,
                labels=_label_map(folder, start, starts),
            )
        )
    return scans


def _label_map(folder: Path, start: str, starts: Sequence[str]) -> Path | None:
    """Returns the first label map of a scan, by name.

    `sub-1_ses-2_dseg` starts as files of `sub-1` do, but belongs to the scan `sub-1_ses-2`.
    """
    longer = tuple(f"{name}_" for name in starts if name.startswith(f"{start}_"))
    maps = sorted(folder.glob(f"{escape(start)}_*dseg.nii.gz"))
    return next((path for path in maps if not path.name.startswith(longer)), None)


def _part(scan: SimulatedScan, volume: Volume, truth: Volume) -> tuple[slice, slice, slice]:
    """Returns where the target grid lies inside the grid of the truth.

    The same place, not about the same place: a score over a shifted grid would measure the shift.
    """
    part = inside_grid(
        volume.affine, volume.shape, truth.affine, truth.shape, tolerance_mm=TOLERANCE_MM
    )
    if part is None:
        corner = transform(np.linalg.inv(truth.affine), volume.affine[:3, 3])
        raise GeometryError(
            f"{scan.path} and {scan.truth} do not lie on one grid: the scan's first voxel is "
            f"voxel {tuple(np.round(corner, 3).tolist())} of the truth",
            hint=HINT,
        )
    return part
