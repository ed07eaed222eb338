"""The whole path, as a user walks it: simulate, inspect, train, impute, evaluate."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner, Result

from mriimpute.cli import app

RIDGE = ("--model", "cross-plane-ridge")  # the default model would take minutes


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "--no-progress"])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def simulated(
    tmp_path_factory: pytest.TempPathFactory, made_up_heads: Callable[[Path, int], None]
) -> Path:
    """Six made-up heads, every third slice acquired at an odd angle."""
    folder = tmp_path_factory.mktemp("path")
    made_up_heads(folder / "full", 6)
    options = ("--keep-every", 3, "--spacing", "source", "--no-register", "--jobs", 1)
    call("simulate", folder / "full", "-o", folder / "sim", *options)
    return folder / "sim"


def subjects(sim: Path, split: str) -> list[str]:
    lines = (sim / "participants.tsv").read_text().splitlines()[1:]
    return [line.split("\t")[0] for line in lines if line.split("\t")[1] == split]


def test_from_full_scans_to_a_table(simulated: Path, tmp_path: Path) -> None:
    scan = simulated / "cohort" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"

    seen = json.loads(call("inspect", scan, "--json").stdout)
    call("train", simulated / "cohort", *RIDGE, "-o", tmp_path / "run")
    call("impute", scan, "--model", tmp_path / "run", "--samples", 2, "-o", tmp_path / "out")
    table = call("evaluate", simulated, "--model", tmp_path / "run", "-o", tmp_path / "report")

    assert seen["factor"] == 3
    before = np.asarray(nib.load(scan).dataobj)
    after = np.asarray(nib.load(tmp_path / "out" / "sub-01_desc-mean_T1w.nii.gz").dataobj)
    assert_array_equal(after[:, :, ::3], before)
    assert np.isfinite(after).all()
    for method in ("linear", "pchip", "cubic", "cross-plane-ridge"):
        assert method in table.stdout
    assert (tmp_path / "report" / "figure.png").stat().st_size > 1000


def test_training_does_not_know_whether_there_is_a_truth(simulated: Path, tmp_path: Path) -> None:
    alone = tmp_path / "sim"
    shutil.copytree(simulated, alone)
    shutil.rmtree(alone / "truth")

    call("train", simulated / "cohort", *RIDGE, "-o", tmp_path / "with")
    call("train", alone / "cohort", *RIDGE, "-o", tmp_path / "without")

    models = [tmp_path / name / "model.safetensors" for name in ("with", "without")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_sparse_slices_are_slices_of_the_truth(simulated: Path) -> None:
    name = Path("sub-02", "anat", "sub-02_T1w.nii.gz")
    sparse, truth = (nib.load(simulated / part / name) for part in ("cohort", "truth"))

    first = np.linalg.inv(truth.affine) @ sparse.affine[:, 3]
    phase = round(first[2])

    assert np.allclose(first[:3], [0, 0, phase], atol=1e-4)
    assert_array_equal(
        np.asarray(sparse.dataobj),
        np.asarray(truth.dataobj)[:, :, phase::3][..., : sparse.shape[2]],
    )
    assert len(subjects(simulated, "train")) == 3
