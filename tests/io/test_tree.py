"""Tests for mriimpute.io.tree."""

from pathlib import Path

import pytest

from mriimpute.errors import VolumeError
from mriimpute.io.tree import find_scans, stem, subject


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_file_stands_for_itself(tmp_path: Path) -> None:
    filled(tmp_path, "a.nii", "b.nii")

    assert find_scans(tmp_path / "a.nii") == [tmp_path / "a.nii"]


def test_a_folder_stands_for_its_images_in_order(tmp_path: Path) -> None:
    filled(tmp_path, "b.nii.gz", "a.mgz", "c.nii", "a.json", "notes.txt", "below/d.nii")

    assert [path.name for path in find_scans(tmp_path)] == ["a.mgz", "b.nii.gz", "c.nii"]


def test_endings_in_capitals_are_those_of_images(tmp_path: Path) -> None:
    filled(tmp_path, "b.NII.GZ", "a.NII", "c.MGZ", "a.TXT")

    scans = find_scans(tmp_path)

    assert [path.name for path in scans] == ["a.NII", "b.NII.GZ", "c.MGZ"]
    assert [stem(path) for path in scans] == ["a", "b", "c"]


def test_half_written_files_are_not_scans(tmp_path: Path) -> None:
    filled(tmp_path, "a.nii", ".123.partial.b.nii")

    assert [path.name for path in find_scans(tmp_path)] == ["a.nii"]


def test_a_bids_tree_stands_for_its_anatomical_scans(tmp_path: Path) -> None:
    filled(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_desc-mean_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii",
        "sub-02/ses-1/func/sub-02_ses-1_task-rest_bold.nii.gz",
        "derivatives/sub-01/anat/sub-01_T1w.nii.gz",
        "stray.nii",
    )

    assert [path.name for path in find_scans(tmp_path)] == [
        "sub-01_T1w.nii.gz",
        "sub-02_ses-1_FLAIR.nii",
    ]


def test_nothing_to_find_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=f"{tmp_path} holds no scan"):
        find_scans(tmp_path)
    with pytest.raises(VolumeError, match="nowhere does not exist"):
        find_scans(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("a.mgz", "a"), ("a.txt", "a"), ("gz.gz", "gz")],
)
def test_stem_takes_the_whole_ending_off(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected


def test_subject_is_the_bids_label_or_the_stem() -> None:
    assert subject(Path("x/sub-7_T1w.nii")) == "sub-7"
    assert subject(Path("x/sub-7.nii")) == "sub-7"
    assert subject(Path("x/head_left.nii")) == "head_left"
