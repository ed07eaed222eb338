"""Tests for mriimpute.metrics.structure."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from mriimpute import metrics

EVERYWHERE = np.ones((16, 16, 16), bool)
LOCAL = {
    "ssim": (partial(metrics.ssim, data_range=90.0), 5),
    "hfen": (metrics.hfen, 7),
    "gradient_psnr": (partial(metrics.gradient_psnr, data_range=90.0), 1),
}


def volume(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(10, 90, shape).astype(np.float32)


def core(*, edge: slice, shape: tuple[int, ...] = (16, 16, 16)) -> np.ndarray:
    region = np.zeros(shape, bool)
    region[edge, edge, edge] = True
    return region


@pytest.mark.parametrize("inside", [slice(None), slice(6, 9)])
def test_ssim_is_the_map_of_scikit_image_averaged_over_the_region(
    inside: slice, rng: np.random.Generator
) -> None:
    truth, image = volume(rng, 16, 15, 14), volume(rng, 16, 15, 14)
    region = core(edge=inside, shape=truth.shape)
    _, expected = structural_similarity(
        truth.astype(float),
        image.astype(float),
        data_range=90.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )

    ours = metrics.ssim(truth, image, region=region, data_range=90.0)

    assert ours == pytest.approx(expected[region].mean(), rel=1e-10)


def test_ssim_is_that_of_torchmetrics_where_no_window_leaves_the_volume(
    rng: np.random.Generator,
) -> None:
    truth, image = volume(rng, 16, 16, 16), volume(rng, 16, 16, 16)
    region = core(edge=slice(5, 11))
    x, y = (torch.from_numpy(v.astype(float))[None, None] for v in (truth, image))
    _, full = structural_similarity_index_measure(
        y, x, sigma=1.5, data_range=90.0, return_full_image=True
    )

    ours = metrics.ssim(truth, image, region=region, data_range=90.0)

    assert ours == pytest.approx(float(full[0, 0].numpy()[region].mean()), rel=1e-5)


def test_ssim_of_a_thin_slab_is_defined(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 12, 12, 3), volume(rng, 12, 12, 3)

    ours = metrics.ssim(truth, image, region=np.ones(truth.shape, bool), data_range=90.0)

    assert -1 < ours < 0.5


def test_hfen_is_the_distance_of_the_laplacians_of_gaussians(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 16, 16, 16), volume(rng, 16, 16, 16)
    x, y = (
        ndimage.gaussian_laplace(v.astype(float), 1.5, truncate=7 / 1.5) for v in (truth, image)
    )

    ours = metrics.hfen(truth, image, region=EVERYWHERE)

    assert ours == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x), rel=1e-10)


def test_hfen_of_an_image_without_detail_is_one(rng: np.random.Generator) -> None:
    truth = volume(rng, 16, 16, 16)

    ours = metrics.hfen(truth, np.full_like(truth, 50), region=EVERYWHERE)

    assert ours == pytest.approx(1, rel=1e-6)


def test_gradient_psnr_is_that_of_the_central_differences(rng: np.random.Generator) -> None:
    truth, image = volume(rng, 16, 16, 16), volume(rng, 16, 16, 16)
    slopes = [np.stack(np.gradient(v.astype(float)))[:, 4:9, 4:9, 4:9] for v in (truth, image)]
    expected = 20 * math.log10(90 / np.sqrt(np.square(slopes[1] - slopes[0]).mean()))

    ours = metrics.gradient_psnr(truth, image, region=core(edge=slice(4, 9)), data_range=90.0)

    assert ours == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", LOCAL)
def test_local_score_looks_no_further_than_its_window(name: str, rng: np.random.Generator) -> None:
    score, reach = LOCAL[name]
    truth, image = volume(rng, 16, 16, 16), volume(rng, 16, 16, 16)
    region = core(edge=slice(3, 6))
    far = ~core(edge=slice(0, 6 + reach))
    nan = np.float32(np.nan)

    ours = score(np.where(far, nan, truth), np.where(far, nan, image), region=region)

    assert ours == score(truth, image, region=region)


def test_truth_against_itself_is_perfect(rng: np.random.Generator) -> None:
    truth = volume(rng, 12, 12, 12)
    region = rng.random(truth.shape) < 0.3

    assert metrics.ssim(truth, truth, region=region, data_range=90.0) == pytest.approx(1)
    assert metrics.hfen(truth, truth, region=region) == 0
    assert metrics.gradient_psnr(truth, truth, region=region, data_range=90.0) == math.inf


def test_edges_are_the_fifth_with_the_steepest_gradient() -> None:
    ramp = np.zeros((10, 5, 5), np.float32)
    ramp[:] = (np.arange(10.0) ** 2)[:, None, None]
    region = np.ones(ramp.shape, bool)
    region[[0, -1]] = False

    edges = metrics.edges(ramp, region=region)

    # Slopes 2 i: of the eight planes of 25 voxels, the steepest one and no more than a fifth.
    assert edges.reshape(8, 25).any(axis=1).tolist() == [False] * 7 + [True]


def test_no_edge_lies_beside_what_is_unknown(rng: np.random.Generator) -> None:
    truth = volume(rng, 8, 8, 8)
    truth[4] = np.nan
    region = np.ones(truth.shape, bool)
    region[4] = False

    edges = np.zeros(truth.shape, bool)
    edges[region] = metrics.edges(truth, region=region)

    assert not edges[[3, 5]].any()
    assert edges[[1, 6]].any()


def slices(every: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which voxels are acquired, and which are missing between two such slices."""
    acquired = np.zeros((40, 40, 6 * every + 1), bool)
    acquired[:, :, ::every] = True
    return acquired, ~acquired


@pytest.mark.parametrize("every", [2, 3])
def test_stripes_of_interpolated_noise_are_the_power_of_its_weights(
    every: int, rng: np.random.Generator
) -> None:
    acquired, missing = slices(every)
    truth = rng.normal(size=acquired.shape)
    weights = np.arange(1, every) / every
    linear = ndimage.zoom(truth[:, :, ::every], (1, 1, acquired.shape[2] / 7), order=1)

    of_truth, of_linear = (
        metrics.stripes(image, missing=missing, acquired=acquired, axis=2)
        for image in (truth, linear)
    )

    assert of_truth == pytest.approx(1, abs=0.1)
    assert of_linear == pytest.approx(np.mean(weights**2 + (1 - weights) ** 2), rel=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stripes_are_seen_along_any_axis_and_no_further_than_the_region(
    axis: int, rng: np.random.Generator
) -> None:
    acquired, missing = slices(3)
    brain = np.zeros(acquired.shape, bool)
    brain[3:36, 4:37] = True
    image = np.where(brain, rng.normal(size=acquired.shape), np.nan)
    image[missing] *= 2

    across = partial(np.moveaxis, source=2, destination=axis)
    ours = metrics.stripes(
        across(image),
        missing=across(missing & brain),
        acquired=across(acquired & brain),
        axis=axis,
    )

    assert ours == pytest.approx(4, rel=0.1)


def test_stripes_without_anything_acquired_are_unknown(rng: np.random.Generator) -> None:
    image = volume(rng, 6, 6, 6)
    all_of_it = np.ones(image.shape, bool)

    assert math.isnan(metrics.stripes(image, missing=all_of_it, acquired=~all_of_it, axis=2))
