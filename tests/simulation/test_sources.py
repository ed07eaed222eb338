"""Tests for mriimpute.simulation.sources and the search for label maps."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.errors import VolumeError
from mriimpute.simulation.brain import find_labels, foreground
from mriimpute.simulation.sources import find_sources, split


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(count: int) -> list[str]:
    return [f"sub-{n}" for n in range(count)]


def test_ninety_subjects_are_split_as_in_the_paper() -> None:
    parts = Counter(split(names(90), seed=0).values())

    assert parts == {"train": 45, "val": 27, "test": 18}


@given(count=st.integers(1, 60), seed=st.integers(0, 9))
def test_every_subject_is_in_one_part_and_train_is_never_empty(count: int, seed: int) -> None:
    parts = split(names(count), seed=seed)

    assert sorted(parts) == sorted(names(count))
    assert set(parts.values()) <= {"train", "val", "test"}
    assert "train" in parts.values()
    assert ("test" in parts.values()) == (count > 1)
    assert ("val" in parts.values()) == (count > 2)


def test_two_scans_of_a_subject_are_in_one_part() -> None:
    assert split(["sub-1", "sub-2", "sub-1"], seed=0).keys() == {"sub-1", "sub-2"}


def test_another_seed_splits_otherwise() -> None:
    assert split(names(20), seed=0) != split(names(20), seed=1)


def test_a_file_without_a_bids_name_gets_one(tmp_path: Path) -> None:
    touch(tmp_path, "p12.v2-head.nii.gz", "sub-3_T2w.nii.gz")

    assert [scan.name for scan in find_sources(tmp_path)] == ["sub-p12v2head_T1w", "sub-3_T2w"]


def test_sessions_and_contrasts_of_a_subject_have_brain_masks_of_their_own(tmp_path: Path) -> None:
    for session in ("1", "2"):
        for suffix in ("T1w", "FLAIR"):
            touch(tmp_path, f"sub-9/ses-{session}/anat/sub-9_ses-{session}_{suffix}.nii.gz")

    scans = find_sources(tmp_path)

    assert {scan.subject for scan in scans} == {"sub-9"}
    assert len({scan.entities for scan in scans}) == 4
    assert scans[0].name == "sub-9_ses-1_acq-FLAIR_FLAIR"


def test_names_that_would_collide_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a-b.nii", "ab.nii")

    with pytest.raises(VolumeError, match=r"a-b\.nii.*ab\.nii would all become sub-ab_T1w"):
        find_sources(tmp_path)


def test_label_maps_are_no_sources(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "a_dseg.nii", "a_mask.nii")

    (scan,) = find_sources(tmp_path)

    assert [path.name for path in scan.labels] == ["a_mask.nii", "a_dseg.nii"]
    assert scan.label_ending(scan.labels[1]) == "_dseg"


def test_a_folder_of_label_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="holds no scan"):
        find_sources(touch(tmp_path, "a_dseg.nii"))


def test_only_the_brain_of_this_scan_is_taken_for_its_brain(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-1_T1w.nii.gz",
        "sub-1_desc-tissue_dseg.nii.gz",
        "sub-1_desc-brain_mask.nii.gz",
        "sub-1_label-lesion_mask.nii.gz",
        "sub-1_desc-tumour_mask.nii.gz",
        "sub-10_desc-brain_mask.nii.gz",
    )

    found = find_labels(tmp_path / "sub-1_T1w.nii.gz")

    assert [path.name for path in found] == [
        "sub-1_desc-brain_mask.nii.gz",
        "sub-1_desc-tissue_dseg.nii.gz",
    ]


def test_foreground_is_the_largest_object_without_holes(rng: np.random.Generator) -> None:
    head = np.zeros((16, 16, 16), bool)
    head[3:12, 3:12, 3:12] = True
    data = rng.uniform(0, 5, head.shape).astype(np.float32)
    data[head] += 100
    data[6:8, 6:8, 6:8] = 0
    data[14, 14, 14] = 100

    np.testing.assert_array_equal(foreground(data), head)


def test_a_background_that_edges_overshoot_is_still_the_background(
    rng: np.random.Generator,
) -> None:
    brain = np.zeros((16, 16, 16), bool)
    brain[4:12, 4:12, 4:12] = True
    data = np.where(brain, rng.uniform(1, 100, brain.shape), 0).astype(np.float32)
    data[3, 4:12, 4:12] = -20  # beside the brain, as a resampled edge is

    np.testing.assert_array_equal(foreground(data), brain)
