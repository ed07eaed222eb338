"""Other programs as imputers: any command line that takes a scan and writes a NIfTI.

The program gets what a scanner would deliver, the acquired slices as an ordinary thick-gap image
in a private temporary folder, and nothing else: neither the truth nor a patient's name. What it
writes is brought onto the target grid: voxel by voxel where the grids agree up to whole voxels, by
linear interpolation in world coordinates, which is logged, where they do not.

The command is split as a POSIX shell would split it, but no shell runs it:
`NAME=sh -c "..."` asks for one.
"""

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage

from mriimpute.errors import ConfigError, ExternalError, GeometryError, VolumeError
from mriimpute.geometry import find_stack, inside_grid, transform
from mriimpute.io import read_scan, write_grid
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.volume import Volume

__all__ = ["MINUTES", "External", "parse_external"]

log = logging.getLogger(__name__)

MINUTES = 60.0
"""How long a program may take for one scan."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FORM = 'write --external NAME="program {in} {out}"'

TOLERANCE_MM = 0.01  # float32 headers round a corner by 1e-5 mm; a real shift is far larger
LAST_CHARACTERS = 160  # of the last line that a program printed

# The program's group dies with whoever asked for its work, even if that one is killed outright:
# its end of the pipe closes then.
GUARD = """
import os, signal, subprocess, sys, threading
def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=watch, daemon=True).start()
status = child.wait()
os._exit(status if status >= 0 else 128 - status)
"""


class External(Imputer):
    """Has another program impute the scan. It gives no draws and does not know how sure it is.

    Args:
        name: In tables.
        command: With {in} for the scan to read and {out} for the file to write.
        minutes: Time limit for one scan.

    Raises:
        ConfigError: If the command cannot be split, lacks a placeholder or starts with no program.
    """

    gives_draws = False

    def __init__(self, name: str, command: str, *, minutes: float = MINUTES) -> None:
        self.name = name
        self.command = command
        self.minutes = minutes
        self.words = _words(name, command)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns what the program wrote, on the grid of the volume.

        Raises:
            ExternalError: If it fails, takes too long, or writes nothing or something unusable.
            GeometryError: If what it wrote does not cover the grid of the volume.
            VolumeError: If the volume is no stack of equally spaced slices.
        """
        thick, affine = _as_scanned(volume)
        with tempfile.TemporaryDirectory(prefix="mriimpute-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            scan, out = folder / "scan.nii.gz", folder / "imputed.nii.gz"
            write_grid(scan, thick, affine, frame="scanner")
            self._run(scan, out, folder / "printed.txt")
            written = self._read(out, folder / "printed.txt")
        mean = self._placed(written, volume)
        mean = np.where(volume.observed, volume.data, mean)
        if bad := int((~np.isfinite(mean)).sum()):
            raise ExternalError(
                f"{self.name} wrote {bad} voxels that are not finite",
                hint="repair the program, or leave it out",
            )
        return Imputation(mean=mean)

    def _run(self, scan: Path, out: Path, printed: Path) -> None:
        words = [w.replace("{in}", str(scan)).replace("{out}", str(out)) for w in self.words]
        with printed.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                [sys.executable, "-I", "-c", GUARD, *words],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(60 * self.minutes)
            except subprocess.TimeoutExpired as error:
                raise ExternalError(
                    f"{self.name} took more than {self.minutes:g} minutes for a scan",
                    hint="pass a larger --external-minutes",
                ) from error
            finally:
                _end(process)
        if status:
            raise ExternalError(
                f"{self.name} failed with status {status}{_last_line(printed)}",
                hint=f"run it by hand: {self.command}",
            )

    def _read(self, out: Path, printed: Path) -> Volume:
        if not out.is_file():
            raise ExternalError(
                f"{self.name} wrote no file to {{out}}{_last_line(printed)}",
                hint="{out} is a path that ends in .nii.gz: let the program write there",
            )
        try:
            return read_scan(out).volume
        except VolumeError as error:
            raise ExternalError(
                f"{self.name} wrote no usable image: {error}", hint="write one volume as NIfTI"
            ) from error

    def _placed(self, written: Volume, volume: Volume) -> Float32[np.ndarray, "i j k"]:
        """Returns what was written, on the grid of the volume."""
        part = inside_grid(
            volume.affine, volume.shape, written.affine, written.shape, tolerance_mm=TOLERANCE_MM
        )
        if part is not None:
            return written.data[part]

        index = np.linalg.inv(written.affine) @ volume.affine  # from its voxels to those written
        self._require_cover(index, written, volume)
        log.warning(
            "%s wrote another grid (%s voxels of %s mm): resampled linearly, which may cost it "
            "accuracy",
            self.name,
            " x ".join(map(str, written.shape)),
            " x ".join(f"{mm:.4g}" for mm in written.spacing_mm),
        )
        return ndimage.affine_transform(
            written.data,
            index[:3, :3],
            index[:3, 3],
            output_shape=volume.shape,
            output=np.float32,
            order=1,
            mode="nearest",  # within the tolerance of the border
        )

    def _require_cover(
        self, index: Float64[np.ndarray, "4 4"], written: Volume, volume: Volume
    ) -> None:
        corners = np.array(np.meshgrid(*[[0.0, n - 1.0] for n in volume.shape])).reshape(3, -1).T
        there = transform(index, corners)
        outside = np.maximum(-there, there - (np.array(written.shape) - 1)).max(axis=0)
        beyond_mm = float((outside * written.spacing_mm).max())
        if beyond_mm > TOLERANCE_MM:
            raise GeometryError(
                f"what {self.name} wrote ends {beyond_mm:.3g} mm inside the grid to fill: it is "
                "shifted, or cut",
                hint="let it write the affine of its voxels, from the first to the last slice",
            )


def parse_external(text: str, *, minutes: float = MINUTES) -> External:
    """Returns the imputer that NAME=COMMAND stands for.

    Raises:
        ConfigError: If the text is no such thing.
    """
    name, sign, command = (part.strip() for part in text.partition("="))
    if not sign or not NAME.fullmatch(name):
        raise ConfigError(
            f"an external method must be NAME=COMMAND, got {text!r}",
            hint=f"{FORM}; a name has letters, digits and any of . _ -",
        )
    return External(name, command, minutes=minutes)


def _words(name: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the command of {name} cannot be split: {error}", hint=FORM) from error
    for placeholder in ("{in}", "{out}"):
        if placeholder not in command:
            raise ConfigError(f"the command of {name} has no {placeholder}", hint=FORM)
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"{name} needs the program {words[0]!r}, which is not there",
            hint="install it, or write its whole path",
        )
    return words


def _as_scanned(
    volume: Volume,
) -> tuple[Float32[np.ndarray, "i j k"], Float64[np.ndarray, "4 4"]]:
    """Returns the acquired slices as a thick-gap image, and its affine."""
    stack = find_stack(volume.observed)
    if stack is None or len(set(stack.gaps)) > 1:
        raise VolumeError(
            "not a stack of equally spaced slices, which is all that other programs are given",
            hint="leave --external out for this pattern of missing voxels",
        )
    data = np.where(volume.observed, volume.data, np.float32(np.nan))
    data = data.take(stack.positions, axis=stack.axis)
    affine = volume.affine.copy()
    affine[:3, 3] += stack.positions[0] * affine[:3, stack.axis]
    affine[:3, stack.axis] *= stack.gaps[0]
    return data, affine


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the program and its children, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _last_line(printed: Path) -> str:
    lines = printed.read_text(encoding="utf-8", errors="replace").split("\n")
    kept = [line.strip() for line in lines if line.strip()]
    return f": {kept[-1][-LAST_CHARACTERS:]}" if kept else ""
