"""Tests for mriimpute.evaluation.hidden."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import VolumeError
from mriimpute.evaluation.hidden import Hidden, HiddenScan, TargetGridImputer, read_hidden
from mriimpute.evaluation.protocol import LINES, SLICES
from mriimpute.geometry import rotation, transform
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.interpolation import Interpolation
from mriimpute.volume import Volume

GAP = 3
SLICE_AXIS = 1


class Recorder(Imputer):
    """Answers with the place of each voxel along the slice axis, and remembers the question."""

    name = "recorder"
    asked: Volume

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the index along the slice axis, as mean, std and, plus ten, as draws."""
        self.asked = volume
        places = np.indices(volume.shape)[SLICE_AXIS].astype(np.float32)
        return Imputation(
            mean=places,
            std=places,
            draw=lambda number: places + 10 * number,
            log_density=lambda truth, region: float((truth - places)[region].mean()),
        )


@pytest.fixture
def scan(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Nine oblique coronal slices, stored with another orientation: left, superior, posterior."""
    data = rng.uniform(200, 900, (11, 9, 13)).astype(np.float32)
    data[:2], data[:, :, -2:] = 5.0, 7.0  # air
    affine = np.eye(4)
    affine[:3, :3] = rotation((6.0, -4.0, 9.0)) @ np.diag([-1.0, GAP, 1.0])
    affine[:3, 3] = (12.0, -40.0, 7.0)
    path = tmp_path / "sub-1_T2w.nii.gz"
    nib.Nifti1Image(data.transpose(0, 2, 1), affine[:, [0, 2, 1, 3]]).to_filename(path)
    return path


def hidden_scan(scan: Path, hidden: Hidden = "slices") -> HiddenScan:
    return HiddenScan(subject="sub-1", name="sub-1_T2w", path=scan, hidden=hidden)


def changed(scan: Path, change: object) -> Path:
    """Another scan with other intensities."""
    image = nib.load(scan)
    data = image.get_fdata(dtype=np.float32)
    data[change] = np.float32(1e4) - data[change]
    path = scan.with_name("sub-2_T2w.nii.gz")
    nib.Nifti1Image(data, image.affine).to_filename(path)
    return path


def test_every_second_acquired_slice_is_hidden(scan: Path) -> None:
    case = read_hidden(hidden_scan(scan))

    assert case.protocol is SLICES
    assert case.stack is not None
    assert (case.stack.axis, case.stack.positions) == (SLICE_AXIS, (0, 2, 4, 6, 8))
    assert case.refinement == GAP
    assert set(np.nonzero(case.region)[SLICE_AXIS]) == {1, 3, 5, 7}


def test_last_slice_of_an_even_number_is_left_out(scan: Path) -> None:
    image = nib.load(scan)
    nib.Nifti1Image(image.get_fdata()[:, :, :8], image.affine).to_filename(scan)

    case = read_hidden(hidden_scan(scan))

    assert case.volume.shape[SLICE_AXIS] == 7


@pytest.mark.parametrize(("hidden", "axis"), [("x", 0), ("y", 2)])
def test_lines_are_as_far_apart_as_slices(scan: Path, hidden: Hidden, axis: int) -> None:
    case = read_hidden(hidden_scan(scan, hidden))

    assert case.protocol is LINES
    assert case.stack is not None
    assert case.stack.axis == axis
    assert set(case.stack.gaps) == {GAP}
    assert case.refinement == 1
    assert set(np.nonzero(case.region)[SLICE_AXIS]) == set(range(9))


@pytest.mark.parametrize("hidden", ["slices", "x", "y"])
def test_nothing_that_is_hidden_is_in_the_question(scan: Path, hidden: Hidden) -> None:
    case = read_hidden(hidden_scan(scan, hidden))

    assert not (case.region & case.volume.observed).any()
    assert np.isnan(case.volume.data[~case.volume.observed]).all()
    assert (case.volume.data[case.volume.observed] == case.truth[case.volume.observed]).all()
    assert np.isfinite(case.truth).all()


def test_other_values_in_hidden_slices_change_no_bit_of_question_and_region(scan: Path) -> None:
    case = read_hidden(hidden_scan(scan))

    other = read_hidden(hidden_scan(changed(scan, np.s_[:, :, 1::2])))

    np.testing.assert_array_equal(other.volume.data, case.volume.data)
    np.testing.assert_array_equal(other.region, case.region)
    assert (other.truth[case.region] != case.truth[case.region]).all()


def test_air_does_not_count(scan: Path) -> None:
    case = read_hidden(hidden_scan(scan))

    assert case.region.any()
    assert case.truth[case.region].min() > 100
    assert case.brain is not None
    assert case.truth[~case.brain].max() < 100


def test_methods_fill_the_grid_that_they_would_fill_in_real_use(scan: Path) -> None:
    case, recorder = read_hidden(hidden_scan(scan)), Recorder()

    answer = TargetGridImputer(recorder, SLICE_AXIS, case.refinement).impute(
        case.volume, seed=0, case="c"
    )

    asked = recorder.asked
    assert asked.shape[SLICE_AXIS] == GAP * 8 + 1
    assert asked.spacing_mm == pytest.approx((1, 1, 1), abs=1e-4)
    assert set(np.nonzero(asked.observed)[SLICE_AXIS]) == {0, 6, 12, 18, 24}
    corner = np.array([[2.0, 3.0, 4.0]])
    np.testing.assert_allclose(
        transform(asked.affine, corner * (1, GAP, 1)), transform(case.volume.affine, corner)
    )
    assert answer.std is not None
    assert answer.draw is not None
    for image, offset in ((answer.mean, 0), (answer.std, 0), (answer.draw(2), 20)):
        assert image.shape == case.volume.shape
        assert image[0, :, 0].tolist() == [offset + GAP * n for n in range(9)]


def test_density_of_hidden_slices_is_asked_for_where_they_lie_on_the_finer_grid(
    scan: Path,
) -> None:
    case = read_hidden(hidden_scan(scan))
    answer = TargetGridImputer(Recorder(), SLICE_AXIS, case.refinement).impute(
        case.volume, seed=0, case="c"
    )
    assert answer.log_density is not None

    density = answer.log_density(answer.mean + 5, case.region)

    assert density == 5


def test_thickness_is_told_on_the_finer_grid(scan: Path) -> None:
    case, recorder = read_hidden(hidden_scan(scan)), Recorder()
    thick = dataclasses.replace(case.volume, thickness_mm=2.5)

    TargetGridImputer(recorder, SLICE_AXIS, case.refinement).impute(thick, seed=0, case="c")

    assert recorder.asked.thickness_mm == 2.5


def test_slices_marked_by_an_observed_image_are_hidden_alike(scan: Path) -> None:
    case = read_hidden(hidden_scan(scan))
    image = nib.load(scan)
    whole = np.full((11, 13, 27), np.nan, np.float32)
    whole[:, :, 1::GAP] = image.get_fdata(dtype=np.float32)
    affine = image.affine.copy()
    affine[:3, 2] /= GAP
    affine[:3, 3] -= affine[:3, 2]
    scattered = scan.with_name("sub-3_T2w.nii.gz")
    nib.Nifti1Image(whole, affine).to_filename(scattered)

    other = read_hidden(hidden_scan(scattered))

    np.testing.assert_array_equal(other.volume.data, case.volume.data)
    np.testing.assert_array_equal(other.region, case.region)
    np.testing.assert_allclose(other.volume.affine, case.volume.affine, atol=1e-4)
    assert other.refinement == case.refinement


def test_holes_of_a_scan_are_never_scored(scan: Path) -> None:
    image = nib.load(scan)
    data = image.get_fdata(dtype=np.float32)
    data[4:7, 5:8, 3] = np.nan  # inside of a slice that is hidden
    nib.Nifti1Image(data, image.affine).to_filename(scan)

    case = read_hidden(hidden_scan(scan))

    assert case.region[:, 3].any()
    assert np.isfinite(case.truth[case.region]).all()


@pytest.mark.parametrize(
    ("shape", "spacing", "problem"),
    [
        ((9, 9, 9), (1, 1, 1), "is no stack of equally spaced slices"),
        ((9, 9, 2), (1, 1, 4), "2 slices are too few"),
    ],
)
def test_scan_without_slices_to_hide_is_named(
    tmp_path: Path,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing: tuple[float, ...],
    problem: str,
) -> None:
    path = tmp_path / "sub-1_T1w.nii.gz"
    data = rng.uniform(1, 9, shape).astype(np.float32)
    nib.Nifti1Image(data, np.diag([*spacing, 1])).to_filename(path)

    with pytest.raises(VolumeError, match=problem) as caught:
        read_hidden(hidden_scan(path))

    assert "sub-1_T1w" in str(caught.value)


def test_interpolation_of_lines_is_that_along_lines(scan: Path) -> None:
    case = read_hidden(hidden_scan(scan, "x"))

    mean = Interpolation("linear").impute(case.volume, seed=0, case="c").mean

    expected = (2 * case.truth[3] + case.truth[6]) / 3
    np.testing.assert_allclose(mean[4], expected, rtol=1e-5)
