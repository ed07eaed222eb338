"""Tests for mriimpute.evaluation.simulated."""

import dataclasses
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError, GeometryError, VolumeError
from mriimpute.evaluation.simulated import ScoredSplit, find_simulated_scans, read_test_case
from mriimpute.geometry import find_stack
from mriimpute.volume import Volume


def test_the_grid_runs_from_the_first_to_the_last_acquired_slice(sim: Path) -> None:
    (scan,) = find_simulated_scans(sim)

    case = read_test_case(scan)

    assert case.volume.shape == case.truth.shape == (16, 15, 13)
    assert case.stack is not None
    assert case.stack.positions == (0, 3, 6, 9, 12)
    observed = case.volume.observed
    assert (case.volume.data[observed] == case.truth[observed]).all()


def test_only_missing_voxels_of_the_brain_count(sim: Path) -> None:
    (scan,) = find_simulated_scans(sim)

    case = read_test_case(scan)

    assert case.region.any()
    assert not (case.region & case.volume.observed).any()
    assert not (case.region & ~case.brain).any()
    assert (case.region | case.volume.observed | ~case.brain).all()


def test_distances_and_offsets_are_those_to_the_neighbouring_slices(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])

    k = np.nonzero(case.region)[2]

    assert case.distances().tolist() == [1] * len(k)  # every third slice: a neighbour is next
    assert case.offsets() is not None
    assert case.offsets().tolist() == (k % 3).tolist()


def test_distance_grows_to_the_middle_of_a_gap_and_offset_through_it(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    observed = np.zeros(case.volume.shape, bool)
    observed[[0, 6, 10]] = True
    line = np.zeros(case.volume.shape, bool)
    line[1:10, 0, 0] = True
    wider = dataclasses.replace(
        case,
        volume=Volume(case.volume.data, observed, case.volume.affine),
        stack=find_stack(observed),
        region=line & ~observed,
    )

    assert wider.distances().tolist() == [1, 2, 3, 2, 1, 1, 2, 1]
    assert wider.offsets() is not None
    assert wider.offsets().tolist() == [1, 2, 3, 4, 5, 1, 2, 3]


def test_off_a_stack_the_distance_is_that_to_the_nearest_measurement(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0])
    observed = np.zeros(case.volume.shape, bool)
    observed[0, 0, 0] = True
    region = np.zeros(case.volume.shape, bool)
    region[3, 4, 0] = region[0, 0, 2] = True

    scattered = dataclasses.replace(
        case,
        volume=Volume(case.volume.data, observed, case.volume.affine),
        stack=None,
        region=region,
    )

    assert scattered.distances().tolist() == [2, 5]
    assert scattered.offsets() is None


@pytest.mark.parametrize("shift_mm", [0.1, 1.0, -100.0])
def test_scan_on_a_shifted_grid_is_refused(shift_mm: float, tmp_path: Path, write) -> None:  # noqa: ANN001
    write(tmp_path, {"sub-1": "test"}, shift_mm=shift_mm)
    (scan,) = find_simulated_scans(tmp_path)

    with pytest.raises(GeometryError, match="do not lie on one grid"):
        read_test_case(scan)


def test_folder_that_is_no_simulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a simulation"):
        find_simulated_scans(tmp_path)


def test_simulation_without_test_subjects_is_refused(tmp_path: Path, write) -> None:  # noqa: ANN001
    write(tmp_path, {"sub-1": "train"})

    with pytest.raises(ConfigError, match="no subject whose split is 'test'"):
        find_simulated_scans(tmp_path)


@pytest.mark.parametrize(
    ("split", "subjects"),
    [("train", [1, 4]), ("val", [2]), ("test", [3]), ("all", [1, 2, 3, 4])],
)
def test_cases_are_those_of_the_split(
    split: ScoredSplit,
    subjects: list[int],
    tmp_path: Path,
    write,  # noqa: ANN001
) -> None:
    parts = {"sub-4": "train", "sub-2": "val", "sub-3": "test", "sub-1": "train"}
    write(tmp_path, parts)

    scans = find_simulated_scans(tmp_path, split=split)

    assert [scan.subject for scan in scans] == [f"sub-{n}" for n in subjects]


@pytest.mark.parametrize("axis", [0, 1])
def test_scan_of_another_plane_is_examined_along_its_own_axis(sim: Path, axis: int) -> None:
    (scan,) = find_simulated_scans(sim)
    truth = nib.load(scan.truth)
    index = [slice(None)] * 3
    index[axis] = slice(2, None, 4)
    affine = truth.affine.copy()
    affine[:3, 3] += 2 * affine[:3, axis]
    affine[:3, axis] *= 4
    nib.Nifti1Image(truth.get_fdata()[tuple(index)], affine).to_filename(scan.path)

    case = read_test_case(scan)

    assert case.stack is not None
    assert case.stack.axis == axis
    assert case.volume.shape[2] == truth.shape[2]
    observed = case.volume.observed
    assert (case.volume.data[observed] == case.truth[observed]).all()


def test_missing_truth_is_refused(sim: Path) -> None:
    shutil.rmtree(sim / "truth")

    with pytest.raises(VolumeError, match="sub-2 has no truth"):
        find_simulated_scans(sim)


def test_subject_without_prefix_in_the_table_is_found(sim: Path) -> None:
    (sim / "participants.tsv").write_text("participant_id\tsplit\n1\ttrain\n2\ttest\n")

    assert [scan.subject for scan in find_simulated_scans(sim)] == ["sub-2"]


def test_table_that_contradicts_itself_is_refused(sim: Path) -> None:
    (sim / "participants.tsv").write_text("participant_id\tsplit\nsub-2\ttest\nsub-2\ttrain\n")

    with pytest.raises(VolumeError, match="sub-2 is in test and in train"):
        find_simulated_scans(sim)


def test_truth_without_light_is_refused(sim: Path) -> None:
    (scan,) = find_simulated_scans(sim)
    image = nib.load(scan.truth)
    nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine).to_filename(scan.truth)

    with pytest.raises(VolumeError, match="is dark"):
        read_test_case(scan)


def labelled(sim: Path, *, slices: bool = False) -> Path:
    """Writes a label map whose labels count voxels, or slices, along the slice axis, from 1."""
    (scan,) = find_simulated_scans(sim)
    truth = nib.load(scan.truth)
    labels = np.indices(truth.shape)[2] + 1
    if slices:
        labels = labels + 100 * np.indices(truth.shape)[0]
    path = scan.truth.with_name("sub-2_desc-atlas_dseg.nii.gz")
    nib.Nifti1Image(labels.astype(np.int16), truth.affine).to_filename(path)
    return path


def test_labels_are_carried_from_the_nearest_slice(sim: Path) -> None:
    labelled(sim, slices=True)
    case = read_test_case(find_simulated_scans(sim)[0])

    carried = case.carried_labels()

    i, _, k = np.nonzero(case.region)
    nearest = 3 * np.rint(k / 3).astype(int)  # slices lie at 0, 3, 6, ... of this grid
    assert carried is not None
    assert (carried == 100 * i + nearest + 2).all()  # the grid begins at the second voxel


def test_off_a_stack_labels_are_carried_from_the_nearest_measurement(sim: Path) -> None:
    labelled(sim)
    case = read_test_case(find_simulated_scans(sim)[0])
    observed = np.zeros(case.volume.shape, bool)
    observed[0, 0, 1] = observed[0, 0, 9] = True
    region = np.zeros(case.volume.shape, bool)
    region[0, 0, 3] = region[3, 0, 8] = True

    scattered = dataclasses.replace(
        case,
        volume=Volume(case.volume.data, observed, case.volume.affine),
        stack=None,
        region=region,
    )

    carried = scattered.carried_labels()
    assert carried is not None
    assert carried.tolist() == [3, 11]


def test_scan_without_label_map_carries_no_labels(sim: Path) -> None:
    assert read_test_case(find_simulated_scans(sim)[0]).carried_labels() is None


def test_label_map_on_another_grid_is_refused(sim: Path) -> None:
    path = labelled(sim)
    nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_filename(path)

    with pytest.raises(GeometryError, match="different grids"):
        read_test_case(find_simulated_scans(sim)[0])


def test_label_map_of_another_session_is_not_taken(sim: Path) -> None:
    for part in ("cohort", "truth"):
        for path in list((sim / part / "sub-2" / "anat").iterdir()):
            other = path.name.replace("sub-2_", "sub-2_ses-2_")
            shutil.copy(path, path.with_name(other))
    folder = sim / "truth" / "sub-2" / "anat"
    labels = folder / "sub-2_ses-2_desc-atlas_dseg.nii.gz"
    shutil.copy(folder / "sub-2_desc-brain_mask.nii.gz", labels)

    found = {scan.name: scan.labels for scan in find_simulated_scans(sim)}

    assert found == {"sub-2_T1w": None, "sub-2_ses-2_T1w": labels}


def test_a_blank_scan_is_refused_and_so_is_a_truth_without_contrast(sim: Path) -> None:
    (scan,) = find_simulated_scans(sim)
    for path in (scan.truth, scan.path):
        image = nib.load(path)
        blank = np.full(image.shape, 400, np.float32)
        nib.Nifti1Image(blank, image.affine).to_filename(path)

        with pytest.raises(VolumeError, match=f"{path.name} is blank: all that counts"):
            read_test_case(scan)
