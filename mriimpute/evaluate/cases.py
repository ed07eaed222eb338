"""The subjects of a simulation to test on, and what is asked about each of them.

Truth is opened for subjects of the split to score only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy import ndimage

from mriimpute.data import fine_volume, observed_beside
from mriimpute.data.cohort import Split, subjects_of
from mriimpute.errors import ConfigError, GeometryError, MriImputeError, VolumeError
from mriimpute.files import sha256
from mriimpute.geometry import Stack, find_stack, grids_agree, transform
from mriimpute.io import find_scans, read_scan, stem
from mriimpute.volume import Volume

__all__ = ["Case", "Exam", "OnFailure", "ScoredSplit", "find_cases", "read_exam"]

OnFailure = Callable[[str, MriImputeError], None]
"""Told of a subject or scan that is left out, and why."""

ScoredSplit = Split | Literal["all"]
"""Whom to score. Others than the test subjects only if no model has learnt from their scans."""

TOLERANCE_MM = 0.01  # float32 headers round a corner by 1e-5 mm; a real shift is far larger
DATA_RANGE_PERCENTILE = 99.5
AGAIN = "run `mriimpute simulate` again, or pass the folder that it wrote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One sparse scan of a test subject, and where its truth lies.

    Attributes:
        subject: Its label, `sub-01`.
        name: The scan's file name without ending; names it in results and random streams.
        scan: The sparse scan.
        truth: The same grid with every slice.
        brain: The brain on the grid of `truth`, non-zero inside.
        labels: A map of its structures on that grid; None where there is none.
    """

    subject: str
    name: str
    scan: Path
    truth: Path
    brain: Path
    labels: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """A question and its answer, on the grid that runs from the first to the last slice.

    Attributes:
        case: Where it comes from.
        checksum: Of the sparse scan; names it in random streams, as in `mriimpute impute`.
        volume: The question: all that an imputer is given.
        stack: Where its slices lie, or None for another pattern of missing voxels.
        truth: The answer, on the grid of `volume`.
        brain: Inside of the brain.
        region: What counts: missing voxels of the brain, between the first and the last slice.
        data_range: 99.5th percentile of the truth inside the brain.
        labels: Which structure each voxel belongs to, zero: none; None without a label map.
    """

    case: Case
    checksum: str
    volume: Volume
    stack: Stack | None
    truth: Float32[np.ndarray, "i j k"]
    brain: Bool[np.ndarray, "i j k"]
    region: Bool[np.ndarray, "i j k"]
    data_range: float
    labels: Int[np.ndarray, "i j k"] | None = None

    def distances(self) -> Int[np.ndarray, " n"]:
        """Returns the voxels from each voxel of the region to the nearest slice, or measurement.

        Off a stack this is the Euclidean distance, rounded.
        """
        if self.stack is None:
            far = ndimage.distance_transform_edt(~self.volume.observed)
            return np.rint(far[self.region]).astype(np.int64)

        before, after = self._neighbours(self.stack)
        return np.minimum(before, after)

    def offsets(self) -> Int[np.ndarray, " n"] | None:
        """Returns the voxels from the slice before to each voxel of the region; None off a stack.

        A method that treats the two ends of a gap differently shows here.
        """
        return None if self.stack is None else self._neighbours(self.stack)[0]

    def carried_labels(self) -> Int[np.ndarray, " n"] | None:
        """Returns for each voxel of the region the label of the nearest measurement.

        On a stack this is the nearest slice along its axis, of two equally near ones the first.
        None without a label map.
        """
        if self.labels is None:
            return None
        if self.stack is None:
            nearest = ndimage.distance_transform_edt(
                ~self.volume.observed, return_distances=False, return_indices=True
            )
            return self.labels[tuple(nearest)][self.region]

        places = list(np.nonzero(self.region))
        before, after = self._neighbours(self.stack)
        places[self.stack.axis] = places[self.stack.axis] + np.where(
            before <= after, -before, after
        )
        return self.labels[tuple(places)]

    def _neighbours(self, stack: Stack) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        positions = np.array(stack.positions)
        index = np.nonzero(self.region)[stack.axis]
        before = positions[np.searchsorted(positions, index, side="right") - 1]
        after = positions[np.searchsorted(positions, index, side="left")]
        return index - before, after - index


def find_cases(
    sim: Path, *, split: ScoredSplit = "test", on_failure: OnFailure | None = None
) -> list[Case]:
    """Returns the scans of one split of a simulation, sorted by subject; opens none of them.

    Args:
        sim: What `mriimpute simulate` wrote.
        split: Whose scans.
        on_failure: Told of each subject whose scan or truth is missing; None: that is an error.

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

    cases = []
    for subject in subjects:
        try:
            cases += _cases(sim, subject)
        except VolumeError as error:
            if on_failure is None or len(subjects) == 1:
                raise
            on_failure(subject, error)
    if not cases:
        raise VolumeError(f"{sim} has no {split} subject with a scan and its truth", hint=AGAIN)
    return cases


def read_exam(case: Case) -> Exam:
    """Returns the question that a sparse scan poses, and the answer.

    Raises:
        GeometryError: If truth and scan do not lie on one grid, up to whole voxels.
        VolumeError: If a file cannot be read, or nothing is missing inside the brain.
    """
    truth = read_scan(case.truth).volume
    brain, labels = _beside(case.brain, case, truth), _labels(case, truth)
    inside = (brain.data > 0) & truth.observed
    if not inside.any():
        raise VolumeError(f"{case.brain} marks no voxel of {case.truth}", hint=AGAIN)

    scan = read_scan(case.scan, observed=observed_beside(case.scan))
    axis = int(np.argmax(scan.volume.spacing_mm))
    volume = fine_volume(scan, truth.spacing_mm[axis]).volume
    part = _part(case, volume, truth)
    stack = find_stack(volume.observed)
    region = inside[part] & ~volume.observed & _between(volume, stack)
    if not region.any():
        raise VolumeError(f"{case.scan}: no voxel of the brain is missing", hint=AGAIN)

    data_range = float(np.percentile(truth.data[inside], DATA_RANGE_PERCENTILE))
    if data_range <= 0:
        raise VolumeError(f"{case.truth} is dark: no score has a scale there", hint=AGAIN)

    return Exam(
        case=case,
        checksum=sha256(case.scan),
        volume=volume,
        stack=stack,
        truth=truth.data[part],
        brain=inside[part],
        region=region,
        data_range=data_range,
        labels=None if labels is None else labels[part],
    )


def _beside(path: Path, case: Case, truth: Volume) -> Volume:
    """Returns an image that must lie on the grid of the truth."""
    volume = read_scan(path).volume
    if volume.shape != truth.shape or not grids_agree(
        volume.affine, truth.affine, truth.shape, tolerance_mm=TOLERANCE_MM
    ):
        raise GeometryError(f"{path} and {case.truth} lie on different grids", hint=AGAIN)
    return volume


def _labels(case: Case, truth: Volume) -> Int[np.ndarray, "i j k"] | None:
    if case.labels is None:
        return None
    volume = _beside(case.labels, case, truth)
    return np.rint(np.where(volume.observed, volume.data, 0)).astype(np.int64)


def _cases(sim: Path, subject: str) -> list[Case]:
    folder = sim / "truth" / subject / "anat"
    scans = find_scans(sim / "cohort" / subject / "anat")
    starts = [stem(scan).rpartition("_")[0] for scan in scans]
    cases = []
    for scan, start in zip(scans, starts, strict=True):
        truth = folder / scan.name
        brain = folder / f"{start}_desc-brain_mask.nii.gz"
        for path in (truth, brain):
            if not path.is_file():
                raise VolumeError(f"{path} does not exist: {subject} has no truth", hint=AGAIN)
        cases.append(
            Case(
                subject=subject,
                name=stem(scan),
                scan=scan,
                truth=truth,
                brain=brain,
                labels=_label_map(folder, start, starts),
            )
        )
    return cases


def _label_map(folder: Path, start: str, starts: Sequence[str]) -> Path | None:
    """Returns the first label map of a scan, by name.

    `sub-1_ses-2_dseg` starts as files of `sub-1` do, but belongs to the scan `sub-1_ses-2`.
    """
    others = tuple(f"{other}_" for other in starts if other.startswith(f"{start}_"))
    found = sorted(folder.glob(f"{escape(start)}_*dseg.nii.gz"))
    return next((path for path in found if not path.name.startswith(others)), None)


def _part(case: Case, fine: Volume, truth: Volume) -> tuple[slice, slice, slice]:
    """Returns where the fine grid lies inside the grid of the truth.

    The same place, not about the same place: a score over a shifted grid would measure the shift.
    """
    corner = transform(np.linalg.inv(truth.affine), fine.affine[:3, 3])
    start = np.rint(corner).astype(int)
    moved = truth.affine.copy()
    moved[:3, 3] = transform(truth.affine, start.astype(np.float64))
    stop = start + fine.shape
    fits = (start >= 0).all() and (stop <= truth.shape).all()
    if not fits or not grids_agree(moved, fine.affine, fine.shape, tolerance_mm=TOLERANCE_MM):
        raise GeometryError(
            f"{case.scan} and {case.truth} do not lie on one grid: the scan's first voxel is "
            f"voxel {tuple(np.round(corner, 3).tolist())} of the truth",
            hint=AGAIN,
        )
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def _between(volume: Volume, stack: Stack | None) -> Bool[np.ndarray, "i j k"]:
    """Returns where imputing is no extrapolation: from the first to the last acquired slice."""
    if stack is None:
        return np.ones(volume.shape, bool)
    inside = np.zeros(volume.shape, bool)
    np.moveaxis(inside, stack.axis, 0)[stack.positions[0] : stack.positions[-1] + 1] = True
    return inside
