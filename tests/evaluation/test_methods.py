"""Tests for mriimpute.evaluation.methods: other programs beside the methods of the package."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mriimpute.errors import ConfigError, ExternalError
from mriimpute.evaluation import evaluate
from mriimpute.evaluation.methods import require_known
from mriimpute.methods.external import External, parse_external

LINEAR = """
import sys, numpy as np, nibabel as nib
image = nib.load(sys.argv[1])
data, affine = image.get_fdata(dtype=np.float32), image.affine.copy()
points = np.arange(3 * data.shape[2] - 2) / 3
before = np.minimum(points.astype(int), data.shape[2] - 2)
share = (points - before).astype(np.float32)
affine[:3, 2] /= 3
fine = (1 - share) * data[..., before] + share * data[..., before + 1]
nib.save(nib.Nifti1Image(fine, affine), sys.argv[2])
"""


def program(folder: Path, text: str) -> str:
    script = folder / "program.py"
    script.write_text(text)
    return shlex.join([sys.executable, str(script), "{in}", "{out}"])


def test_program_that_interpolates_scores_as_interpolation_does(sim: Path, tmp_path: Path) -> None:
    copy = External("copy", program(tmp_path, LINEAR))

    summary = evaluate(sim, tmp_path / "report", methods=["linear"], externals=[copy])

    linear, copied = summary.results
    assert (linear.method, copied.method) == ("linear", "copy")
    for score in ("psnr_db", "ssim", "mae_percent", "crps_percent", "rmse_percent"):
        assert getattr(copied, score) == pytest.approx(getattr(linear, score), rel=1e-5)
    assert copied.draws == 0


def test_finished_row_is_not_computed_again_and_another_command_is_noticed(
    sim: Path, tmp_path: Path
) -> None:
    command = program(tmp_path, LINEAR)
    report = tmp_path / "report"
    first = evaluate(sim, report, methods=[], externals=[External("copy", command)])
    program(tmp_path, "raise SystemExit('not again')")

    again = evaluate(sim, report, methods=[], externals=[External("copy", command)])

    assert again.results[0].psnr_db == first.results[0].psnr_db
    with pytest.raises(Exception, match="was made by another copy"):
        evaluate(sim, report, methods=[], externals=[External("copy", f"{command} --fast")])


def test_program_that_fails_on_one_scan_stops_neither_the_others_nor_itself_on_the_next(
    write: Callable[..., None], tmp_path: Path
) -> None:
    sim, told = tmp_path / "sim", []
    write(sim, dict.fromkeys(("sub-1", "sub-2"), "test"))
    once = f"open({str(tmp_path / 'begun')!r}, 'x')\n"  # fails where the file is there
    choosy = f"try:\n    {once}except OSError:\n    raise SystemExit('too hard')\n"
    external = External("choosy", program(tmp_path, choosy + LINEAR))

    summary = evaluate(
        sim,
        tmp_path / "report",
        methods=["linear"],
        externals=[external],
        on_failure=lambda name, error: told.append((name, str(error))),
    )

    (name, error), *more = told
    assert (name, more) == ("choosy on sub-2_T1w", [])
    assert error == "choosy failed with status 1: too hard"
    assert {(result.scan, result.method) for result in summary.results} == {
        ("sub-1_T1w", "linear"),
        ("sub-1_T1w", "choosy"),
    }
    assert summary.failed == {"choosy": ("sub-2_T1w",)}


def test_program_that_fails_stops_with_what_it_said(sim: Path, tmp_path: Path) -> None:
    broken = External("broken", program(tmp_path, "raise SystemExit('out of luck')"))

    with pytest.raises(ExternalError, match="broken failed with status 1: out of luck"):
        evaluate(sim, tmp_path / "report", methods=["linear"], externals=[broken])


@pytest.mark.parametrize("name", ["linear", "ppca", "cross-plane"])
def test_name_of_another_method_is_taken(name: str) -> None:
    external = parse_external(f"{name}=cp {{in}} {{out}}")

    with pytest.raises(ConfigError, match=f"'{name}' is the name of another method"):
        require_known([], [], [external])


def test_two_programs_cannot_share_a_name() -> None:
    externals = [parse_external("copy=cp {in} {out}")] * 2

    with pytest.raises(ConfigError, match="'copy' is the name of another method"):
        require_known([], [], externals)
