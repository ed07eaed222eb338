"""How long a user waits before anything happens: commands as children, from start to end."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mriimpute.bench.phantom import TINY, Shape, target_shape, write_head
from mriimpute.bench.timing import Timing, timed

__all__ = ["Startup", "startup"]

USAGE = 2
"""Exit status of a command line that is wrong."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds of whole commands.

    Attributes:
        help: Of `mriimpute --help`.
        usage: Of a command line that is refused.
        tiny: Of the imputation of a scan so small that loading libraries and the model is all.
        shape: Of that scan, imputed.
    """

    help: Timing
    usage: Timing
    tiny: Timing
    shape: Shape


def startup(device: str, *, repeats: int) -> Startup:
    """Returns how long commands take that have next to nothing to do.

    Args:
        device: "cpu" or "cuda:N".
        repeats: Of each.
    """
    with tempfile.TemporaryDirectory(prefix="mriimpute-bench-") as folder:
        scan, out = Path(folder, "head.nii.gz"), Path(folder, "out")
        write_head(scan, TINY)
        words = ["impute", str(scan), "-o", str(out), "--device", device, "--overwrite"]
        seconds = partial(timed, repeats=repeats)
        return Startup(
            help=seconds(partial(_child, ["--help"], 0)),
            usage=seconds(partial(_child, ["impute", "--no-such-option"], USAGE)),
            tiny=seconds(partial(_child, words, 0)),
            shape=target_shape(TINY),
        )


def _child(words: list[str], expected: int) -> None:
    command = [sys.executable, "-m", "mriimpute", *words]
    run = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - this package
    if run.returncode != expected:
        message = run.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"{words} must end with {expected}, got {run.returncode}: {message}")
