"""Whether tensors are computed right here: each operation against NumPy in float64.

Libraries choose kernels by the instructions of the CPU, the shape, the layout and the driver, and
a kernel may be wrong for one combination alone. Shapes here are those of the default model, and
of volumes. What is expected comes from NumPy, which shares no kernel with torch.

Axes: b = batch, c = channels, grid = two or three axes of voxels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mriimpute.doctor.check import Check, at_most
from mriimpute.seeds import numpy_stream, stream

__all__ = ["conv", "numeric_checks", "relative_error"]

FLOAT32_TOLERANCE = 1e-5
"""Largest error of float32, as a fraction of the largest value."""

TF32_TOLERANCE = 2e-3
"""The same on a GPU, whose tensor cores round float32 to 10 bits (TF32) in convolutions."""

HALF_TOLERANCES = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""The same for types of 10 and of 7 bits."""

PIXELS_SHAPE = (8, 48, 32, 176)
"""What the default model sees at once."""

VOXELS_SHAPE = (2, 24, 12, 20, 24)

COMPARED_POINTS = 500
"""Of a convolution, so many results are compared, borders among them."""

PLANES_SHAPE = (184, 48, 38, 176)
"""What the default model sees at once on a GPU, in float16."""

HEAD_SHAPE = (1, 32, 192, 176, 224)
"""A whole head, on which convolutions in bfloat16 have been wrong (cuDNN 9.8 to 9.10)."""


def numeric_checks(device: str) -> Iterator[Check]:
    """Yields the checks of one device, "cpu" or "cuda:N"."""
    limit = FLOAT32_TOLERANCE if device == "cpu" else TF32_TOLERANCE
    for shape, label in ((PIXELS_SHAPE, "2D"), (VOXELS_SHAPE, "3D")):
        x, weight = _tensors(shape, device)
        for layout in ("rows", "channels last"):
            worst = _convolution_error(x, weight, last=layout != "rows")
            yield at_most(f"convolution {label}, {layout}, {device}", worst, limit)
        y = conv(x, weight)
        alone = torch.cat([conv(image[None], weight) for image in x])
        yield at_most(f"one image alone, {label}, {device}", relative_difference(alone, y), limit)
        changed = float((conv(x, weight) != y).sum())
        yield at_most(f"same result twice, {label}, {device}", changed, 0.0, "values that differ")
    yield _matrix_product(device, limit)
    yield _functions(device)
    yield _instance_norm(device)
    yield _half_precision(PLANES_SHAPE, torch.float16, device)
    yield _half_precision(HEAD_SHAPE, torch.bfloat16, device)


def conv(x: Float[Tensor, "b c *grid"], weight: Tensor) -> Float[Tensor, "b d *grid"]:
    """Returns a convolution that keeps the grid."""
    run = functional.conv2d if x.ndim == 4 else functional.conv3d
    return run(x, weight, padding=1)


def relative_error(got: Tensor, expected: NDArray[np.float64]) -> float:
    """Returns the largest error as a fraction of the largest value expected, in float64."""
    return relative_difference(got.detach().double().cpu(), torch.from_numpy(expected))


def relative_difference(got: Tensor, expected: Tensor) -> float:
    """Returns the largest difference as a fraction of the largest value expected."""
    return float((got - expected).abs().max() / expected.abs().max())


def _convolution_error(x: Tensor, weight: Tensor, *, last: bool) -> float:
    axes = x.ndim - 2
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[axes]
    arranged = x.contiguous(memory_format=layout) if last else x
    y = conv(arranged, weight)

    rng = numpy_stream(0, "doctor", "places")
    sizes = x.shape[0], *x.shape[2:]
    points = [rng.integers(0, size, COMPARED_POINTS) for size in sizes]
    # The first and the last voxel of all: borders are where kernels differ.
    batch, *grid = (np.r_[0, size - 1, p] for size, p in zip(sizes, points, strict=True))
    padded = np.pad(_double(x), ((0, 0), (0, 0), *((1, 1),) * axes))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (3,) * axes, tuple(range(2, 2 + axes))
    )
    inputs = windows[(batch, slice(None), *grid)]
    expected = np.tensordot(inputs, _double(weight), axes=(range(1, 2 + axes), range(1, 2 + axes)))
    compared: Any = (torch.from_numpy(batch), slice(None), *(torch.from_numpy(g) for g in grid))
    return relative_error(y[compared], expected)


def _matrix_product(device: str, limit: float) -> Check:
    rng = numpy_stream(0, "doctor", "product")
    a, b = rng.standard_normal((2, 384, 384))
    got = _float(a, device) @ _float(b, device)
    return at_most(f"matrix product, {device}", relative_error(got, a @ b), limit)


def _functions(device: str) -> Check:
    x = np.linspace(-8, 8, 4099)
    t = _float(x, device)
    x = _double(t)
    positive = np.abs(x) + 0.1
    pairs = [
        (t.exp(), np.exp(x)),
        (t.sin(), np.sin(x)),
        (t.tanh(), np.tanh(x)),
        (_float(positive, device).log(), np.log(positive)),
        (_float(positive, device).rsqrt(), positive**-0.5),
    ]
    # NumPy's maximum, as that of Python may pass over NaN.
    worst = float(np.max([relative_error(got, expected) for got, expected in pairs]))
    return at_most(f"elementary functions, {device}", worst, FLOAT32_TOLERANCE)


def _instance_norm(device: str) -> Check:
    """Channels-last volumes with more than one image are where this has been wrong."""
    x, _ = _tensors((2, 16, 6, 10, 12), device)
    got = functional.instance_norm(x.contiguous(memory_format=torch.channels_last_3d))
    double = _double(x)
    mean = double.mean(axis=(2, 3, 4), keepdims=True)
    deviation = np.sqrt(double.var(axis=(2, 3, 4), keepdims=True) + 1e-5)
    error = relative_error(got, (double - mean) / deviation)
    return at_most(f"instance norm 3D, channels last, {device}", error, FLOAT32_TOLERANCE)


def _half_precision(shape: tuple[int, ...], kind: torch.dtype, device: str) -> Check:
    name = f"{str(kind).removeprefix('torch.')} convolution {len(shape) - 2}D, {device}"
    if device == "cpu":
        return Check(name, "skipped", note="not used on a CPU, where it may crash")
    generator = stream(0, "doctor", "half", device=device)
    x = torch.randn(shape, device=device, generator=generator)
    size = (shape[1], shape[1], *(3,) * (len(shape) - 2))
    weight = torch.randn(size, device=device, generator=generator)
    with torch.inference_mode():
        expected = conv(x, weight)
        got = conv(x.to(kind), weight.to(kind))
        return at_most(name, relative_difference(got.float(), expected), HALF_TOLERANCES[kind])


def _tensors(shape: tuple[int, ...], device: str) -> tuple[Tensor, Tensor]:
    rng = numpy_stream(0, "doctor", *shape)
    channels = shape[1]
    x = rng.standard_normal(shape)
    weight = rng.standard_normal((channels, channels, *(3,) * (len(shape) - 2)))
    return _float(x, device), _float(weight, device)


def _float(x: NDArray[np.float64], device: str) -> Tensor:
    return torch.from_numpy(x.astype(np.float32)).to(device)


def _double(x: Tensor) -> NDArray[np.float64]:
    return x.double().cpu().numpy()
