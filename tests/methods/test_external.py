"""Tests for mriimpute.methods.external."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mriimpute.errors import ConfigError, ExternalError, GeometryError, VolumeError
from mriimpute.geometry import rotation
from mriimpute.interpolation import interpolated
from mriimpute.methods.external import External, parse_external
from mriimpute.volume import Volume

SHAPE = (8, 7, 10)
IMAGE = """
import numpy as np, nibabel as nib
image = nib.load(sys.argv[1])
data, affine = image.get_fdata(dtype=np.float32), image.affine.copy()
def write(data, affine):
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), sys.argv[2])
def linear(points):
    before = np.minimum(points.astype(int), data.shape[2] - 2)
    share = (points - before).astype(np.float32)
    return (1 - share) * data[..., before] + share * data[..., before + 1]
"""
FINE = IMAGE + "affine[:3, 2] /= 3; fine = linear(np.arange(3 * data.shape[2] - 2) / 3)\n"


@pytest.fixture
def volume(rng: np.random.Generator) -> Volume:
    """An oblique stack of every third slice."""
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * rotation((8.0, -5.0, 12.0))
    affine[:3, 3] = (-15.0, 3.0, 7.0)
    data = rng.uniform(10, 90, SHAPE).astype(np.float32)
    observed = np.zeros(SHAPE, bool)
    observed[..., ::3] = True
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, affine)


def rival(folder: Path, body: str, *, minutes: float = 1.0) -> External:
    """Returns a program in Python as an imputer."""
    script = folder / "rival.py"
    script.write_text("import sys\n" + body)
    command = shlex.join([sys.executable, str(script), "{in}", "{out}"])
    return External("rival", command, minutes=minutes)


def answer(external: External, volume: Volume) -> np.ndarray:
    return external.impute(volume, seed=0, case="case").mean


def test_program_that_interpolates_answers_as_interpolation_does(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    external = rival(tmp_path, FINE + "write(fine, affine)")

    mean = answer(external, volume)

    np.testing.assert_allclose(mean, interpolated(volume, "linear"), rtol=1e-6)
    np.testing.assert_array_equal(mean[volume.observed], volume.data[volume.observed])
    assert "resampled" not in caplog.text


def test_larger_grid_with_flipped_and_permuted_axes_is_cut_voxel_by_voxel(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = """
fine = np.pad(fine, ((1, 0), (0, 2), (3, 1)))
affine[:3, 3] -= affine[:3, :3] @ (1, 0, 3)
affine[:3, 3] += (fine.shape[0] - 1) * affine[:3, 0]
affine[:3, 0] *= -1
write(fine[::-1].transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])
"""
    mean = answer(rival(tmp_path, FINE + body), volume)

    np.testing.assert_allclose(mean, interpolated(volume, "linear"), rtol=1e-6)
    assert "resampled" not in caplog.text


def test_another_grid_is_resampled_and_the_log_says_so(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Linear interpolation of a finer linear interpolation that keeps its knots is the same."""
    body = (
        IMAGE + "affine[:3, 2] /= 6; write(linear(np.arange(6 * data.shape[2] - 5) / 6), affine)"
    )

    mean = answer(rival(tmp_path, body), volume)

    np.testing.assert_allclose(mean, interpolated(volume, "linear"), rtol=1e-4)
    assert "resampled linearly" in caplog.text


@pytest.mark.parametrize("voxels", [0.5, -1.0])
def test_shifted_affine_is_refused(volume: Volume, tmp_path: Path, voxels: float) -> None:
    external = rival(
        tmp_path, FINE + f"affine[:3, 3] += {voxels} * affine[:3, 2]\nwrite(fine, affine)"
    )

    with pytest.raises(GeometryError, match=f"ends {2 * abs(voxels):.3g} mm inside the grid"):
        answer(external, volume)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('started'); sys.exit('no such luck')", "rival failed with status 1: no such luck"),
        ("import os; os.kill(os.getpid(), 9)", "rival failed with status 137"),
        ("print('all well')", "rival wrote no file to {out}: all well"),
        ("open(sys.argv[2], 'w').write('nothing')", "rival wrote no usable image"),
        (FINE + "fine[2, 3, 4] = np.nan; write(fine, affine)", "1 voxels that are not finite"),
    ],
)
def test_failure_of_the_program_is_told(
    volume: Volume, tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(ExternalError) as failure:
        answer(rival(tmp_path, body), volume)

    assert message in str(failure.value)


def test_program_that_hangs_is_ended_with_its_children(volume: Volume, tmp_path: Path) -> None:
    body = f"""
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
child.wait()
"""
    with pytest.raises(ExternalError, match=r"took more than 0\.05 minutes"):
        answer(rival(tmp_path, body, minutes=0.05), volume)

    assert_ends(int((tmp_path / "child").read_text()))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_program_ends_with_whoever_asked_for_its_work(tmp_path: Path, number: int) -> None:
    pid = tmp_path / "pid"
    body = f"import time; open({str(pid)!r}, 'w').write(str(__import__('os').getpid())); "
    asker = tmp_path / "asker.py"
    asker.write_text(
        "import numpy as np\n"
        "from mriimpute.methods.external import External\n"
        "from mriimpute.volume import Volume\n"
        "data = np.ones((4, 4, 5), np.float32)\n"
        "volume = Volume(data, np.arange(5) % 2 == np.zeros(data.shape), np.eye(4))\n"
        f"External('e', {rival(tmp_path, body + 'time.sleep(300)').command!r})"
        ".impute(volume, seed=0, case='c')\n"
    )
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, str(asker)], stderr=subprocess.DEVNULL
    )
    wait_for(lambda: pid.is_file() and bool(pid.read_text()))

    process.send_signal(number)
    process.wait(60)

    assert_ends(int(pid.read_text()))


def test_scattered_voxels_are_given_to_no_other_program(volume: Volume, tmp_path: Path) -> None:
    observed = np.indices(SHAPE).sum(0) % 4 == 0

    with pytest.raises(VolumeError, match="not a stack of equally spaced slices"):
        answer(rival(tmp_path, ""), Volume(volume.data, observed, volume.affine))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cp {in} {out}", "must be NAME=COMMAND"),
        ("a/b=cp {in} {out}", "must be NAME=COMMAND"),
        ("copy=cp {in} there", "has no {out}"),
        ("copy=cp here {out}", "has no {in}"),
        ("copy=cp '{in} {out}", "cannot be split"),
        ("copy=no-such-program {in} {out}", "needs the program 'no-such-program'"),
    ],
)
def test_malformed_option_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as failure:
        parse_external(text)

    assert message in str(failure.value)


def test_command_may_hold_equal_signs_and_quotes() -> None:
    external = parse_external("copy = cp --sparse=never '{in}' {out}")

    assert (external.name, external.words) == ("copy", ["cp", "--sparse=never", "{in}", "{out}"])


def wait_for(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_ends(pid: int) -> None:
    """Stops the test unless a process is gone, or dead and not yet collected, before long."""

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]

    wait_for(gone, 5.0)
