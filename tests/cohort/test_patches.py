"""Tests for mriimpute.cohort.sparse and mriimpute.cohort.patches."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mriimpute.cohort import PatchConfig, SparseScan, draw_patches
from mriimpute.cohort.sparse import sparse
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

AS_STORED = PatchConfig(permute_axes=False)


def stack(axis: int = 2, gap: int = 3, shape: tuple[int, int, int] = (14, 15, 16)) -> Volume:
    """A ball on air, every gap-th slice acquired; half precision holds its values exactly."""
    distance = np.linalg.norm(np.indices(shape) - np.reshape(shape, (3, 1, 1, 1)) / 2, axis=0)
    data = np.where(distance < 5, np.round(64 * (1 - distance / 20)) / 64, 0.0)
    observed = np.zeros(shape, bool)
    np.moveaxis(observed, axis, 0)[::gap] = True
    return Volume(np.where(observed, data, np.nan).astype(np.float32), observed, np.eye(4))


def scan(axis: int = 2, gap: int = 3) -> SparseScan:
    return sparse(stack(axis, gap), "head.nii.gz")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_crop_of_slices_is_the_crop_of_the_fine_grid(axis: int) -> None:
    volume = stack(axis)
    kept = scan(axis)

    whole = kept.crop((0, 0, 0), volume.shape)
    box = kept.crop((3, 4, 5), (6, 7, 8))

    assert kept.shape == volume.shape
    assert kept.slices.size < volume.data.size / 2.5
    assert_array_equal(np.isfinite(whole), volume.observed)
    assert_array_equal(box, whole[3:9, 4:11, 5:13])


def test_crop_sticks_out_of_the_grid_as_missing_voxels() -> None:
    box = scan().crop((-2, 0, 0), (4, 3, 3))

    assert np.isnan(box[:2]).all()
    assert np.isfinite(box[2:, :, 0]).all()


def test_holes_in_slices_stay_holes() -> None:
    volume = stack()
    volume.observed[7, 7, 6] = False

    assert np.isnan(sparse(volume, "a").crop((7, 7, 6), (1, 1, 1))).all()


def test_same_generator_draws_the_same_patches() -> None:
    first, second = (
        draw_patches(
            [scan(0), scan(1)], (6, 7, 8), 5, config=PatchConfig(), generator=numpy_stream(0, "x")
        )
        for _ in range(2)
    )

    assert_array_equal(first.y, second.y)
    assert first.names == second.names


def test_rows_of_a_batch_are_those_of_the_whole_batch() -> None:
    whole, first, second = (
        draw_patches(
            [scan(0), scan(1)],
            (6, 7, 8),
            7,
            config=PatchConfig(),
            generator=numpy_stream(0, "x"),
            rows=rows,
        )
        for rows in (slice(0, 7), slice(0, 3), slice(3, 7))
    )

    assert_array_equal(np.concatenate([first.y, second.y]), whole.y)
    assert first.names + second.names == whole.names


def test_patch_is_missing_where_nothing_was_acquired() -> None:
    patches = draw_patches(
        [scan()], (6, 6, 6), 8, config=AS_STORED, generator=numpy_stream(0, "x")
    )

    assert_array_equal(np.isfinite(patches.y), patches.observed)
    per_slice = patches.observed.all(axis=(1, 2, 3))
    assert_array_equal(per_slice, patches.observed.any(axis=(1, 2, 3)))
    assert_array_equal(per_slice.sum(axis=1), 2)


def test_permuted_axes_show_close_voxels_along_every_axis() -> None:
    patches = draw_patches(
        [scan()], (6, 6, 6), 64, config=PatchConfig(), generator=numpy_stream(0, "x")
    )

    for axis in (2, 3, 4):
        first, second = (np.take(patches.observed, n, axis=axis) for n in (2, 3))
        assert (first & second).any()


def test_stored_axes_never_show_close_voxels_across_slices() -> None:
    patches = draw_patches(
        [scan()], (6, 6, 6), 64, config=AS_STORED, generator=numpy_stream(0, "x")
    )

    assert not (patches.observed[..., 1:] & patches.observed[..., :-1]).any()


def test_foreground_share_is_kept() -> None:
    patches = draw_patches(
        [scan()],
        (4, 4, 4),
        64,
        config=PatchConfig(foreground=1.0),
        generator=numpy_stream(0, "x"),
    )

    assert (np.nanmax(patches.y.reshape(64, -1), axis=1) > 0.3).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_patch_of_two_axes_is_a_plane_across_the_slices(axis: int) -> None:
    patches = draw_patches(
        [scan(axis)], (6, 6), 8, config=AS_STORED, generator=numpy_stream(0, "x")
    )

    assert patches.y.shape == (8, 1, 6, 6)
    assert_array_equal(patches.observed.sum(axis=(1, 2, 3)), 12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_patches_of_two_axes_lie_inside_slices_as_often_as_asked(axis: int) -> None:
    def whole(inside: float) -> int:
        patches = draw_patches(
            [scan(axis)],
            (6, 7),
            64,
            config=PatchConfig(inside=inside),
            generator=numpy_stream(0, "x"),
        )
        assert patches.gaps == (3,) * 64
        return int(patches.observed.all(axis=(1, 2, 3)).sum())

    assert whole(1.0) == 64
    assert whole(0.0) == 0
    assert 20 < whole(0.5) < 44


def test_scan_smaller_than_a_patch_lies_in_its_middle() -> None:
    patches = draw_patches(
        [scan()], (20, 15, 16), 2, config=AS_STORED, generator=numpy_stream(0, "x")
    )

    assert not patches.observed[:, :, :3].any()
    assert patches.observed[:, :, 3:17, :, ::3].all()


def test_constant_scan_gives_patches() -> None:
    volume = stack()
    volume.data[volume.observed] = 7.0

    patches = draw_patches(
        [sparse(volume, "a")], (6, 6, 6), 2, config=PatchConfig(), generator=numpy_stream(0, "x")
    )

    assert (patches.y[patches.observed] == 0).all()
