"""Tests for mriimpute.cohort.target_grid."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mriimpute.cohort import to_target_grid
from mriimpute.cohort.target_grid import axis_source, axis_warning
from mriimpute.errors import ConfigError, VolumeError
from mriimpute.geometry import transform
from mriimpute.io import Scan
from mriimpute.io.scan import AS_STORED
from mriimpute.volume import Volume


def scan(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    *,
    slice_axis: int | None = None,
) -> Scan:
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    affine = np.diag([*spacing_mm, 1.0])
    volume = Volume(data, np.ones(shape, bool), affine)
    header = nib.Nifti1Header()
    header.set_dim_info(slice=slice_axis)
    return Scan(Path("head.nii.gz"), volume, header, AS_STORED)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_acquired_slices_lie_on_fine_slices_at_the_same_place_in_the_room(axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 6.0
    thick = scan((5, 6, 7), (spacing[0], spacing[1], spacing[2]))

    fine = to_target_grid(thick)

    acquired = tuple(slice(None, None, 6 if n == axis else 1) for n in range(3))
    assert (fine.axis, fine.factor) == (axis, 6)
    assert fine.volume.shape[axis] == 6 * (thick.volume.shape[axis] - 1) + 1
    assert_array_equal(fine.volume.data[acquired], thick.volume.data)
    assert fine.volume.observed[acquired].all()
    assert np.isnan(fine.volume.data[~fine.volume.observed]).all()
    assert fine.volume.observed.sum() == thick.volume.data.size
    corner, coarse = np.array([2.0, 3.0, 4.0]), np.array([2.0, 3.0, 4.0])
    corner[axis] *= 6
    assert_array_equal(
        transform(fine.volume.affine, corner), transform(thick.volume.affine, coarse)
    )


@pytest.mark.parametrize(
    ("slice_mm", "in_plane_mm", "factor"), [(6.5, 0.45, 14), (1.5, 1.0, 2), (5.0, 2.0, 3)]
)
def test_factor_is_the_rounded_ratio_of_spacings(
    slice_mm: float, in_plane_mm: float, factor: int
) -> None:
    thick = scan((4, 4, 3), (in_plane_mm, in_plane_mm, slice_mm))

    assert to_target_grid(thick).factor == factor


def test_spacing_that_does_not_divide_is_replaced_by_the_nearest_that_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thick = scan((4, 4, 3), (1.0, 1.0, 6.0))

    with caplog.at_level("INFO"):
        fine = to_target_grid(thick, 1.1)

    assert fine.factor == 5
    assert "1.2 mm taken" in caplog.text


def test_asked_spacing_refines_a_scan_that_is_nearly_isotropic() -> None:
    assert to_target_grid(scan((4, 4, 3), (1.0, 1.0, 1.2)), 0.6).factor == 2


def test_missing_voxels_of_a_thick_scan_stay_missing() -> None:
    thick = scan((4, 4, 3), (1.0, 1.0, 3.0))
    thick.volume.observed[1, 1, 1] = False

    fine = to_target_grid(thick)

    assert not fine.volume.observed[1, 1, 3]
    assert fine.volume.observed[1, 2, 3]


def test_isotropic_scan_with_holes_is_taken_as_it_is() -> None:
    holes = scan((4, 4, 3), (1.0, 1.0, 1.0))
    holes.volume.observed[1, 1, 1] = False

    fine = to_target_grid(holes)

    assert fine.volume is holes.volume
    assert fine.factor == 1


def test_complete_scan_is_refused() -> None:
    with pytest.raises(VolumeError, match=r"head.nii.gz: nothing to impute"):
        to_target_grid(scan((4, 4, 3), (1.0, 1.0, 1.2)))


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, 7.0, float("nan")])
def test_spacing_must_be_positive_and_at_most_the_slice_spacing(spacing_mm: float) -> None:
    with pytest.raises(ConfigError, match="spacing must be above 0"):
        to_target_grid(scan((4, 4, 3), (1.0, 1.0, 6.0)), spacing_mm)


def test_more_slices_than_a_header_can_count_are_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="NIfTI holds 32767") as error:
        to_target_grid(scan((4, 4, 5), (1.0, 1.0, 6.0)), 1e-30)

    assert "--spacing" in error.value.hint


@pytest.mark.parametrize(
    ("spacing_mm", "said", "wanted_mm", "axis", "factor"),
    [
        ((1.0, 1.0, 5.0), None, None, 2, 5),
        ((1.0, 1.0, 5.0), 2, None, 2, 5),
        ((8.0, 1.0, 5.0), 2, None, 2, 5),  # pixels are longer than the way between slices
        ((8.0, 1.0, 5.0), None, None, 0, 3),
        ((3.0, 4.0, 4.0), 0, 1.0, 0, 3),  # slices are finer than pixels
        ((1.0, 1.0, 1.0), 1, 0.5, 1, 2),
        ((0.9, 0.8, 5.0), 2, None, 2, 6),  # nearly square: their mean, as without a header
    ],
)
def test_the_axis_that_the_file_names_is_refined_whatever_the_pixels(
    spacing_mm: tuple[float, float, float],
    said: int | None,
    wanted_mm: float | None,
    axis: int,
    factor: int,
) -> None:
    thick = scan((4, 4, 4), spacing_mm, slice_axis=said)

    fine = to_target_grid(thick, wanted_mm)

    assert (fine.axis, fine.factor) == (axis, factor)
    assert axis_source(thick, fine.axis, fine.factor) == (
        "voxel size" if said is None else "header"
    )


def test_a_scan_that_is_coarse_along_another_axis_than_that_of_its_slices_says_which_that_is() -> (
    None
):
    with pytest.raises(VolumeError, match=r"slices lie along i \(left-right\)"):
        to_target_grid(scan((4, 4, 4), (1.0, 1.0, 5.0), slice_axis=0))


def test_the_axis_of_missing_slices_is_that_of_the_grid_where_nothing_is_refined() -> None:
    sparse = scan((6, 4, 3), (1.0, 1.0, 1.2))
    sparse.volume.observed[2:4] = False

    fine = to_target_grid(sparse)

    assert (fine.axis, fine.factor) == (0, 1)
    assert axis_source(sparse, fine.axis, fine.factor) == "missing slices"


@pytest.mark.parametrize(
    ("spacing_mm", "said", "words"),
    [
        ((1.0, 1.0, 5.0), None, None),
        ((1.0, 1.4, 5.0), None, None),
        ((0.5, 5.0, 6.0), None, r"slices are taken to lie along k \(inferior-superior\)"),
        ((0.5, 5.0, 6.0), 1, r"slices are taken to lie along j \(posterior-anterior\)"),
        ((1.0, 1.6, 1.6), None, "coarse along two axes"),
    ],
)
def test_two_coarse_axes_are_told(
    spacing_mm: tuple[float, float, float], said: int | None, words: str | None
) -> None:
    warning = axis_warning(scan((4, 4, 4), spacing_mm, slice_axis=said))

    assert warning is None if words is None else re.search(words, str(warning))
