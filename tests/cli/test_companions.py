"""Tests for `mriimpute impute --with` and `--together`."""

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage
from typer.testing import CliRunner, Result

import mriimpute
from mriimpute.cli import app
from mriimpute.imputation.jobs import plan_jobs
from mriimpute.methods.cross_plane import innovation, placing, transfer
from mriimpute.methods.cross_plane.innovation import InnovationConfig

SIZE, STEP = 40, 4


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        short = InnovationConfig(hidden=16, steps=120, batch=512)
        patch.setattr(innovation, "DEFAULT", short)
        for module in (transfer, placing):
            patch.setattr(module, "QUICK", short)
        yield


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """Two tissues in an egg, too rough to be interpolated."""
    rng = np.random.default_rng(5)
    field = ndimage.gaussian_filter(rng.normal(size=(SIZE,) * 3), 1.3)
    places = np.indices(field.shape) - (SIZE - 1) / 2
    egg = np.square(places / [[[[0.48 * SIZE]]]]).sum(axis=0) < 1
    return np.where(egg, np.where(field > 0, 2, 1), 0)


def contrast(head: np.ndarray, first: float, second: float) -> np.ndarray:
    """Intensities, with noise in the head: three values alone are labels."""
    noise = np.random.default_rng(int(first)).normal(0, 0.01 * first, head.shape)
    return np.where(head > 0, np.choose(head, [0, first, second]) + noise, 0).astype(np.float32)


def save(path: Path, data: np.ndarray, *, step: int = 1) -> Path:
    affine = np.diag([1.0, 1.0, step, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data[:, :, ::step].astype(np.float32), affine).to_filename(path)
    return path


def write_exam(head: np.ndarray, folder: Path) -> Path:
    """Writes a sparse FLAIR, and a whole T1w that nothing is missing of."""
    save(folder / "sub-1_FLAIR.nii.gz", contrast(head, 300, 500), step=STEP)
    save(folder / "sub-1_T1w.nii.gz", contrast(head, 80, 60))
    return folder


@pytest.fixture
def exam(head: np.ndarray, tmp_path: Path) -> Path:
    return write_exam(head, tmp_path / "exam")


@pytest.fixture(scope="module")
def helped(head: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exam, and `out` beside it: the FLAIR imputed with its companion."""
    exam = write_exam(head, tmp_path_factory.mktemp("helped") / "exam")
    line = (exam / "sub-1_FLAIR.nii.gz", "--with", exam / "sub-1_T1w.nii.gz")
    result = call(*line, "-o", exam.parent / "out")
    assert result.exit_code == 0, result.stderr
    return exam


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["impute", "--device=cpu", *map(str, words)])


def record(out: Path) -> dict[str, dict[str, object]]:
    return json.loads((out / "sub-1_desc-mean_FLAIR.json").read_text())


def test_a_companion_helps_and_is_recorded(helped: Path, head: np.ndarray, tmp_path: Path) -> None:
    flair, t1 = helped / "sub-1_FLAIR.nii.gz", helped / "sub-1_T1w.nii.gz"
    folders = tmp_path / "alone", helped.parent / "out"

    alone = call(flair, "-o", folders[0])

    assert alone.exit_code == 0, alone.stderr
    truth = contrast(head, 300, 500)[:, :, : SIZE - STEP + 1]
    means = [nib.load(out / "sub-1_desc-mean_FLAIR.nii.gz").get_fdata() for out in folders]
    before, after = (np.square(mean - truth)[truth > 0].mean() for mean in means)
    assert after < 0.6 * before
    assert_array_equal(means[1][:, :, ::STEP], truth[:, :, ::STEP])
    written = record(folders[1])
    (quality,) = written["Quality"]["companions"]
    assert quality["name"] == "sub-1_T1w.nii.gz"
    assert quality["moved_mm"] < 1
    assert quality["gain_db"] > 1
    (asked,) = written["settings"]["companions"]
    assert asked["sha256"] == quality["sha256"]
    assert "companions" not in record(folders[0])["settings"]

    again = call(flair, "--with", t1, "-o", folders[1])
    assert "was made before" in again.stderr
    without = call(flair, "-o", folders[1])
    assert without.exit_code == 1  # it is another result


def test_python_does_the_same(helped: Path) -> None:
    flair, t1 = helped / "sub-1_FLAIR.nii.gz", helped / "sub-1_T1w.nii.gz"

    imputed = mriimpute.impute(flair, companions=[t1])

    written = nib.load(helped.parent / "out" / "sub-1_desc-mean_FLAIR.nii.gz")
    assert imputed.mean.to_bytes() == written.to_bytes()


def test_together_takes_the_other_scans_of_a_session(tmp_path: Path) -> None:
    names = ("sub-1_ses-1_T1w", "sub-1_ses-1_FLAIR", "sub-1_ses-2_T1w", "sub-2_ses-1_T1w")
    for name in names:
        save(tmp_path / "in" / f"{name}.nii.gz", np.ones((4, 4, 9)), step=STEP)

    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", together=True)

    found = {job.scan.name: [path.name for path in job.companions] for job in jobs}
    assert found == {
        "sub-1_ses-1_T1w.nii.gz": ["sub-1_ses-1_FLAIR.nii.gz"],
        "sub-1_ses-1_FLAIR.nii.gz": ["sub-1_ses-1_T1w.nii.gz"],
        "sub-1_ses-2_T1w.nii.gz": [],
        "sub-2_ses-1_T1w.nii.gz": [],
    }


def test_a_file_that_is_spelt_in_another_way_is_not_its_own_companion(exam: Path) -> None:
    flair, t1 = exam / "sub-1_FLAIR.nii.gz", exam / "sub-1_T1w.nii.gz"

    jobs = plan_jobs([flair, t1], exam.parent / "out", companions=[exam / "../exam" / t1.name])

    assert [len(job.companions) for job in jobs] == [1, 0]


def test_methods_that_use_none_say_so_before_any_work(exam: Path, tmp_path: Path) -> None:
    line = (exam / "sub-1_FLAIR.nii.gz", "--with", exam / "sub-1_T1w.nii.gz", "--model", "pchip")

    result = call(*line, "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert "companion scans do not help pchip" in result.stderr
    assert "--model cross-plane" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("broken", "problem"),
    [("gone", "does not exist"), ("text", "bad.nii.gz"), ("labels", "holds no intensities")],
)
def test_a_companion_that_cannot_be_used_is_an_error(
    broken: str, problem: str, exam: Path, tmp_path: Path
) -> None:
    bad = exam / "bad.nii.gz"
    if broken == "text":
        bad.write_bytes(b"no image")
    elif broken == "labels":
        bad = save(exam / "sub-1_dseg.nii.gz", np.ones((8, 8, 8)))

    result = call(exam / "sub-1_FLAIR.nii.gz", "--with", bad, "-q", "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert problem in result.stderr
    assert len(result.stderr.strip().splitlines()) == 2
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_together_what_cannot_be_used_is_ignored_and_said(exam: Path, tmp_path: Path) -> None:
    (exam / "sub-1_T2w.nii.gz").write_bytes(b"no image")
    (exam / "sub-1_T1w.nii.gz").unlink()

    result = call(exam, "--together", "-o", tmp_path / "out")

    assert result.exit_code == 1  # the T2w itself cannot be imputed
    (ignored,) = record(tmp_path / "out")["Quality"]["companions_ignored"]
    assert ignored["name"] == "sub-1_T2w.nii.gz"
    assert str(exam) not in ignored["reason"]


def test_results_never_replace_a_companion(exam: Path) -> None:
    flair, t1 = exam / "sub-1_FLAIR.nii.gz", exam / "sub-1_T1w.nii.gz"

    result = call(flair, "--with", t1, "-o", t1)

    assert result.exit_code == 1
    assert "would be replaced" in result.stderr
