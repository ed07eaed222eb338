"""Tests for mriimpute.papers.brains."""

from pathlib import Path

import pytest

from mriimpute.errors import ConfigError
from mriimpute.papers.brains import brain_beside


def beside(folder: Path, *names: str, scan: str = "sub-1_T1w") -> str | None:
    """Returns the name of the image that is taken for the brain, of these."""
    for name in (scan, *names):
        (folder / f"{name}.nii.gz").touch()
    found = brain_beside(folder / f"{scan}.nii.gz")
    return found.name.removesuffix(".nii.gz") if found else None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sub-1_desc-lesion_mask", "sub-1_label-brain_mask"], "sub-1_label-brain_mask"),
        (["sub-1_acq-low_desc-brain_mask", "sub-1_dseg"], "sub-1_dseg"),
        (["sub-1_desc-brain_mask", "sub-1_desc-a_dseg"], "sub-1_desc-brain_mask"),
        (["sub-1_desc-a_dseg", "sub-1_dseg", "sub-1_desc-b_mask"], "sub-1_dseg"),
        (["sub-1_T2w_brain_mask", "sub-1_T1w_brain_mask"], "sub-1_T1w_brain_mask"),
        (["sub-1_run-2_T1w", "sub-1_run-2_dseg"], None),
        (["sub-1_desc-observed_mask", "sub-1_desc-LesionT1_dseg", "sub-10_dseg"], None),
    ],
)
def test_brain_is_of_this_scan_and_no_lesion(
    tmp_path: Path, names: list[str], expected: str | None
) -> None:
    assert beside(tmp_path, *names) == expected


def test_several_brains_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"each of sub-1_desc-a_dseg\S*, sub-1_desc-b_dseg"):
        beside(tmp_path, "sub-1_desc-a_dseg", "sub-1_desc-b_dseg")


def test_scan_without_entities_has_no_brain_beside_it(tmp_path: Path) -> None:
    assert beside(tmp_path, "head_mask", scan="head") is None
