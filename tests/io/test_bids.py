"""Tests for mriimpute.io.bids."""

import json
from pathlib import Path

import pytest

from mriimpute.errors import ConfigError, VolumeError
from mriimpute.io.bids import (
    Selection,
    enclosing_dataset,
    entities,
    is_dataset,
    read_queries,
    require_description,
)

SCANS = [
    Path(f"ds/sub-{sub}/ses-{ses}/anat/sub-{sub}_ses-{ses}_{rest}.nii.gz")
    for sub in ("01", "02")
    for ses in ("pre", "post")
    for rest in ("T1w", "acq-ax_run-01_T2w")
]


def chosen(selection: Selection) -> set[tuple[str, str, str]]:
    """Subject, session and suffix of the scans that a selection leaves."""
    names = [entities(scan) for scan in selection.of(SCANS)]
    return {(one["sub"], one["ses"], one["suffix"]) for one in names}


def filter_file(folder: Path, content: object) -> Path:
    (folder / "filter.json").write_text(json.dumps(content))
    return folder / "filter.json"


def test_a_name_that_is_not_bids_has_no_entities() -> None:
    assert entities(Path("anat/head.nii.gz")) == {}
    assert entities(Path("anat/sub-01_T1w_copy_2.nii")) == {}


def test_a_selection_of_nothing_in_particular_leaves_all() -> None:
    assert not Selection()
    assert Selection().of(SCANS) == SCANS


@pytest.mark.parametrize("label", ["01", "sub-01"])
def test_labels_are_understood_with_and_without_their_prefix(label: str) -> None:
    got = chosen(Selection(participants=(label,), sessions=("ses-pre",)))

    assert got == {("01", "pre", "T1w"), ("01", "pre", "T2w")}


def test_a_label_of_no_scan_is_an_error_that_lists_those_there() -> None:
    with pytest.raises(VolumeError, match="no scan is of participant 03") as failure:
        Selection(participants=("01", "03")).of(SCANS)

    assert failure.value.hint == "use labels that are there: 01, 02"


def test_queries_are_alternatives_and_their_entities_all_count(tmp_path: Path) -> None:
    wanted = {
        "t1w": {"suffix": "T1w", "session": ["ses-pre"], "acquisition": None},
        "t2w": {"suffix": ["T2w"], "subject": "02", "run": 1, "datatype": "anat"},
    }

    got = chosen(Selection(queries=read_queries(filter_file(tmp_path, wanted))))

    assert got == {
        ("01", "pre", "T1w"),
        ("02", "pre", "T1w"),
        ("02", "pre", "T2w"),
        ("02", "post", "T2w"),
    }


def test_null_means_that_the_entity_is_absent(tmp_path: Path) -> None:
    file = filter_file(tmp_path, {"t1w": {"acquisition": None}, "t2w": {"acquisition": None}})

    assert {suffix for _, _, suffix in chosen(Selection(queries=read_queries(file)))} == {"T1w"}


FLAIR = Path("ds/sub-01/anat/sub-01_FLAIR.nii")
PARTS = [Path(f"ds/sub-01/anat/sub-01_part-{part}_T1w.nii.gz") for part in ("mag", "phase")]


@pytest.mark.parametrize(
    ("wanted", "chosen_names"),
    [
        ({"t1w": {}}, ["sub-01_T1w", "sub-01_ses-pre_T1w", "sub-01_part-mag_T1w"]),
        ({"t1w": {"session": "pre"}}, ["sub-01_ses-pre_T1w"]),
        ({"t1w": {"session": "*"}}, ["sub-01_ses-pre_T1w"]),
        ({"t1w": {"session": ["pre", None], "part": None}}, ["sub-01_T1w", "sub-01_ses-pre_T1w"]),
        ({"t1w": {"part": ["phase"]}}, ["sub-01_part-phase_T1w"]),
        ({"flair": {"extension": [".nii", ".nii.gz"]}}, ["sub-01_FLAIR"]),
        ({"flair": {}, "t1w": {"extension": "nii"}}, ["sub-01_T1w", "sub-01_FLAIR"]),
        ({"t1w": {"session": "pre"}, "bold": {"task": "rest"}}, ["sub-01_ses-pre_T1w"]),
    ],
)
def test_filter_files_mean_what_they_mean_to_fmriprep(
    wanted: object, chosen_names: list[str], tmp_path: Path
) -> None:
    plain = Path("ds/sub-01/anat/sub-01_T1w.nii")
    session = Path("ds/sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz")
    queries = read_queries(filter_file(tmp_path, wanted))

    left = Selection(queries=queries).of([plain, session, *PARTS, FLAIR])

    assert [path.name.partition(".")[0] for path in left] == chosen_names


def test_keys_of_other_modalities_are_ignored_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    queries = read_queries(filter_file(tmp_path, {"bold": {"session": "pre"}, "fmap": {}}))

    assert Selection(queries=queries).of(SCANS) == SCANS
    assert "ignored, not of anatomical scans: bold, fmap" in caplog.text


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    queries = read_queries(filter_file(tmp_path, {"pd": {"suffix": "PDw"}}))

    with pytest.raises(VolumeError, match="none of 8 scans"):
        Selection(queries=queries).of(SCANS)


@pytest.mark.parametrize(
    "content",
    [
        *([], 3, {"t1w": 3}, {"tlw": {}}),
        *({"t1w": {"nonsense": "x"}}, {"t1w": {"suffix": {"a": 1}}}),
    ],
)
def test_a_filter_file_that_asks_for_something_unknown_is_refused(
    content: object, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"filter\.json is no BIDS filter file"):
        read_queries(filter_file(tmp_path, content))


def test_a_filter_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_queries(tmp_path / "gone.json")


def test_a_tree_has_folders_of_subjects_and_a_dataset_a_description(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    scan = tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii"

    assert is_dataset(tmp_path)
    assert not is_dataset(tmp_path / "sub-01")
    assert enclosing_dataset(scan) is None
    with pytest.raises(VolumeError, match="is not a BIDS dataset") as failure:
        require_description(tmp_path)
    assert "--skip-bids-validation" in failure.value.hint

    (tmp_path / "dataset_description.json").write_text('{"Name": "x"}')
    assert enclosing_dataset(scan) == tmp_path
    with pytest.raises(VolumeError, match="has no BIDSVersion"):
        require_description(tmp_path)
