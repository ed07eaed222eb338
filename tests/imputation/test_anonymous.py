"""Tests for mriimpute.imputation.anonymous."""

from pathlib import Path

import pytest

from mriimpute.imputation.anonymous import without_folders

JANE = Path("exams/Doe, Jane: 1970")


@pytest.mark.parametrize("folder", [JANE, JANE.absolute()])
@pytest.mark.parametrize("start", ["", "cannot read '", "file=", "[", "a:", '("'])
def test_folders_of_known_files_go_however_they_are_named(folder: Path, start: str) -> None:
    told = f"{start}{folder}/t1.nii.gz is damaged, {folder} too"

    assert without_folders(told, [JANE / "t1.nii.gz"]) == (
        f"{start}t1.nii.gz is damaged, the folder too"
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("/data/exams/Jane Doe/t1.nii.gz is damaged", "t1.nii.gz is damaged"),
        ("'/data/Jane Doe/a b.nii' and ../J D/c.nii", "'a b.nii' and c.nii"),
        ("/data/a.nii lies elsewhere than /mnt/JD/b.nii", "a.nii lies elsewhere than b.nii"),
        ("/data/a.nii: no header, see /mnt/JD/b.nii", "a.nii: no header, see b.nii"),
        ("file=/home/jane/x.nii", "file=x.nii"),
        ("[/home/jane/x.nii]", "[x.nii]"),
        ("a:/mnt/DOE/x.nii", "a:x.nii"),
        ("~/DOE/x.nii", "x.nii"),
        ("cannot read 'exams/JANE/t1.nii.gz'", "cannot read 't1.nii.gz'"),
        ("exams/JANE/t1.nii.gz does not exist", "t1.nii.gz does not exist"),
        ("--with=exams/JANE/t1.nii.gz", "--with=t1.nii.gz"),
    ],
)
def test_folders_of_other_files_go(told: str, expected: str) -> None:
    assert without_folders(told, []) == expected


@pytest.mark.parametrize(
    "told", ["3 mm/s of 1.5/2.0 mm, n/a", "see https://github.com/x/y.md", "pass -o DIR / FILE"]
)
def test_what_is_no_path_stays(told: str) -> None:
    assert without_folders(told, [Path("a.nii")]) == told
