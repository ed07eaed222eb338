"""Tissue classes by intensity: a segmenter that is the same everywhere and knows no anatomy.

Three classes, so that the brain splits into dark, middle and bright: in a T1-weighted scan fluid,
grey and white matter. Limits are never fitted to what a method imputed, so it cannot move them.

Axes: n = voxels.
"""

import numpy as np
from jaxtyping import Float

from mriimpute.otsu import BINS, otsu_thresholds

__all__ = ["CLASSES", "tissue_dice", "tissue_thresholds"]

CLASSES = 3

Values = Float[np.ndarray, " n"]


def tissue_thresholds(truth: Values) -> Float[np.ndarray, " limits"] | None:
    """Returns the two limits between three classes; None for fewer than three intensities.

    Those that leave the least variance inside of the classes, over a histogram of 256 bins.

    Args:
        truth: The voxels of the region.
    """
    if len(np.unique(truth)) < CLASSES:
        return None
    centres = otsu_thresholds(truth, CLASSES)
    # Of the last bin of each class: its upper end is the limit.
    limits: Float[np.ndarray, " limits"] = centres + np.ptp(truth) / (2 * BINS)
    return limits


def tissue_dice(truth: Values, image: Values, thresholds: Float[np.ndarray, " limits"]) -> float:
    """Returns the mean over classes of 2 |A and B| / (|A| + |B|), A in the truth, B in the image.

    Classes that the truth lacks are left out.
    """
    of_truth, of_image = np.digitize(truth, thresholds), np.digitize(image, thresholds)
    confusion = np.bincount(of_truth * CLASSES + of_image, minlength=CLASSES**2)
    confusion = confusion.reshape(CLASSES, CLASSES)
    both, true, imputed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = true > 0
    return float((2 * both[present] / (true + imputed)[present]).mean())
