"""Tests for mriimpute.cohort.split."""

from pathlib import Path

import pytest

from mriimpute.cohort import observed_beside
from mriimpute.cohort.split import cohort
from mriimpute.errors import VolumeError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def tree(root: Path, subjects: str = "abc") -> list[Path]:
    return [touch(root / f"sub-{s}" / "anat" / f"sub-{s}_T1w.nii.gz") for s in subjects]


def test_without_a_table_every_scan_is_fitted_on(tmp_path: Path) -> None:
    scans = tree(tmp_path)

    chosen = cohort(tmp_path)

    assert chosen.train == tuple(scans)
    assert chosen.val == ()


@pytest.mark.parametrize("prefix", ["sub-", ""])
def test_table_splits_by_subject_and_test_is_never_listed(tmp_path: Path, prefix: str) -> None:
    a, b, _ = tree(tmp_path)
    again = touch(tmp_path / "sub-a" / "anat" / "sub-a_run-2_T1w.nii.gz")
    rows = [
        f"{prefix}{s}\t{split}" for s, split in zip("abc", ("train", "val", "test"), strict=True)
    ]
    (tmp_path / "participants.tsv").write_text(
        "\n".join(["participant_id\tsplit", *rows]) + "\n", encoding="utf-8"
    )

    chosen = cohort(tmp_path)

    assert set(chosen.train) == {a, again}
    assert chosen.val == (b,)


@pytest.mark.parametrize(
    "header", ["participant_id\tSplit", "participant_id\tsplit ", " Participant_ID\tSPLIT"]
)
def test_case_and_blanks_in_the_header_do_not_matter(tmp_path: Path, header: str) -> None:
    a, b, _ = tree(tmp_path)
    rows = f"{header}\nsub-a\ttrain\nsub-b\tval\nsub-c\ttest\n"
    (tmp_path / "participants.tsv").write_text(rows)

    chosen = cohort(tmp_path)

    assert (chosen.train, chosen.val) == ((a,), (b,))


@pytest.mark.parametrize("header", ["participant_id,split", "participant_id; Split", "id split"])
def test_table_that_is_not_separated_by_tabs_is_refused(tmp_path: Path, header: str) -> None:
    tree(tmp_path, "a")
    (tmp_path / "participants.tsv").write_text(f"{header}\nsub-a,test\n")

    with pytest.raises(VolumeError, match="has a single column") as failure:
        cohort(tmp_path)

    assert failure.value.hint == "separate its columns by tabs"


@pytest.mark.parametrize("table", ["participant_id\nsub-a\n", "participant_id\tage\nsub-a\t7\n"])
def test_table_without_a_split_says_nothing(tmp_path: Path, table: str) -> None:
    scans = tree(tmp_path)
    (tmp_path / "participants.tsv").write_text(table)

    assert cohort(tmp_path).train == tuple(scans)


def test_simulated_folder_stands_for_its_cohort_alone(tmp_path: Path) -> None:
    scans = tree(tmp_path / "cohort")
    tree(tmp_path / "truth")

    assert cohort(tmp_path).train == tuple(scans)


def test_subject_that_is_not_in_the_table_is_left_out_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, *_ = tree(tmp_path)
    (tmp_path / "participants.tsv").write_text("participant_id\tsplit\nsub-a\ttrain\n")

    assert cohort(tmp_path).train == (a,)
    assert "sub-b, sub-c" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("sub-a\ttraining\n", "got 'training'"),
        ("sub-a\ttrain\nsub-a\ttest\n", "sub-a is in train and in test"),
        ("sub-a\ttest\n", "no scan of .* into the train split"),
        ("", "names no subject"),
    ],
)
def test_table_that_contradicts_itself_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    tree(tmp_path, "a")
    (tmp_path / "participants.tsv").write_text(f"participant_id\tsplit\n{rows}")

    with pytest.raises(VolumeError, match=message):
        cohort(tmp_path)


def test_split_of_subjects_without_names_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "a")
    (tmp_path / "participants.tsv").write_text("subject\tsplit\nsub-a\ttest\n")

    with pytest.raises(VolumeError, match="none that is called participant_id"):
        cohort(tmp_path)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("sub-a_T1w.nii.gz", "sub-a_desc-observed_mask.nii.gz"),
        ("head.nii", "head_desc-observed.nii"),
        ("head.NII", "head_desc-observed.NII"),
        ("head.NII", "head_desc-observed.nii"),
    ],
)
def test_observed_image_beside_a_scan_belongs_to_it_and_is_no_scan(
    tmp_path: Path, name: str, image: str
) -> None:
    scan, mark = touch(tmp_path / name), touch(tmp_path / image)

    assert cohort(tmp_path).train == (scan,)
    assert observed_beside(scan) == mark
