"""Tests of the default model on a GPU against the CPU: `pytest -m gpu tests/impute/test_gpu.py`.

What differs is told as a share of the range of intensities that were acquired.
"""

import logging
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mriimpute.bench.phantom import sparse_head
from mriimpute.methods.base import Imputation
from mriimpute.methods.cross_plane import predict as line_prediction
from mriimpute.methods.cross_plane.imputer import CrossPlane
from mriimpute.methods.registry import DEFAULT, load_imputer
from mriimpute.volume import Volume

pytestmark = pytest.mark.gpu

HEAD = (96, 88, 61)
WHOLE = (192, 176, 224)

CLOSE = 1e-4
"""Of the range; everywhere in float32, in the root mean square in float16."""

FAR = 5e-3
"""Of the range; nowhere more in float16."""


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU has tensor cores."""
    monkeypatch.setattr(line_prediction, "TENSOR_CORES", (99, 0))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Of the GPU, too little for all lines of a plane of a whole head at once."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1536 * 2**20 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def impute(volume: Volume, device: str) -> Imputation:
    return load_imputer(DEFAULT, device=device).impute(volume, seed=0, case="a")


def apart(ours: np.ndarray | None, theirs: np.ndarray | None, volume: Volume) -> np.ndarray:
    """Returns the differences where nothing was acquired, as shares of the range."""
    assert ours is not None
    assert theirs is not None
    scale = float(np.ptp(volume.data[volume.observed]))
    return (np.abs(ours - theirs) / scale)[~volume.observed]


def pairs(ours: Imputation, theirs: Imputation) -> list[tuple[np.ndarray, np.ndarray | None]]:
    assert ours.draw is not None
    assert theirs.draw is not None
    draws = [(ours.draw(n), theirs.draw(n)) for n in (1, 2)]
    return [(ours.mean, theirs.mean), (ours.std, theirs.std), *draws]


@pytest.mark.usefixtures("exact")
def test_in_single_precision_a_gpu_gives_the_mean_and_the_draws_of_the_cpu() -> None:
    volume = sparse_head(HEAD)

    both = pairs(impute(volume, "cuda:0"), impute(volume, "cpu"))

    for ours, theirs in both:
        assert apart(ours, theirs, volume).max() < CLOSE


def test_in_half_precision_a_gpu_gives_nearly_the_mean_and_the_draws_of_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    volume = sparse_head(HEAD)

    both = pairs(impute(volume, "cuda:0"), impute(volume, "cpu"))

    for ours, theirs in both:
        differences = apart(ours, theirs, volume)
        assert np.sqrt(np.square(differences).mean()) < CLOSE
        assert differences.max() < FAR
    assert "float16" not in caplog.text


def test_acquired_voxels_keep_every_bit_and_a_second_call_changes_none() -> None:
    volume = sparse_head(HEAD)

    first, second = impute(volume, "cuda:0"), impute(volume, "cuda:0")

    assert np.array_equal(first.mean[volume.observed], volume.data[volume.observed])
    for ours, theirs in pairs(first, second):
        assert np.array_equal(ours, theirs)


def test_a_whole_head_takes_less_than_six_gib_of_the_gpu() -> None:
    volume = sparse_head(WHOLE)
    torch.cuda.reset_peak_memory_stats()

    imputed = impute(volume, "cuda:0")

    assert imputed.draw is not None
    assert np.isfinite(imputed.draw(1)).all()
    assert torch.cuda.max_memory_allocated() < 6 * 2**30


@pytest.mark.usefixtures("little_memory")
def test_a_whole_head_fits_into_little_memory_of_the_gpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        imputed = impute(sparse_head(WHOLE), "cuda:0")

    assert np.isfinite(imputed.mean).all()
    assert "out of memory on the GPU" in caplog.text


def test_a_gpu_that_computes_half_precision_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line_prediction._warn.cache_clear()
    volume, conv = sparse_head(HEAD), torch.nn.functional.conv2d

    def wrong(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        y = conv(x, *args, **kwargs)
        return 1.1 * y if y.dtype == torch.float16 else y

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "conv2d", wrong)
        ours = impute(volume, "cuda:0")

    assert "computes float16 wrong" in caplog.text
    assert apart(ours.mean, impute(volume, "cpu").mean, volume).max() < CLOSE


def test_adapting_runs_on_a_gpu() -> None:
    volume = sparse_head(HEAD)
    ours = load_imputer(DEFAULT, device="cuda:0", adapt=True)
    assert isinstance(ours, CrossPlane)

    imputed = ours.impute(volume, seed=0, case="a")

    assert np.isfinite(imputed.mean).all()
