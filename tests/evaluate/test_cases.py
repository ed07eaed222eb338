"""Tests for mriimpute.evaluate.cases."""

import dataclasses
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError, GeometryError, VolumeError
from mriimpute.evaluate.cases import find_cases, read_exam
from mriimpute.geometry import find_stack
from mriimpute.volume import Volume


def test_the_grid_runs_from_the_first_to_the_last_acquired_slice(sim: Path) -> None:
    (case,) = find_cases(sim)

    exam = read_exam(case)

    assert exam.volume.shape == exam.truth.shape == (16, 15, 13)
    assert exam.stack is not None
    assert exam.stack.positions == (0, 3, 6, 9, 12)
    observed = exam.volume.observed
    assert (exam.volume.data[observed] == exam.truth[observed]).all()


def test_only_missing_voxels_of_the_brain_count(sim: Path) -> None:
    (case,) = find_cases(sim)

    exam = read_exam(case)

    assert exam.region.any()
    assert not (exam.region & exam.volume.observed).any()
    assert not (exam.region & ~exam.brain).any()
    assert (exam.region | exam.volume.observed | ~exam.brain).all()


def test_distances_and_offsets_are_those_to_the_neighbouring_slices(sim: Path) -> None:
    exam = read_exam(find_cases(sim)[0])

    k = np.nonzero(exam.region)[2]

    assert exam.distances().tolist() == [1] * len(k)  # every third slice: a neighbour is next
    assert exam.offsets() is not None
    assert exam.offsets().tolist() == (k % 3).tolist()


def test_distance_grows_to_the_middle_of_a_gap_and_offset_through_it(sim: Path) -> None:
    exam = read_exam(find_cases(sim)[0])
    observed = np.zeros(exam.volume.shape, bool)
    observed[[0, 6, 10]] = True
    line = np.zeros(exam.volume.shape, bool)
    line[1:10, 0, 0] = True
    wider = dataclasses.replace(
        exam,
        volume=Volume(exam.volume.data, observed, exam.volume.affine),
        stack=find_stack(observed),
        region=line & ~observed,
    )

    assert wider.distances().tolist() == [1, 2, 3, 2, 1, 1, 2, 1]
    assert wider.offsets() is not None
    assert wider.offsets().tolist() == [1, 2, 3, 4, 5, 1, 2, 3]


def test_off_a_stack_the_distance_is_that_to_the_nearest_measurement(sim: Path) -> None:
    exam = read_exam(find_cases(sim)[0])
    observed = np.zeros(exam.volume.shape, bool)
    observed[0, 0, 0] = True
    region = np.zeros(exam.volume.shape, bool)
    region[3, 4, 0] = region[0, 0, 2] = True

    scattered = dataclasses.replace(
        exam,
        volume=Volume(exam.volume.data, observed, exam.volume.affine),
        stack=None,
        region=region,
    )

    assert scattered.distances().tolist() == [2, 5]
    assert scattered.offsets() is None


@pytest.mark.parametrize("shift_mm", [0.1, 1.0, -100.0])
def test_scan_on_a_shifted_grid_is_refused(shift_mm: float, tmp_path: Path, write) -> None:  # noqa: ANN001
    write(tmp_path, {"sub-1": "test"}, shift_mm=shift_mm)
    (case,) = find_cases(tmp_path)

    with pytest.raises(GeometryError, match="do not lie on one grid"):
        read_exam(case)


def test_folder_that_is_no_simulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a simulation"):
        find_cases(tmp_path)


def test_simulation_without_test_subjects_is_refused(tmp_path: Path, write) -> None:  # noqa: ANN001
    write(tmp_path, {"sub-1": "train"})

    with pytest.raises(ConfigError, match="no subject whose split is 'test'"):
        find_cases(tmp_path)


def test_missing_truth_is_refused(sim: Path) -> None:
    shutil.rmtree(sim / "truth")

    with pytest.raises(VolumeError, match="sub-2 has no truth"):
        find_cases(sim)


def test_subject_without_prefix_in_the_table_is_found(sim: Path) -> None:
    (sim / "participants.tsv").write_text("participant_id\tsplit\n1\ttrain\n2\ttest\n")

    assert [case.subject for case in find_cases(sim)] == ["sub-2"]


def test_table_that_contradicts_itself_is_refused(sim: Path) -> None:
    (sim / "participants.tsv").write_text("participant_id\tsplit\nsub-2\ttest\nsub-2\ttrain\n")

    with pytest.raises(VolumeError, match="sub-2 is in test and in train"):
        find_cases(sim)


def test_truth_without_light_is_refused(sim: Path) -> None:
    (case,) = find_cases(sim)
    image = nib.load(case.truth)
    nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine).to_filename(case.truth)

    with pytest.raises(VolumeError, match="is dark"):
        read_exam(case)
