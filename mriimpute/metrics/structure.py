"""What only neighbouring voxels show: similarity, fine detail, edges and stripes.

Axes: (i, j, k) = voxel indices, n = voxels of the region.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

__all__ = ["box_around", "edges", "gradient_psnr", "hfen", "ssim", "stripes", "widened"]

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # an 11-voxel window, as in the paper
LOG_SIGMA = 1.5
LOG_RADIUS = 7  # a 15-voxel kernel, as in the paper
EDGE_PERCENTILE = 80

Image = Float[np.ndarray, "i j k"]
Region = Bool[np.ndarray, "i j k"]


def ssim(truth: Image, image: Image, *, region: Region, data_range: float) -> float:
    """Returns the structural similarity in 3D, its full map averaged over a region.

    The window is a Gaussian of sigma 1.5 voxels, so voxels up to 5 away from the region along
    each axis are looked at (NaN counts as zero there, in both images) but not averaged over.

    References:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
        2004, Eq. 13, with population covariance: the map of scikit-image with
        `gaussian_weights=True` and `use_sample_covariance=False`.

    Args:
        truth: In input units.
        image: The imputed volume, acquired voxels inserted.
        region: Where the map is averaged; not empty.
        data_range: Intensity that counts as the whole range.
    """
    box = box_around(region, SSIM_RADIUS)
    x, y = _known(truth[box], image[box])
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    mu_x, mu_y = _smooth(x), _smooth(y)
    power = mu_x**2 + mu_y**2
    variance = _smooth(x * x) + _smooth(y * y) - power
    covariance = _smooth(x * y) - mu_x * mu_y
    similarity = ((2 * mu_x * mu_y + c1) * (2 * covariance + c2)) / (
        (power + c1) * (variance + c2)
    )

    return float(similarity[region[box]].mean())


def hfen(truth: Image, image: Image, *, region: Region) -> float:
    """Returns the high-frequency error norm |LoG(image - truth)| / |LoG(truth)|; 0 is perfect.

    LoG is the Laplacian of a 3D Gaussian of sigma 1.5 voxels, the norms are over the region.
    An image that is smooth where the truth has detail has 1. Voxels up to 7 away from the region
    along each axis are looked at, NaN counts as zero there, in both images.

    References:
        Ravishankar & Bresler, MR Image Reconstruction From Highly Undersampled k-Space Data by
        Dictionary Learning, 2011, section IV-A, in 3D and over the norm of the truth.

    Args:
        truth: In input units.
        image: The imputed volume, acquired voxels inserted.
        region: Where the norms are taken; not empty.
    """
    box = box_around(region, LOG_RADIUS)
    x, y = _known(truth[box], image[box])

    inside = region[box]
    error = np.linalg.norm(_detail(y - x)[inside])
    scale = np.linalg.norm(_detail(x)[inside])

    if not error:
        return 0.0
    return float(error / scale) if scale else math.inf


def gradient_psnr(truth: Image, image: Image, *, region: Region, data_range: float) -> float:
    """Returns the PSNR of the gradient in dB, infinite where it has no error.

    20 log10(data_range / r), r the root mean square over the voxels of the region and the three
    axes of the error of the central differences, in intensity per voxel. The voxels beside the
    region are looked at, NaN counts as zero there, in both images.
    """
    box = box_around(region, 1)
    x, y = _known(truth[box], image[box])

    squares = [np.square(slope[region[box]]).mean() for slope in _gradient(y - x)]
    error = math.sqrt(np.mean(squares))

    return 20 * math.log10(data_range / error) if error else math.inf


def edges(truth: Image, *, region: Region) -> Bool[np.ndarray, " n"]:
    """Returns which voxels of a region are edges: a gradient in its top fifth.

    The magnitude of the gradient by central differences, per voxel, above its 80th percentile
    over the region. Beside a NaN there is no edge.
    """
    box = box_around(region, 1)
    inside = region[box]
    power = np.sum([np.square(slope[inside]) for slope in _gradient(truth[box])], axis=0)
    power = np.where(np.isfinite(power), power, 0.0)
    chosen: Bool[np.ndarray, " n"] = power > np.percentile(power, EDGE_PERCENTILE)
    return chosen


def stripes(image: Image, *, missing: Region, acquired: Region, axis: int) -> float:
    """Returns the energy of fine detail in imputed slices over that in acquired ones; 1: alike.

    Detail is the Laplacian of a slice, by second differences along its two axes, its energy the
    mean square. Where it differs between slices that were acquired and those that were not, the
    volume is striped when seen from the side: the mean of two slices, what linear interpolation
    gives halfway, has half the energy of their noise. Only voxels whose four neighbours in their
    slice are chosen as well are looked at. NaN where there are none, or nothing to compare with.

    Args:
        image: The imputed volume, acquired voxels inserted. No truth is needed.
        missing: Imputed voxels to look at.
        acquired: Acquired voxels to compare with.
        axis: Across the slices.
    """
    chosen = missing | acquired
    across = [a for a in range(3) if a != axis]
    cross = np.zeros((3, 3, 3), bool)
    cross[1, 1, 1] = True
    for a in across:
        np.moveaxis(cross, a, 0)[:, 1, 1] = True
    whole = ndimage.binary_erosion(chosen, cross)

    filled = np.where(chosen, image, 0.0).astype(np.float64)
    detail = np.sum(
        [ndimage.correlate1d(filled, (1.0, -2.0, 1.0), axis=a) for a in across], axis=0
    )

    imputed, measured = (_energy(detail[whole & part]) for part in (missing, acquired))
    return imputed / measured if measured else math.nan


def _energy(detail: Float[np.ndarray, " n"]) -> float:
    return float(np.square(detail).mean()) if len(detail) else math.nan


def _known(truth: Image, image: Image) -> tuple[Image, Image]:
    known = np.isfinite(truth) & np.isfinite(image)
    x = np.where(known, truth, 0.0).astype(np.float64)
    return x, np.where(known, image, 0.0).astype(np.float64)


def _smooth(image: Image) -> Image:
    smoothed: Image = ndimage.gaussian_filter(image, SSIM_SIGMA, radius=SSIM_RADIUS)
    return smoothed


def _detail(image: Image) -> Image:
    detail: Image = ndimage.gaussian_laplace(image, LOG_SIGMA, radius=LOG_RADIUS)
    return detail


def _gradient(image: Image) -> list[Image]:
    """Returns the central differences along each axis that has more than one voxel."""
    return [np.gradient(image, axis=axis) for axis in range(3) if image.shape[axis] > 1]


def box_around(region: Region, margin: int) -> tuple[slice, ...]:
    """Returns the smallest box that holds a region, widened; the region is not empty."""
    (box,) = ndimage.find_objects(region.astype(np.uint8))
    return widened(box, margin)


def widened(box: tuple[slice, ...], margin: int) -> tuple[slice, ...]:
    """Returns a box with `margin` voxels more on each side, where the array has them."""
    return tuple(slice(max(0, edge.start - margin), edge.stop + margin) for edge in box)
