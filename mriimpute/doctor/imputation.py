"""Whether the package is whole, and whether it imputes here as it should.

The phantom is smooth and known everywhere, so no stored answer is needed: a result must keep what
was acquired bit by bit, follow a change of units, come out the same twice, and be near the truth.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.checkpoint import load
from mriimpute.doctor.check import Check, at_most
from mriimpute.errors import MriImputeError
from mriimpute.files import shipped
from mriimpute.imputation.anonymous import without_folders
from mriimpute.io import read_scan
from mriimpute.methods.base import Imputer
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.simulation.template import mni152
from mriimpute.volume import Volume

__all__ = ["imputation_checks", "package_checks", "phantom"]

Image = Float32[np.ndarray, "i j k"]

SLICE_STEP = 4
"""Voxels from one acquired slice of the phantom to the next."""

RANGE = "share of the range"
"""The unit of what is compared, in tables and JSON."""

SHAPE = (40, 36, 9 * SLICE_STEP + 1)

SCALE_AND_SHIFT = (0.37, 12.5)
"""Intensities are multiplied by the first and moved by the second."""

MAX_UNITS_ERROR = 1e-4
"""f(a y + b) and a f(y) + b may differ by so much, as a fraction of the range."""

MAX_PHANTOM_ERROR = 0.04
"""Root mean square error on the phantom, as a fraction of the range."""

MAX_GPU_DIFFERENCE = 2e-3
"""What a GPU computes may differ from what the CPU does by so much, as a fraction of the range."""


def package_checks() -> Iterator[Check]:
    """Yields whether what the package brings is there and undamaged."""
    weights = shipped(DEFAULT)
    try:
        tensors, _ = load(weights)
        count = sum(tensor.numel() for tensor in tensors.values())
        yield Check("weights", "ok", note=f"{count} numbers, checksum right")
    except MriImputeError as error:
        yield _broken("weights", error, weights)
    template = mni152()
    try:
        shape = read_scan(template).volume.shape
        yield Check("template", "ok", note=f"{' x '.join(map(str, shape))} voxels")
    except MriImputeError as error:
        yield _broken("template", error, template)


def _broken(name: str, error: MriImputeError, path: Path) -> Check:
    """Returns the check that a file of the package fails; what doctor prints names no folder."""
    told = without_folders(str(error), [path])
    return Check(name, "fail", note=f"{told}; install mriimpute again")


def imputation_checks(device: str) -> Iterator[Check]:
    """Yields the checks of the default model on a device, "cpu" or "cuda:N"."""
    truth, sparse = phantom()
    imputer = load_imputer(DEFAULT, device=device)
    value_range = float(np.ptp(truth))
    mean = _imputed(imputer, sparse)

    changed = float((mean != sparse.data)[sparse.observed].sum())
    yield at_most(f"acquired voxels kept, {device}", changed, 0.0, "values that differ")
    again = float((_imputed(imputer, sparse) != mean).sum())
    yield at_most(f"same imputation twice, {device}", again, 0.0, "values that differ")

    a, b = map(np.float32, SCALE_AND_SHIFT)
    rescaled = Volume(a * sparse.data + b, sparse.observed, sparse.affine)
    difference = np.abs(_imputed(imputer, rescaled) - (a * mean + b)).max() / (a * value_range)
    yield at_most(f"change of units, {device}", float(difference), MAX_UNITS_ERROR, RANGE)

    error = float(np.sqrt(np.square(mean - truth)[~sparse.observed].mean())) / value_range
    yield at_most(f"phantom, {device}", error, MAX_PHANTOM_ERROR, RANGE)
    if device != "cpu":
        cpu_mean = _imputed(load_imputer(DEFAULT, device="cpu"), sparse)
        difference = np.abs(mean - cpu_mean).max() / value_range
        yield at_most(f"GPU against CPU, {device}", float(difference), MAX_GPU_DIFFERENCE, RANGE)


def phantom() -> tuple[Image, Volume]:
    """Returns a smooth head, and what a scanner keeps of it: one slice in `SLICE_STEP`."""
    axes = (np.linspace(-1, 1, size) for size in SHAPE)
    i, j, k = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(i**2 + j**2 + k**2)
    head = 1 / (1 + np.exp(20 * (radius - 0.8)))
    truth = (1000 * head * (1 + 0.2 * np.sin(4 * i + 2 * k) * np.cos(3 * j))).astype(np.float32)

    observed = np.zeros(SHAPE, bool)
    observed[:, :, ::SLICE_STEP] = True
    data = np.where(observed, truth, np.float32(np.nan))
    return truth, Volume(data, observed, np.eye(4))


def _imputed(imputer: Imputer, volume: Volume) -> Image:
    with torch.inference_mode():
        return imputer.impute(volume, seed=0, case="doctor").mean
