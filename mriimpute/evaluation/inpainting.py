"""The scores of the BraTS inpainting challenge of 2023.

Both images are divided by the maximum of the truth in the region, and what lies outside of it is
zero in both. Then

    mse  = mean over the region of (x - y)^2
    psnr = 10 log10(range(x)^2 / mse)
    ssim = mean over the region of the 3D map, for the larger of the ranges of x and y

with range(x) = max(x, 0) - min(x, 0): 1 where the truth is not negative.

References:
    Kofler et al., The Brain Tumor Segmentation (BraTS) Challenge 2023: Local Synthesis of Healthy
    Brain Tissue via Inpainting, 2023; its evaluation code, with the metrics of torchmetrics.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage

from mriimpute.metrics.structure import box_around

__all__ = ["InpaintingScores", "inpainting_scores"]

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # voxels
K1, K2 = 0.01, 0.03

Image = Float32[np.ndarray, "i j k"]
Scaled = Float64[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintingScores:
    """Mean squared error of scaled images, PSNR in dB, SSIM."""

    mse: float
    psnr_db: float
    ssim: float


def inpainting_scores(
    truth: Image, image: Image, region: Bool[np.ndarray, "i j k"]
) -> InpaintingScores:
    """Returns the scores of a filled region.

    Args:
        truth: Its maximum in the region is positive.
        image: The imputed volume.
        region: The hole; not empty.
    """
    scale = float(truth[region].max())
    x, y = (np.where(region, part, 0).astype(np.float64) / scale for part in (truth, image))

    mse = float(np.square(x - y)[region].mean())
    psnr = 10 * math.log10(_range(x) ** 2 / mse) if mse else math.inf
    box = box_around(region, SSIM_RADIUS)
    similarity = _similarity(x[box], y[box], data_range=max(_range(x), _range(y)))
    return InpaintingScores(mse=mse, psnr_db=psnr, ssim=float(similarity[region[box]].mean()))


def _range(image: Scaled) -> float:
    return max(float(image.max()), 0.0) - min(float(image.min()), 0.0)


def _similarity(x: Scaled, y: Scaled, *, data_range: float) -> Scaled:
    """Returns the SSIM map of torchmetrics: mirrored at borders, variances never negative."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mu_x, mu_y = _smooth(x), _smooth(y)
    variance_x = np.maximum(_smooth(x * x) - mu_x**2, 0.0)
    variance_y = np.maximum(_smooth(y * y) - mu_y**2, 0.0)
    covariance = _smooth(x * y) - mu_x * mu_y
    return ((2 * mu_x * mu_y + c1) * (2 * covariance + c2)) / (
        (mu_x**2 + mu_y**2 + c1) * (variance_x + variance_y + c2)
    )


def _smooth(image: Scaled) -> Scaled:
    smoothed: Scaled = ndimage.gaussian_filter(
        image, SSIM_SIGMA, radius=SSIM_RADIUS, mode="mirror"
    )
    return smoothed
