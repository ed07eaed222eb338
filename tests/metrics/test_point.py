"""Tests for mriimpute.metrics.point."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio
from torchmetrics.functional import mean_absolute_error, normalized_root_mean_squared_error
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr

from mriimpute import metrics


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.uniform(10, 90, 500)
    return truth, truth + rng.normal(0, 7, 500)


def test_point_scores_are_those_of_scikit_image(rng: np.random.Generator) -> None:
    truth, image = pair(rng)

    psnr = peak_signal_noise_ratio(truth, image, data_range=80.0)
    assert metrics.psnr(truth, image, data_range=80.0) == pytest.approx(psnr, rel=1e-10)
    assert metrics.nrmse(truth, image) == pytest.approx(normalized_root_mse(truth, image))


def test_point_scores_are_those_of_torchmetrics(rng: np.random.Generator) -> None:
    truth, image = pair(rng)
    x, y = torch.from_numpy(truth), torch.from_numpy(image)

    # Theirs divides a mean by a sum: the root of the number of voxels is left over.
    nrmse = normalized_root_mean_squared_error(y, x, normalization="l2") * math.sqrt(len(truth))
    assert metrics.psnr(truth, image, data_range=80.0) == pytest.approx(
        float(torch_psnr(y, x, data_range=80.0)), rel=1e-5
    )
    assert metrics.nrmse(truth, image) == pytest.approx(float(nrmse), rel=1e-5)
    assert metrics.mae(truth, image) == pytest.approx(float(mean_absolute_error(y, x)), rel=1e-5)


def test_truth_against_itself_has_no_error(rng: np.random.Generator) -> None:
    truth, _ = pair(rng)

    assert metrics.psnr(truth, truth, data_range=90.0) == math.inf
    assert metrics.mae(truth, truth) == metrics.rmse(truth, truth) == 0
    assert metrics.nrmse(truth, truth) == metrics.nrmse(0 * truth, 0 * truth) == 0
