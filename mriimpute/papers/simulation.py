"""What a simulation holds for the supervised baseline: test cases, and true planes to learn from.

The truth of test subjects is for scores, as in `mriimpute evaluate`. The truth of train subjects
is opened by `Simulation.true_planes` and nowhere else in the package.

Axes: (i, j, k) = voxels, s = planes, p = across slices, w = inside a slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.cohort import Cohort, normalisation, observed_beside, to_target_grid
from mriimpute.cohort.slices import SliceScan, acquired_slices
from mriimpute.cohort.split import Split, cohort, subjects_of
from mriimpute.errors import ConfigError, GeometryError, VolumeError
from mriimpute.geometry import find_stack, inside_grid, spanned, squared_cosines
from mriimpute.io import find_scans, read_scan, stem
from mriimpute.io.tree import subject
from mriimpute.volume import Volume

__all__ = ["Simulation", "TestCase"]

DATA_RANGE_PERCENTILE = 99.5
TOLERANCE_MM = 0.01  # float32 headers round a corner by 1e-5 mm; a real shift is far larger
AGAIN = "run `mriimpute simulate` again, or pass the folder that it wrote"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TestCase:
    """A sparse scan of a test subject, and its truth.

    Attributes:
        subject: Its label, `sub-01`.
        name: Of the scan.
        volume: All that an imputer is given.
        truth: On the grid of `volume`.
        region: Missing voxels of the brain, between the first and the last acquired slice.
        data_range: 99.5th percentile of the truth inside the brain.
    """

    subject: str
    name: str
    volume: Volume
    truth: Float32[np.ndarray, "i j k"]
    region: Bool[np.ndarray, "i j k"]
    data_range: float


class Simulation:
    """The folder that `mriimpute simulate` wrote.

    Args:
        folder: Holds cohort/ and truth/.

    Raises:
        ConfigError: If it does not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "cohort" / "participants.tsv"
        if not (self.table.is_file() and (folder / "truth").is_dir()):
            raise ConfigError(
                f"{folder} is not a simulation: it must hold cohort/ with participants.tsv, and "
                "truth/",
                hint="pass the folder that `mriimpute simulate SOURCE -o SIM` wrote with --scans",
            )

    def files(self) -> list[Path]:
        """Returns every file that decides a result and is there, sorted."""
        scans = find_scans(self.folder / "cohort")
        test = self._scans_of("test")
        truths = [_truth(self.folder, path) for path in (*self._scans_of("train"), *test)]
        brains = [_brain(self.folder, path) for path in test]
        existing = [path for path in (*truths, *brains) if path.is_file()]
        return sorted([self.table, *scans, *filter(None, map(observed_beside, scans)), *existing])

    def scans(self) -> Cohort:
        """Returns the sparse scans to train on, and those of the validation loss."""
        return cohort(self.folder)

    def truths(self) -> list[Path]:
        """Returns where the truth of the scans to learn from lies; opens none of it."""
        return [_truth(self.folder, path) for path in self.scans().train]

    def test_cases(self) -> Iterator[TestCase]:
        """Yields the scans of the test subjects, with their truth.

        Raises:
            ConfigError: If there is no test subject.
            GeometryError: If a truth does not lie on the grid of its scan, up to whole voxels,
                or on another one than scans of such slices are imputed on.
            VolumeError: If a file cannot be read, or nothing is missing inside a brain.
        """
        scans = self._scans_of("test")
        if not scans:
            raise ConfigError(
                f"{self.table} has no subject whose split is 'test'",
                hint="simulate more subjects: 20 % of them are to test on",
            )
        for path in scans:
            yield _test_case(self.folder, path)

    def true_planes(self) -> list[SliceScan]:
        """Returns the planes of the train subjects' truth that cross their slices.

        Two families of planes do. Lines may be hidden across slices only, with the gap that the
        scan has; intensities are normalised as those of the sparse scan.

        Raises:
            GeometryError: As `test_cases`.
            VolumeError: If a file cannot be read.
        """
        return [plane for path in self.scans().train for plane in _planes(self.folder, path)]

    def _scans_of(self, split: Split) -> list[Path]:
        names = subjects_of(self.table, split)
        return [p for p in find_scans(self.folder / "cohort") if subject(p) in names]


def _truth(folder: Path, scan: Path) -> Path:
    return folder / "truth" / scan.relative_to(folder / "cohort")


def _brain(folder: Path, scan: Path) -> Path:
    return _truth(folder, scan).with_name(
        f"{stem(scan).rpartition('_')[0]}_desc-brain_mask.nii.gz"
    )


def _test_case(folder: Path, path: Path) -> TestCase:
    truth = _read(_truth(folder, path))
    mask = _read(_brain(folder, path))
    if mask.shape != truth.shape:
        raise GeometryError(f"the brain mask of {path} lies on another grid", hint=AGAIN)
    brain = (mask.data > 0) & truth.observed
    volume, part = _aligned(path, truth)
    region = brain[part] & ~volume.observed & spanned(find_stack(volume.observed), volume.shape)
    if not region.any():
        raise VolumeError(f"{path}: no voxel of the brain is missing", hint=AGAIN)
    data_range = float(np.percentile(truth.data[brain], DATA_RANGE_PERCENTILE))
    if data_range <= 0:
        raise VolumeError(f"the truth of {path} is dark: no score has a scale", hint=AGAIN)
    return TestCase(
        subject=subject(path),
        name=stem(path),
        volume=volume,
        truth=truth.data[part],
        region=region,
        data_range=data_range,
    )


def _planes(folder: Path, path: Path) -> list[SliceScan]:
    """Returns both families; none where the scan is no stack of slices without holes."""
    truth = _read(_truth(folder, path))
    volume, part = _aligned(path, truth)
    stack, acquired = find_stack(volume.observed), acquired_slices(volume, path.name)
    if stack is None or acquired is None:
        return []
    known = np.where(truth.observed, truth.data, np.float32(np.nan))[part]
    data = normalisation(volume).apply(known)

    families = []
    inside = [axis for axis in range(3) if axis != stack.axis]
    across_mm = truth.spacing_mm[stack.axis]
    for through, along in (inside, inside[::-1]):
        planes = np.ascontiguousarray(data.transpose(through, stack.axis, along))
        along_mm = truth.spacing_mm[along]
        families.append(
            SliceScan(
                name=f"{path.name}, truth",
                slices=planes[np.isfinite(planes).all(axis=(1, 2))].astype(np.float16),
                gaps=acquired.gaps,
                steps=(1, max(1, round(across_mm / along_mm))),
                pixel_mm=(across_mm, along_mm),
                foreground=acquired.foreground,
                directions=(False,),
                cosines=(
                    squared_cosines(truth.affine[:3, stack.axis]),
                    squared_cosines(truth.affine[:3, along]),
                ),
            )
        )
    return [family for family in families if len(family.slices)]


def _read(path: Path) -> Volume:
    if not path.is_file():
        raise VolumeError(f"{path} does not exist: there is no truth", hint=AGAIN)
    return read_scan(path).volume


def _aligned(path: Path, truth: Volume) -> tuple[Volume, tuple[slice, slice, slice]]:
    """Returns a sparse scan on its target grid, and where in the grid of the truth that lies."""
    volume = _on_target_grid(path, truth)
    part = inside_grid(
        volume.affine, volume.shape, truth.affine, truth.shape, tolerance_mm=TOLERANCE_MM
    )
    if part is None:
        raise GeometryError(f"{path} and its truth do not lie on one grid", hint=AGAIN)
    return volume, part


def _on_target_grid(path: Path, truth: Volume) -> Volume:
    """Returns a sparse scan on its target grid, whose voxels must be those of the truth.

    Whoever learns inside slices counts gaps in voxels of that grid.
    """
    fine = to_target_grid(read_scan(path, observed=observed_beside(path)))
    scan_mm, truth_mm = (volume.spacing_mm[fine.axis] for volume in (fine.volume, truth))
    if abs(scan_mm - truth_mm) > TOLERANCE_MM:
        raise GeometryError(
            f"the truth of {path} has a voxel every {truth_mm:.3g} mm across slices, but its "
            f"slices have pixels for one every {scan_mm:.3g} mm",
            hint="pass --spacing to `mriimpute simulate`: cubic voxels",
        )
    return fine.volume
