"""Tests for mriimpute.papers.supervised and simulation."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.checkpoint import load
from mriimpute.errors import ConfigError, GeometryError, OutputError, VolumeError
from mriimpute.evaluation.scores import score_method
from mriimpute.evaluation.simulated import find_simulated_scans, read_test_case
from mriimpute.geometry import rotation
from mriimpute.methods.cross_plane.hidden_lines import LineConfig, draw_lines
from mriimpute.methods.registry import load_imputer
from mriimpute.papers import supervised
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Conclusion, Outcome
from mriimpute.papers.run import reproduce
from mriimpute.papers.simulation import Simulation
from mriimpute.seeds import numpy_stream

SHAPE = (14, 15, 17)
EVERY, PHASE = 3, 1
PARTS = {"sub-1": "train", "sub-2": "train", "sub-3": "val"} | {
    f"sub-{n}": "test" for n in range(4, 9)
}
TASKS = {task.key[0]: task for task in supervised.tasks("smoke", 0)}
PLAIN = LineConfig(
    own_gap=1.0, gamma=0.0, contrast=0.0, short=0.0, thick=0.0, smooth=0.0, extracted=0.0, lines=3
)


def affine() -> np.ndarray:
    turned = np.eye(4)
    turned[:3, :3] = rotation((8.0, -5.0, 12.0)) * [1.8, 2.2, 2.0]
    turned[:3, 3] = (-15.0, 3.0, 7.0)
    return turned


def save(path: Path, data: np.ndarray, where: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, where).to_filename(path)


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns intensities and the brain."""
    rng = numpy_stream(seed, "test head")
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    a, b, c = rng.uniform(4, 9, 3)
    data = 400 + 100 * np.sin(a * i + b * k) + 80 * np.cos(c * j - 3 * k * k)
    brain = i**2 + j**2 + k**2 < 0.8
    return np.where(brain, data, 20).astype(np.float32), brain.astype(np.uint8)


def write(sim: Path, name: str, truth: np.ndarray, brain: np.ndarray) -> None:
    sparse = affine()
    sparse[:3, 3] += PHASE * sparse[:3, 2]
    sparse[:3, 2] *= EVERY
    scan = sim / "cohort" / name / "anat" / f"{name}_T1w.nii.gz"
    save(scan, truth[..., PHASE::EVERY], sparse)
    folder = sim / "truth" / name / "anat"
    save(folder / scan.name, truth, affine())
    save(folder / f"{name}_desc-brain_mask.nii.gz", brain, affine())


def simulated(folder: Path) -> Path:
    """Writes what simulate writes; the truth of a val subject is no image."""
    for n, name in enumerate(PARTS):
        write(folder, name, *head(n))
    truth_of(folder, "sub-3").write_bytes(b"opening this is cheating")
    rows = "\n".join(f"{name}\t{part}" for name, part in PARTS.items())
    (folder / "cohort" / "participants.tsv").write_text(f"participant_id\tsplit\n{rows}\n")
    (folder / "participants.tsv").write_text(f"participant_id\tsplit\n{rows}\n")
    return folder


@pytest.fixture
def sim(tmp_path: Path) -> Path:
    return simulated(tmp_path / "sim")


def truth_of(sim: Path, name: str) -> Path:
    return sim / "truth" / name / "anat" / f"{name}_T1w.nii.gz"


def perform(sim: Path, runs: Path, method: str) -> Outcome:
    data = Data(None, sim, runs)
    return supervised.perform(TASKS[method], data, seed=0, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Both methods, performed in `runs` with nothing in their way."""
    sim = simulated(tmp_path_factory.mktemp("sim"))
    return {method: perform(sim, runs, method) for method in ("unsupervised", "supervised")}


def outcomes(**psnr: list[float]) -> dict[tuple[str, ...], Outcome]:
    """Outcomes of six subjects, one scan each; methods that are left out are flat."""
    results = {}
    for task in supervised.tasks("smoke", 0):
        values = psnr.get(task.key[0], [20.0] * 6)
        subjects = [f"sub-{n}" for n in range(len(values))]
        numbers = {"subject": subjects, "psnr_db": values, "ssim": [0.5] * len(values)}
        results[task.key] = Outcome(numbers)
    return results


def test_true_planes_are_the_voxels_of_the_truth(sim: Path) -> None:
    scan = nib.load(sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz").get_fdata()
    truth = nib.load(truth_of(sim, "sub-1")).get_fdata(dtype=np.float32)
    low, high = np.percentile(scan, [0.5, 99.5])

    first, second = Simulation(sim).true_planes()[:2]

    seen = ((truth[..., PHASE : PHASE + 16] - low) / (high - low)).astype(np.float32)
    np.testing.assert_allclose(first.slices, seen.transpose(0, 2, 1), atol=2e-3)
    np.testing.assert_allclose(second.slices, seen.transpose(1, 2, 0), atol=2e-3)
    assert first.gaps == (EVERY,)
    assert first.steps == second.steps == (1, 1)
    assert first.pixel_mm == pytest.approx((2.0, 2.2))
    assert second.pixel_mm == pytest.approx((2.0, 1.8))


def test_lines_of_true_planes_cross_the_slices_at_their_spacing_from_any_start(
    sim: Path, rng: np.random.Generator
) -> None:
    ramp = np.broadcast_to(np.arange(SHAPE[2], dtype=np.float32), SHAPE)
    write(sim, "sub-1", ramp, np.ones(SHAPE, np.uint8))
    planes = [p for p in Simulation(sim).true_planes() if p.name.startswith("sub-1")]
    assert len(planes) == 2

    drawn = [draw_lines(planes, 4, config=PLAIN, generator=rng) for _ in range(10)]

    slope, starts = float(np.diff(planes[0].slices[0, :2, 0])[0]), set()
    for lines in drawn:
        assert lines.gap == EVERY
        assert set(lines.gap_mm.tolist()) == {6.0}
        assert np.ptp(lines.context, axis=2).max() == 0  # a line stays at one place along the ramp
        gain = np.abs(np.diff(lines.context[..., 0], axis=1))
        assert (gain > 2 * slope).all()
        one = np.abs(lines.target[:, 0] - lines.context[:, :-1])
        np.testing.assert_allclose(one, gain[..., None] / EVERY + 0 * one, atol=5e-3)
        starts |= set(np.round(lines.context[:, 0, 0] / slope).astype(int).tolist())
    assert len(starts) > EVERY


def test_scores_are_those_of_evaluate(sim: Path, tmp_path: Path) -> None:
    numbers = perform(sim, tmp_path / "runs", "pchip").numbers

    pchip = load_imputer("pchip", device="cpu")
    rows = [
        score_method(pchip, read_test_case(scan), method="pchip", samples=2, seed=0)[0]
        for scan in find_simulated_scans(sim)
    ]
    assert numbers["subject"] == [row.subject for row in rows]
    assert numbers["psnr_db"] == [row.psnr_db for row in rows]
    assert numbers["ssim"] == [row.ssim for row in rows]


def test_unsupervised_run_has_the_same_bytes_without_the_truth_it_must_not_open(
    sim: Path, tmp_path: Path, runs: Path, whole: dict[str, Outcome]
) -> None:
    for name in ("sub-1", "sub-2", "sub-3"):
        truth_of(sim, name).unlink()

    without = perform(sim, tmp_path, "unsupervised")

    first, second = (folder / "unsupervised" for folder in (runs, tmp_path))
    for file in ("model.safetensors", "checkpoint.safetensors", "config.toml"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert without.numbers == whole["unsupervised"].numbers
    with pytest.raises(VolumeError, match=r"sub-1.* does not exist"):
        perform(sim, tmp_path, "supervised")


@pytest.mark.usefixtures("whole")
def test_both_runs_differ_in_what_they_learn_from_alone(runs: Path) -> None:
    first, second = (runs / name for name in ("unsupervised", "supervised"))

    assert (first / "config.toml").read_bytes() == (second / "config.toml").read_bytes()
    (tensors, one), (others, two) = (load(x / "model.safetensors") for x in (first, second))
    assert {key for key in one if one[key] != two[key]} == {"cohort"}
    assert one["lines"]["gaps"] == [EVERY]
    assert tensors.keys() == others.keys()
    assert any(not tensors[key].equal(others[key]) for key in tensors)


def test_supervised_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(
    sim: Path,
    tmp_path: Path,
    runs: Path,
    whole: dict[str, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = iter([False] * 5 + [True])

    with monkeypatch.context() as patch:
        stop = property(lambda _: next(left, True))
        patch.setattr("mriimpute.training.stop.Stop.wanted", stop)
        with pytest.raises(KeyboardInterrupt):
            perform(sim, tmp_path, "supervised")
    parts = perform(sim, tmp_path, "supervised")

    first, second = (folder / "supervised" for folder in (runs, tmp_path))
    for file in ("model.safetensors", "checkpoint.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert parts.numbers == whole["supervised"].numbers


@pytest.mark.usefixtures("whole")
def test_supervised_run_does_not_go_on_with_other_sparse_scans(
    sim: Path, tmp_path: Path, runs: Path
) -> None:
    shutil.copytree(runs / "supervised", tmp_path / "supervised")
    scan = sim / "cohort" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    image = nib.load(scan)  # truth is normalised as the sparse scan is
    save(scan, image.get_fdata(dtype=np.float32) ** 2, image.affine)

    with pytest.raises(ConfigError, match="was begun with other scans"):
        perform(sim, tmp_path, "supervised")


@pytest.fixture
def supervised_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment of one task."""
    monkeypatch.setattr(supervised, "tasks", lambda budget, seed: [TASKS["supervised"]])
    monkeypatch.setattr(supervised, "conclude", lambda *_: Conclusion([], [], []))


def test_smoke_run_says_what_is_kept(sim: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    reproduce("supervised", Data(None, sim), out, budget="smoke")

    record: dict[str, Any] = json.loads((out / "record.json").read_text())
    table, kept = record["tables"]
    assert [row[0] for row in table["rows"]] == [task["key"][0] for task in record["tasks"]]
    assert all(len(task["numbers"]["psnr_db"]) == 5 for task in record["tasks"])
    assert len(kept["rows"]) == len(record["claims"]) == 1


@pytest.mark.usefixtures("supervised_alone")
def test_run_begins_anew_when_told(sim: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reproduce("supervised", Data(None, sim), out, budget="smoke")
    run = out / "runs" / "supervised" / "model.safetensors"
    before = run.stat().st_mtime_ns

    with pytest.raises(OutputError, match="holds supervised with seed 0"):
        reproduce("supervised", Data(None, sim), out, budget="smoke", seed=1)
    options: Any = {"budget": "smoke", "seed": 1, "overwrite": True}
    reproduce("supervised", Data(None, sim), out, **options)

    assert run.stat().st_mtime_ns > before


@pytest.mark.usefixtures("supervised_alone")
def test_run_stopped_inside_its_first_training_goes_on(
    sim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("mriimpute.training.stop.Stop.wanted", property(lambda _: True))
        with pytest.raises(KeyboardInterrupt):
            reproduce("supervised", Data(None, sim), out, budget="smoke")
    assert (out / "runs" / "supervised" / "checkpoint.safetensors").is_file()

    reproduce("supervised", Data(None, sim), out, budget="smoke")

    assert (out / "record.json").is_file()


def test_share_is_that_of_the_mean_gains_over_the_best_interpolator() -> None:
    results = outcomes(
        linear=[21.0] * 6,
        unsupervised=[21.9, 22.8, 22.8, 21.9, 22.8, 22.8],
        supervised=[22.0, 23.0, 23.0, 22.0, 23.0, 23.0],
    )

    conclusion = supervised.conclude(results, "smoke")

    table, kept = conclusion.tables
    assert "gains over linear" in table.title
    assert {row[0]: row[2] for row in table.rows}["supervised"] == pytest.approx(10 / 6)
    assert kept.rows[0] == pytest.approx([0.9, 0.9, 0.9])
    assert "over 6 subjects" in conclusion.claims[0].detail


@pytest.mark.parametrize(
    ("ours", "holds"), [([21.95] * 6, True), ([22.2] * 3 + [21.7] * 3, False), ([21.7] * 6, False)]
)
def test_claim_holds_where_the_whole_interval_does(ours: list[float], holds: bool) -> None:
    results = outcomes(unsupervised=ours, supervised=[22.0] * 6)

    (claim,) = supervised.conclude(results, "smoke").claims

    assert claim.holds == holds


def test_nothing_is_kept_of_a_supervised_loss() -> None:
    results = outcomes(unsupervised=[21.0] * 6, supervised=[19.0] * 6)

    (claim,) = supervised.conclude(results, "smoke").claims

    assert not claim.holds
    assert "no share" in claim.detail


def test_subject_of_two_scans_counts_once() -> None:
    results = outcomes(
        **{key: [20.0, 20.0] for key in supervised.INTERPOLATORS},
        unsupervised=[22.0, 23.0],
        supervised=[23.0, 24.0],
    )
    for outcome in results.values():
        outcome.numbers["subject"] = ["sub-0", "sub-0"]

    conclusion = supervised.conclude(results, "smoke")

    assert "1 test subjects" in conclusion.tables[0].title
    assert conclusion.tables[1].rows[0][0] == pytest.approx(2.5 / 3.5)
    assert "no interval" in conclusion.claims[0].detail


def test_files_hold_no_truth_of_those_who_only_watch(sim: Path) -> None:
    files = Data(None, sim).files("simulation")

    assert truth_of(sim, "sub-1") in files
    assert truth_of(sim, "sub-4") in files
    assert truth_of(sim, "sub-3") not in files


def test_files_hold_what_says_which_voxels_were_acquired(sim: Path) -> None:
    folder = sim / "cohort" / "sub-4" / "anat"
    observed = folder / "sub-4_desc-observed_mask.nii.gz"
    observed.touch()

    assert observed in Data(None, sim).files("simulation")


def test_truth_on_another_grid_is_refused(sim: Path) -> None:
    moved = affine()
    moved[0, 3] += 0.5
    save(truth_of(sim, "sub-1"), head(0)[0], moved)

    with pytest.raises(GeometryError, match="do not lie on one grid"):
        Simulation(sim).true_planes()


def test_truth_with_other_gaps_than_networks_learn_is_refused(sim: Path) -> None:
    for path in (*sim.glob("*/sub-1/anat/*T1w.nii.gz"),):
        image = nib.load(path)
        flat = image.affine @ np.diag([0.5, 0.5, 1.0, 1.0])  # pixels of 1 mm, slices of 2 mm
        save(path, image.get_fdata(dtype=np.float32), flat)

    with pytest.raises(GeometryError, match="a voxel every 2 mm across slices"):
        Simulation(sim).true_planes()


def test_folder_that_is_no_simulation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a simulation"):
        Data(None, tmp_path).files("simulation")


def test_cohort_without_test_subjects_is_refused(sim: Path) -> None:
    table = sim / "cohort" / "participants.tsv"
    table.write_text(table.read_text().replace("test", "val"))

    with pytest.raises(ConfigError, match="no subject whose split is 'test'"):
        list(Simulation(sim).test_cases())
