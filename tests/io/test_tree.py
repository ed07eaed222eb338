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


def linked(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target, target_is_directory=True)


def test_links_of_a_bids_tree_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    tree, store = tmp_path / "bids", tmp_path / "store"
    filled(tree, "sub-01/anat/sub-01_T1w.nii.gz")
    filled(
        store,
        "anat/sub-02_T1w.nii.gz",
        "ses-1/anat/sub-03_ses-1_T1w.nii.gz",
        "sub-04/anat/sub-04_T1w.nii.gz",
    )
    linked(tree / "sub-02/anat", store / "anat")
    linked(tree / "sub-03/ses-1", store / "ses-1")
    linked(tree / "sub-04", store / "sub-04")

    scans = find_scans(tree)

    assert [path.relative_to(tree).as_posix() for path in scans] == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz",
        "sub-04/anat/sub-04_T1w.nii.gz",
    ]


def test_links_that_lead_back_or_nowhere_are_named_and_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, "bids/sub-01/anat/sub-01_T1w.nii.gz", "bids/sub-02/anat/sub-02_T1w.nii.gz")
    linked(tmp_path / "bids/sub-01/up", tmp_path)
    linked(tmp_path / "bids/sub-01/other", tmp_path / "bids/sub-02")
    linked(tmp_path / "bids/sub-02/back", tmp_path / "bids/sub-01")
    linked(tmp_path / "bids/sub-02/gone", tmp_path / "nowhere")

    names = {path.name for path in find_scans(tmp_path / "bids")}

    assert names == {"sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"}
    assert "links that lead back up" in caplog.text
    assert "links that lead nowhere: 2: gone (2)" in caplog.text


@pytest.mark.parametrize(
    "suffix", ["T2starw", "UNIT1", "PDT2", "MP2RAGE", "MEGRE", "T1map", "angio"]
)
def test_every_anatomical_suffix_of_bids_is_one(suffix: str, tmp_path: Path) -> None:
    filled(tmp_path, f"sub-01/anat/sub-01_{suffix}.nii.gz")

    assert [path.name for path in find_scans(tmp_path)] == [f"sub-01_{suffix}.nii.gz"]


def test_what_is_left_out_is_named_with_a_count_and_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_part-phase_T2w.nii.gz",
        "sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "sub-01/anat/sub-01_dseg.nii.gz",
        "sub-01/anat/sub-01_t1W.nii.gz",
        "sub-01/anat/sub-01_desc-observedT1w_mask.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01/func/sub-01_task-rest_run-2_bold.nii.gz",
        "stray.nii",
    )
    caplog.set_level("INFO")

    scans = find_scans(tmp_path)

    told = {record.levelname: record.getMessage() for record in caplog.records}
    assert [path.name for path in scans] == ["sub-01_T1w.nii.gz"]
    assert "phase: 1: sub-01_part-phase_T2w.nii.gz" in told["WARNING"]
    assert "labels or a mask: 2: sub-01_dseg.nii.gz, sub-01_label" in told["WARNING"]
    assert "suffixes that BIDS does not know: 1: sub-01_t1W.nii.gz" in told["WARNING"]
    assert "images outside of sub-*: 1: stray.nii" in told["WARNING"]
    assert "other kinds than anatomical: 2: bold (2)" in told["INFO"]
    assert "observed" not in caplog.text


def test_a_folder_says_what_of_it_is_no_image_or_is_not_entered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, "a.nii", "a.json", "b.nrrd", "c.dscalar.nii", "d_seg.nii.gz", "below/e.nii")

    assert [path.name for path in find_scans(tmp_path)] == ["a.nii"]
    assert "other formats: 1: *.nrrd" in caplog.text
    assert "surface (CIFTI or of one hemisphere): 1: c.dscalar.nii" in caplog.text
    assert "labels or a mask: 1: d_seg.nii.gz" in caplog.text
    assert "folders with images, not entered: 1: below" in caplog.text


def test_a_folder_without_a_scan_says_what_it_holds_instead(tmp_path: Path) -> None:
    filled(tmp_path, "a_dseg.nii.gz", "b.mha")

    with pytest.raises(VolumeError, match=r"a mask: 1: a_dseg.*other formats: 1: \*.mha"):
        find_scans(tmp_path)
