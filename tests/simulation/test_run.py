"""Tests for mriimpute.simulation.run: whole cohorts."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest

from mriimpute.errors import ConfigError, OutputError
from mriimpute.geometry import obliquity_deg
from mriimpute.io import read_scan
from mriimpute.simulation import SimulationConfig, run, simulate
from mriimpute.simulation.head import needed_bytes

Heads = Callable[..., Path]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def image(out: Path, part: str, name: str) -> nib.Nifti1Image:
    return nib.load(out / part / name.split("_")[0] / "anat" / f"{name}.nii.gz")


@pytest.mark.usefixtures("quick_processes")
def test_one_and_two_jobs_write_the_same_bytes(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(3)

    simulate(source, tmp_path / "one", small, seed=3, jobs=1)
    simulate(source, tmp_path / "two", small, seed=3, jobs=2)

    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.usefixtures("quick_processes")
def test_too_little_memory_is_told_before_it_is_taken(
    heads: Heads, small: SimulationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = needed_bytes((16, 16, 16), (12, 14, 12), small)
    source, rooms = heads(3), {"enough": 2 * need, "too little": 2 * need - 1}
    problems = {}

    for name, room in rooms.items():
        monkeypatch.setattr(run, "available_bytes", lambda _, room=room: room)
        report = simulate(source, tmp_path / name, small, seed=0, jobs=2)
        problems[name] = [failure.problem for failure in report.failures]

    assert not problems["enough"]
    assert len(problems["too little"]) == 3
    assert all("nii.gz: needs about" in problem for problem in problems["too little"])
    assert not list((tmp_path / "too little").rglob("*.nii.gz"))


MEASURED = """
from pathlib import Path
from mriimpute.bench.timing import resident_bytes
from mriimpute.simulation import SimulationConfig, head
from mriimpute.simulation.sources import find_sources

(scan,) = find_sources(Path(source))
config = SimulationConfig(register=False, box_mm=(96.0, 112.0, 88.0), space=space)
before = resident_bytes()
head.simulate_head(scan, Path(out), config, seed=0)
print(resident_bytes(peak=True) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what was held")
@pytest.mark.parametrize("space", ["native", "template"])
def test_memory_taken_is_below_its_estimate_and_of_its_order(
    space: Literal["native", "template"],
    tmp_path: Path,
    rng: np.random.Generator,
    start_process: Callable[..., BaseProcess],
) -> None:
    shape = (96, 112, 88)
    scan = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(rng.integers(0, 900, shape).astype(np.int16), np.eye(4)), scan)

    process = start_process(
        MEASURED, tmp_path / "said.txt", source=str(scan), out=str(tmp_path / "out"), space=space
    )
    process.join(120)

    taken = int((tmp_path / "said.txt").read_text())
    config = SimulationConfig(register=False, space=space)
    assert taken < needed_bytes(shape, shape, config) < 4 * taken


def test_another_seed_turns_the_heads_otherwise(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(1)

    for seed in (0, 1):
        simulate(source, tmp_path / str(seed), small, seed=seed)

    affines = [image(tmp_path / str(n), "truth", "sub-1_T1w").affine for n in (0, 1)]
    assert not np.allclose(*affines)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_sparse_slices_are_slices_of_the_truth_bit_for_bit(
    heads: Heads, small: SimulationConfig, tmp_path: Path, plane: str
) -> None:
    simulate(heads(1), tmp_path / "sim", replace(small, plane=plane), seed=1)

    record = json.loads((tmp_path / "sim" / "simulation.json").read_text())["scans"]["sub-1_T1w"]
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    sparse, truth = (image(tmp_path / "sim", part, "sub-1_T1w") for part in ("cohort", "truth"))
    index = [slice(None)] * 3
    index[axis] = slice(record["phase"], None, 3)
    np.testing.assert_array_equal(np.asarray(sparse.dataobj), truth.dataobj[tuple(index)])
    assert sparse.header["pixdim"][1 + axis] == pytest.approx(3)
    assert sparse.get_data_dtype() == np.float32


@pytest.mark.parametrize("space", ["native", "template"])
def test_slices_are_averaged_over_their_thickness_and_the_truth_is_not(
    heads: Heads, small: SimulationConfig, tmp_path: Path, space: Literal["native", "template"]
) -> None:
    source, config = heads(1, labels=False), replace(small, space=space)
    name = "sub-1_T1w" if space == "native" else "sub-1_space-template_T1w"

    for thickness_mm in (0.0, 2.0):
        out = tmp_path / f"{thickness_mm:g}"
        simulate(source, out, replace(config, thickness_mm=thickness_mm), seed=1)

    (sharp, truth), (blurred, truth_of_blurred) = (
        [np.asarray(image(tmp_path / n, part, name).dataobj) for part in ("cohort", "truth")]
        for n in ("0", "2")
    )
    np.testing.assert_array_equal(truth_of_blurred, truth)
    np.testing.assert_array_equal(np.isnan(blurred), np.isnan(sharp))
    assert np.nanstd(blurred) < 0.95 * np.nanstd(sharp)


def test_a_scan_of_a_random_plane_is_the_scan_of_that_plane(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(8, labels=False)

    simulate(source, tmp_path / "random", replace(small, plane="random"), seed=0)

    records = json.loads((tmp_path / "random" / "simulation.json").read_text())["scans"]
    planes = {name: record["plane"] for name, record in records.items()}
    assert set(planes.values()) == {"axial", "coronal", "sagittal"}
    for plane in set(planes.values()):
        simulate(source, tmp_path / plane, replace(small, plane=plane), seed=0)
    for name, plane in planes.items():
        scans = [image(tmp_path / sim, "cohort", name) for sim in ("random", plane)]
        np.testing.assert_array_equal(scans[0].affine, scans[1].affine)
        np.testing.assert_array_equal(*(np.asarray(scan.dataobj) for scan in scans))


def test_the_scan_is_an_oblique_nifti_whose_two_forms_agree(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(1), tmp_path / "sim", small, seed=1)

    sparse = image(tmp_path / "sim", "cohort", "sub-1_T1w")
    assert obliquity_deg(sparse.affine) > 1
    assert int(sparse.header["sform_code"]) == int(sparse.header["qform_code"]) == 1
    np.testing.assert_allclose(sparse.get_qform(), sparse.get_sform(), atol=1e-5)
    assert sparse.header.get_xyzt_units()[0] == "mm"


def test_an_unturned_head_that_stays_where_it_is_keeps_its_voxels(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(1)
    config = replace(small, angle_deg=0.0, spacing="source")

    simulate(source, tmp_path / "sim", config, seed=0)

    head = read_scan(source / "sub-1" / "anat" / "sub-1_T1w.nii.gz").volume
    truth = read_scan(tmp_path / "sim" / "truth" / "sub-1" / "anat" / "sub-1_T1w.nii.gz").volume
    corner = np.linalg.inv(head.affine) @ truth.affine[:, 3]
    i, j, k = (int(n) for n in np.rint(corner[:3]))
    np.testing.assert_allclose(corner[:3], [i, j, k], atol=1e-5)
    np.testing.assert_array_equal(truth.data, head.data[i : i + 12, j : j + 14, k : k + 12])


def test_truth_holds_brain_and_label_map_on_its_grid(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(1), tmp_path / "sim", small, seed=0)

    truth = image(tmp_path / "sim", "truth", "sub-1_T1w")
    brain = image(tmp_path / "sim", "truth", "sub-1_desc-brain_mask")
    labels = image(tmp_path / "sim", "truth", "sub-1_desc-halves_dseg")
    np.testing.assert_array_equal(brain.affine, truth.affine)
    np.testing.assert_array_equal(labels.affine, truth.affine)
    assert brain.get_data_dtype() == labels.get_data_dtype() == np.uint8
    assert set(np.unique(labels.dataobj)) == {0, 1, 2}
    np.testing.assert_array_equal(np.asarray(brain.dataobj) > 0, np.asarray(labels.dataobj) > 0)


def test_negative_labels_are_background_and_scaled_ones_the_nearest_number(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(1)
    labels = source / "sub-1" / "anat" / "sub-1_desc-halves_dseg.nii.gz"
    stored = nib.load(labels)
    data = np.choose(np.asarray(stored.dataobj), [-1.0, 0.999, 200]).astype(np.float32)
    nib.save(nib.Nifti1Image(data, stored.affine), labels)

    simulate(source, tmp_path / "sim", small, seed=0)

    written = image(tmp_path / "sim", "truth", "sub-1_desc-halves_dseg")
    brain = image(tmp_path / "sim", "truth", "sub-1_desc-brain_mask")
    assert set(np.unique(written.dataobj)) == {0, 1, 200}
    np.testing.assert_array_equal(np.asarray(brain.dataobj) > 0, np.asarray(written.dataobj) > 0)


def test_motion_is_told_by_no_header(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source, moving = heads(1), replace(small, motion=5.0)
    still = simulate(source, tmp_path / "still", small, seed=0).out
    moved = simulate(source, tmp_path / "moved", moving, seed=0).out

    record = json.loads((moved / "simulation.json").read_text())["scans"]["sub-1_T1w"]
    motion = np.array(record["motion"])
    assert np.linalg.det(motion) == pytest.approx(1.0)
    assert np.abs(motion[:3, 3]).max() > 0.1
    for part, name in (
        ("cohort", "sub-1_T1w"),
        ("truth", "sub-1_T1w"),
        ("truth", "sub-1_desc-brain_mask"),
        ("truth", "sub-1_desc-halves_dseg"),
    ):
        before, after = image(still, part, name), image(moved, part, name)
        np.testing.assert_array_equal(before.dataobj, after.dataobj)
        np.testing.assert_allclose(after.affine, motion @ before.affine, atol=1e-4)
    assert "motion" not in json.loads((still / "simulation.json").read_text())["settings"]


def test_without_a_label_map_the_foreground_is_the_brain(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(1, labels=False), tmp_path / "sim", small, seed=0)

    brain = np.asarray(image(tmp_path / "sim", "truth", "sub-1_desc-brain_mask").dataobj)
    truth = np.asarray(image(tmp_path / "sim", "truth", "sub-1_T1w").dataobj)
    assert 0.2 < brain.mean() < 0.9
    assert truth[brain > 0].mean() > 5 * truth[brain == 0].mean()


def test_ringing_of_the_spline_in_the_air_is_no_brain(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    config = replace(small, box_mm=(20.0, 20.0, 20.0))

    simulate(heads(1, labels=False), tmp_path / "sim", config, seed=0)

    brain = np.asarray(image(tmp_path / "sim", "truth", "sub-1_desc-brain_mask").dataobj)
    ball = 4 / 3 * np.pi * 6**3
    assert brain.sum() == pytest.approx(ball, rel=0.05)


def test_the_cohort_tells_nothing_but_the_sparse_scans_and_the_split(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(2), tmp_path / "sim", small, seed=0)

    assert set(content(tmp_path / "sim" / "cohort")) == {
        "dataset_description.json",
        "participants.tsv",
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
    }
    table = (tmp_path / "sim" / "participants.tsv").read_text()
    rows = list(csv.DictReader(table.splitlines(), delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-1", "sub-2"]
    assert {row["split"] for row in rows} == {"train", "test"}


def test_template_form_has_the_truth_where_observed_and_nan_elsewhere(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(1), tmp_path / "sim", replace(small, space="template"), seed=2)

    name = "sub-1_space-template"
    sparse = image(tmp_path / "sim", "cohort", f"{name}_T1w")
    truth = image(tmp_path / "sim", "truth", f"{name}_T1w")
    mask = image(tmp_path / "sim", "cohort", f"{name}_desc-observed_mask")
    observed = np.asarray(mask.dataobj) > 0
    np.testing.assert_array_equal(sparse.affine, truth.affine)
    assert obliquity_deg(truth.affine) == pytest.approx(0, abs=1e-3)
    np.testing.assert_array_equal(np.isfinite(sparse.dataobj), observed)
    np.testing.assert_array_equal(sparse.get_fdata()[observed], truth.get_fdata()[observed])
    assert observed.mean() == pytest.approx(1 / 3, abs=0.06)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(3)
    simulate(source, tmp_path / "whole", small, seed=0)
    simulate(source, tmp_path / "again", small, seed=0)
    (tmp_path / "again" / "truth" / "sub-2" / "anat" / "sub-2_T1w.json").unlink()
    (tmp_path / "again" / "cohort" / "sub-2" / "anat" / "sub-2_T1w.nii.gz").unlink()

    report = simulate(source, tmp_path / "again", small, seed=0)

    assert report.written == ("sub-2_T1w",)
    assert report.kept == ("sub-1_T1w", "sub-3_T1w")
    assert content(tmp_path / "again") == content(tmp_path / "whole")


@pytest.mark.parametrize("change", ["repaired", "added", "removed"])
def test_a_scan_whose_label_map_changed_is_simulated_again(
    heads: Heads, small: SimulationConfig, tmp_path: Path, change: str
) -> None:
    source = heads(1)
    labels = source / "sub-1" / "anat" / "sub-1_desc-halves_dseg.nii.gz"
    simulate(source, tmp_path / "sim", small, seed=0)
    match change:
        case "repaired":
            data = np.where(np.asarray(nib.load(labels).dataobj) == 1, 3, 0).astype(np.uint8)
            nib.save(nib.Nifti1Image(data, nib.load(labels).affine), labels)
        case "added":
            shutil.copy(labels, labels.with_name("sub-1_dseg.nii.gz"))
        case "removed":
            labels.unlink()

    report = simulate(source, tmp_path / "sim", small, seed=0)

    simulate(source, tmp_path / "new", small, seed=0)
    assert report.written == ("sub-1_T1w",)
    assert content(tmp_path / "sim") == content(tmp_path / "new")


def test_a_scan_of_a_record_without_checksums_of_labels_stays_finished(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source, path = heads(1), tmp_path / "sim" / "truth" / "sub-1" / "anat" / "sub-1_T1w.json"
    simulate(source, tmp_path / "sim", small, seed=0)
    record = json.loads(path.read_text())
    del record["labels_sha256"]
    path.write_text(json.dumps(record))

    report = simulate(source, tmp_path / "sim", small, seed=0)

    assert report.kept == ("sub-1_T1w",)


@pytest.mark.parametrize("change", [{"keep_every": 4}, {"angle_deg": 3.0}])
def test_another_simulation_is_never_replaced_unasked(
    heads: Heads, small: SimulationConfig, tmp_path: Path, change: dict[str, object]
) -> None:
    source = heads(2)
    simulate(source, tmp_path / "sim", small, seed=0)
    before = content(tmp_path / "sim")

    with pytest.raises(OutputError, match="was simulated from other") as caught:
        simulate(source, tmp_path / "sim", replace(small, **change), seed=0)

    assert "--overwrite" in caught.value.hint
    assert content(tmp_path / "sim") == before


def test_overwriting_leaves_nothing_of_the_simulation_before(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(3)
    simulate(source, tmp_path / "sim", small, seed=0)
    shutil.rmtree(source / "sub-3")
    simulate(source, tmp_path / "new", small, seed=1)

    simulate(source, tmp_path / "sim", small, seed=1, overwrite=True)

    assert content(tmp_path / "sim") == content(tmp_path / "new")


def test_a_folder_of_something_else_is_left_alone_even_when_overwriting(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(1)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "cohort").write_text("years of work")

    with pytest.raises(OutputError, match="something else than a simulation"):
        simulate(source, tmp_path / "thesis", small, seed=0, overwrite=True)

    assert content(tmp_path / "thesis") == {"cohort": b"years of work"}


def test_the_source_is_never_inside_of_what_is_replaced(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(1)

    with pytest.raises(OutputError, match="lies in"):
        simulate(source / "sub-1" / "anat", source, small, seed=0, overwrite=True)


def test_one_bad_scan_does_not_stop_the_others_nor_change_their_split(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    source = heads(4)
    simulate(source, tmp_path / "all", small, seed=0)
    (source / "sub-2" / "anat" / "sub-2_T1w.nii.gz").write_bytes(b"not an image")

    report = simulate(source, tmp_path / "sim", small, seed=0)

    assert report.written == ("sub-1_T1w", "sub-3_T1w", "sub-4_T1w")
    (failure,) = report.failures
    assert failure.name == "sub-2_T1w"
    assert "sub-2_T1w.nii.gz" in failure.problem
    rows = (tmp_path / "all" / "participants.tsv").read_text().splitlines()
    expected = [row for row in rows if not row.startswith("sub-2")]
    assert (tmp_path / "sim" / "participants.tsv").read_text().splitlines() == expected
    assert not json.loads((tmp_path / "sim" / "simulation.json").read_text())["complete"]


def test_too_few_slices_for_two_is_an_error_of_the_settings(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="one in 7 of 12 slices leaves fewer than two"):
        replace(small, keep_every=7)

    config = replace(small, keep_every=7, spacing="source")  # known for each scan only
    report = simulate(heads(1), tmp_path / "sim", config, seed=0)

    assert "one in 7 of 12 slices" in report.failures[0].problem


def test_no_path_of_the_source_is_recorded(
    heads: Heads, small: SimulationConfig, tmp_path: Path
) -> None:
    simulate(heads(1), tmp_path / "sim", small, seed=0)

    for path, data in content(tmp_path / "sim").items():
        if path.endswith((".json", ".tsv")):
            assert str(tmp_path).encode() not in data, path


@pytest.mark.parametrize("file", ["simulation.json", "truth/sub-1/anat/sub-1_T1w.json"])
def test_a_damaged_record_is_named_and_overwrite_mends_it(
    heads: Heads, small: SimulationConfig, tmp_path: Path, file: str
) -> None:
    source, out = heads(1), tmp_path / "sim"
    simulate(source, out, small, seed=3)
    before = content(out)
    (out / file).write_text("{")

    with pytest.raises(OutputError, match="is damaged"):
        simulate(source, out, small, seed=3)
    simulate(source, out, small, seed=3, overwrite=True)

    assert content(out) == before


def test_a_simulation_never_goes_into_the_folder_of_its_sources(
    heads: Heads, small: SimulationConfig
) -> None:
    source = heads(1)

    with pytest.raises(OutputError, match="which is input"):
        simulate(source, source / "sim", small, seed=0)

    assert [path.name for path in source.iterdir()] == ["sub-1"]
