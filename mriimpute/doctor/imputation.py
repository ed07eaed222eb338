"""Whether the package is whole, and whether it imputes here as it should.

The phantom is smooth and known everywhere, so no stored answer is needed: a result must keep what
was acquired bit by bit, follow a change of units, come out the same twice, and be near the truth.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.checkpoint import load
from mriimpute.doctor.check import Check, at_most
from mriimpute.errors import MriImputeError
from mriimpute.files import shipped
from mriimpute.io import read_scan
from mriimpute.methods.base import Imputer
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.simulate.template import mni152
from mriimpute.volume import Volume

__all__ = ["imputation_checks", "package_checks", "phantom"]

Image = Float32[np.ndarray, "i j k"]

EVERY = 4
RANGE = "share of the range"

SHAPE = (40, 36, 9 * EVERY + 1)

UNITS = (0.37, 12.5)
"""Intensities are multiplied by the first and moved by the second."""

EQUIVARIANT = 1e-4
"""f(a y + b) and a f(y) + b may be so far apart, as a share of the range."""

NEAR = 0.04
"""Root mean square error on the phantom, as a share of the range."""

SAME = 2e-3
"""What a GPU computes may be so far from what the CPU does, as a share of the range."""


def package_checks() -> Iterator[Check]:
    """Yields whether what the package brings is there and undamaged."""
    path = shipped(DEFAULT)
    try:
        tensors, _ = load(path)
        count = sum(tensor.numel() for tensor in tensors.values())
        yield Check("weights", "ok", note=f"{count} numbers, checksum right")
    except MriImputeError as error:
        yield Check("weights", "fail", note=f"{error}; install mriimpute again")
    try:
        template = read_scan(mni152()).volume
        yield Check("template", "ok", note=f"{' x '.join(map(str, template.shape))} voxels")
    except MriImputeError as error:
        yield Check("template", "fail", note=f"{error}; install nilearn again")


def imputation_checks(device: str) -> Iterator[Check]:
    """Yields the checks of the default model on a device, "cpu" or "cuda:N"."""
    truth, sparse = phantom()
    imputer = load_imputer(DEFAULT, device=device)
    scale = float(np.ptp(truth))
    mean = _imputed(imputer, sparse)

    changed = float((mean != sparse.data)[sparse.observed].sum())
    yield at_most(f"acquired voxels kept, {device}", changed, 0.0, "values that differ")
    again = float((_imputed(imputer, sparse) != mean).sum())
    yield at_most(f"same imputation twice, {device}", again, 0.0, "values that differ")

    a, b = (np.float32(unit) for unit in UNITS)
    other = Volume(a * sparse.data + b, sparse.observed, sparse.affine)
    apart = np.abs(_imputed(imputer, other) - (a * mean + b)).max() / (a * scale)
    yield at_most(f"change of units, {device}", float(apart), EQUIVARIANT, RANGE)

    error = float(np.sqrt(np.square(mean - truth)[~sparse.observed].mean())) / scale
    yield at_most(f"phantom, {device}", error, NEAR, RANGE)
    if device != "cpu":
        other_mean = _imputed(load_imputer(DEFAULT, device="cpu"), sparse)
        apart = np.abs(mean - other_mean).max() / scale
        yield at_most(f"GPU against CPU, {device}", float(apart), SAME, RANGE)


def phantom() -> tuple[Image, Volume]:
    """Returns a smooth head, and what a scanner keeps of it: one slice in `EVERY`."""
    axes = (np.linspace(-1, 1, size) for size in SHAPE)
    i, j, k = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(i**2 + j**2 + k**2)
    head = 1 / (1 + np.exp(20 * (radius - 0.8)))
    truth = (1000 * head * (1 + 0.2 * np.sin(4 * i + 2 * k) * np.cos(3 * j))).astype(np.float32)

    observed = np.zeros(SHAPE, bool)
    observed[:, :, ::EVERY] = True
    data = np.where(observed, truth, np.float32(np.nan))
    return truth, Volume(data, observed, np.eye(4))


def _imputed(imputer: Imputer, volume: Volume) -> Image:
    with torch.inference_mode():
        return imputer.impute(volume, seed=0, case="doctor").mean
