"""Tests for mriimpute.papers.data and slices."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError
from mriimpute.papers.data import Data, read_idx

IMAGES = "train-images-idx3-ubyte.gz"
HEADER = bytes([0, 0, 8, 3]) + bytes(11)


def packed(content: bytes) -> bytes:
    return gzip.compress(content)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "not gzip": (lambda content: b"P6" + content, "cannot be unpacked"),
    "cut off": (lambda content: content[: len(content) // 2], "cannot be unpacked"),
    "flipped byte": (lambda content: content[:60] + b"\xff\x00\xff" + content[63:], "unpacked"),
    "empty": (lambda content: b"", "is no idx file"),
    "too short for sizes": (lambda content: packed(HEADER), "is no idx file"),
    "integers": (lambda content: packed(bytes([0, 0, 12, 3]) + bytes(12)), "is no idx file"),
    "labels": (lambda content: packed(bytes([0, 0, 8, 1]) + bytes(12)), "is no idx file"),
    "no image": (lambda content: packed(HEADER + bytes(1)), "is empty"),
    "a pixel missing": (lambda content: packed(gzip.decompress(content)[:-1]), "should hold"),
    "a pixel too many": (lambda content: packed(gzip.decompress(content) + b"0"), "should hold"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_damaged_idx_file_is_refused_by_name_with_a_hint(root: Path, damage: str) -> None:
    path = root / "digits" / IMAGES
    change, problem = DAMAGES[damage]
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(ConfigError, match=problem) as caught:
        Data(root).images("mnist", "train")

    assert str(path) in str(caught.value)
    assert caught.value.hint == "fetch the file again"


def test_idx_bytes_come_back_in_their_order(root: Path) -> None:
    content = gzip.decompress((root / "digits" / IMAGES).read_bytes())

    images = read_idx(root / "digits" / IMAGES, axes=3)

    assert images.shape == (340, 8, 8)
    assert images.tobytes() == content[16:]


def test_clothing_lies_below_fashion_and_digits_do_not(root: Path) -> None:
    data = Data(root)

    digits, clothing = data.images("mnist", "test"), data.images("fashion", "test")

    expected = read_idx(root / "fashion-mnist" / "t10k-images-idx3-ubyte.gz", axes=3)
    np.testing.assert_array_equal((clothing.images * 255).round(), expected)
    assert (digits.images != clothing.images).any()
    assert digits.images.max() <= 1


def test_root_may_itself_have_fashion_in_its_name(root: Path) -> None:
    moved = root.rename(root.with_name("fashion-week"))

    assert len(Data(moved).images("mnist", "test").labels) == 60


@pytest.mark.parametrize("below", ["", "raw"])
def test_root_may_itself_be_the_folder_of_clothing(root: Path, below: str) -> None:
    (root / "fashion-mnist" / below).mkdir(exist_ok=True)
    for path in (root / "fashion-mnist").glob("*.gz"):
        path.rename(path.parent / below / path.name)

    for data in (Data(root / "fashion-mnist"), Data(root / "fashion-mnist" / below)):
        assert len(data.images("fashion", "test").labels) == 60
        with pytest.raises(ConfigError, match="holds no MNIST"):
            data.images("mnist", "test")


def test_two_data_sets_that_may_be_meant_are_refused_by_name(root: Path) -> None:
    shutil.copytree(root / "digits", root / "kmnist")
    shutil.copy(root / "har_inertial.npz", root / "old_inertial.npz")

    with pytest.raises(ConfigError, match=r"more than one MNIST .*: digits, kmnist$"):
        Data(root).images("mnist", "train")
    with pytest.raises(ConfigError, match=r"har_inertial.npz, old_inertial.npz$"):
        Data(root).activity("train")


def test_labels_come_from_the_folder_of_their_images(root: Path) -> None:
    expected = Data(root).images("mnist", "train")
    shutil.copytree(root / "fashion-mnist", root / "clothes")  # comes before digits
    (root / "clothes" / IMAGES).unlink()

    found = Data(root).images("mnist", "train")

    np.testing.assert_array_equal(found.labels, expected.labels)


def test_images_without_their_labels_are_refused(root: Path) -> None:
    path = root / "digits" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes((root / "digits" / "train-labels-idx1-ubyte.gz").read_bytes())

    with pytest.raises(ConfigError, match="60 images to test, but 340 labels"):
        Data(root).images("mnist", "test")


@pytest.mark.parametrize("name", ["mnist", "fashion", "activity", "depth", "scans"])
def test_missing_data_are_named_with_the_option_to_pass(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Data(tmp_path).files(name)

    assert "pass " in caught.value.hint
    assert "--" in caught.value.hint


def test_training_windows_fill_0_to_1_in_every_channel(root: Path) -> None:
    data = Data(root)

    train, test = data.activity("train"), data.activity("test")

    assert (train.shape, test.shape) == ((5, 9, 128), (3, 9, 128))
    np.testing.assert_allclose(train.min((0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(train.max((0, 2)), 1, atol=1e-6)


def test_neighbouring_windows_share_their_half(root: Path) -> None:
    train = Data(root).activity("train")

    np.testing.assert_array_equal(train[0, :, 64:], train[1, :, :64])


def test_damaged_npz_is_refused(root: Path) -> None:
    path = root / "har_inertial.npz"
    path.write_bytes(path.read_bytes()[:500])

    with pytest.raises(ConfigError, match="is damaged") as caught:
        Data(root).activity("train")

    assert caught.value.hint == "fetch the file again"


def test_npz_whose_stream_is_damaged_is_refused(root: Path) -> None:
    path = root / "har_inertial.npz"
    with np.load(path) as stored:
        np.savez_compressed(path, **stored)
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"\xff" * 20 + content[80:])

    with pytest.raises(ConfigError, match="is damaged"):
        Data(root).activity("train")


@pytest.mark.parametrize(
    "wrong",
    [
        {"halves": np.zeros((9, 3, 64), np.float16)},
        {"halves": np.zeros((9, 9, 64), "U1")},
        {"index": np.full((8, 2), 9)},
        {"index": np.zeros((8, 3), np.int64)},
        {"is_test": np.zeros(3, bool)},
    ],
)
def test_npz_of_anything_but_windows_is_refused(root: Path, wrong: dict[str, np.ndarray]) -> None:
    path = root / "har_inertial.npz"
    with np.load(path) as stored:
        np.savez(path, **{**stored, **wrong})

    with pytest.raises(ConfigError, match="does not hold windows"):
        Data(root).activity("train")


def test_windows_without_any_to_train_on_are_refused(root: Path) -> None:
    path = root / "har_inertial.npz"
    with np.load(path) as stored:
        np.savez(path, **{**stored, "is_test": np.ones(8, bool)})

    with pytest.raises(ConfigError, match="has no windows to train on"):
        Data(root).activity("train")


@pytest.mark.parametrize(
    "depth", [np.ones((6, 10)), np.ones((2, 6, 10)), np.full((9, 6, 10), "far")]
)
def test_npz_of_anything_but_maps_is_refused(root: Path, depth: np.ndarray) -> None:
    np.savez(root / "frames.npz", depth=depth)

    with pytest.raises(ConfigError, match="does not hold 3 or more depth maps"):
        Data(root).depth()


def test_npz_that_is_no_archive_is_passed_over(root: Path) -> None:
    with (root / "a.npz").open("wb") as file:
        np.save(file, np.ones(3))

    assert Data(root).files("depth") == [root / "frames.npz"]


@pytest.mark.parametrize("name", ["nowhere", "file", None])
def test_folder_that_is_none_is_told_from_one_without_the_data(
    tmp_path: Path, name: str | None
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="needs data" if name is None else "is no folder"):
        Data(tmp_path / name if name else None).images("mnist", "train")


def test_depth_is_in_metres_and_nan_in_holes(root: Path) -> None:
    depth = Data(root).depth()

    assert depth.shape == (3, 6, 10)
    assert np.isnan(depth[:, 2, 3]).all()
    assert np.isfinite(depth).sum() == depth.size - 3
    assert 0.5 <= np.nanmin(depth) <= np.nanmax(depth) < 4.0


def test_parts_hold_every_subject_once(root: Path, scans: Path) -> None:
    data = Data(root, scans)

    parts = [data.coronal(part, size=(16, 12)) for part in ("train", "val", "test")]

    slices = np.concatenate(parts)
    assert [len(part) for part in parts] == [3, 2, 1]
    assert len(np.unique(slices.reshape(6, -1), axis=0)) == 6


def test_slice_is_centred_on_the_brain_and_zero_outside(root: Path, scans: Path) -> None:
    slices = Data(root, scans).coronal("train", size=(16, 12))

    # The brain has 10 rows from superior to inferior and 6 columns.
    inside = np.zeros((16, 12), bool)
    inside[3:13, 3:9] = True
    assert (slices[:, ~inside] == 0).all()
    assert (slices[:, inside] > 0).all()
    assert 0.99 < slices.max() <= 1


def test_scan_without_a_label_map_is_cut_about_the_middle_of_its_grid(
    root: Path, scans: Path
) -> None:
    for path in scans.rglob("*_dseg.nii.gz"):
        path.unlink()

    slices = Data(root, scans).coronal("train", size=(16, 12))

    assert (slices > 0).all()  # the whole slice, with nothing padded


def test_patches_are_half_brain_and_depend_on_the_seed_alone(root: Path, scans: Path) -> None:
    data = Data(root, scans)

    first, again = (data.patches("train", count=7, size=6, seed=3) for _ in range(2))

    assert first.shape == (7, 6, 6)
    assert ((first > 0).mean(axis=(1, 2)) >= 0.5).all()
    np.testing.assert_array_equal(first, again)
    assert (data.patches("train", count=7, size=6, seed=4) != first).any()


def test_scans_are_asked_for_when_they_are_needed(root: Path) -> None:
    with pytest.raises(ConfigError, match="needs scans") as caught:
        Data(root).coronal("train")

    assert "--scans" in caught.value.hint


def test_voxels_that_a_scan_lacks_are_neither_observed_nor_background(
    root: Path, scans: Path
) -> None:
    for path in scans.rglob("*_T1w.nii.gz"):
        image = nib.load(path)
        head = image.get_fdata().astype(np.float32)
        head[3] = np.nan  # through the brain
        head[9] = np.nan  # beside it
        nib.Nifti1Image(head, image.affine).to_filename(path)

    slices = Data(root, scans).coronal("train", size=(16, 12))

    assert np.isnan(slices).sum() == 10 * len(slices)  # one column of brain
    assert np.nanmin(slices[:, 3:13, 3:9]) > 0
