"""Tissue classes by intensity: a segmenter that is the same everywhere and knows no anatomy.

Three classes, so that the brain splits into dark, middle and bright: in a T1-weighted scan fluid,
grey and white matter. The limits are fitted to the truth alone and applied to truth and imputed
image alike, so a method cannot move them.

Axes: n = voxels.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mriimpute.otsu import BINS, otsu_thresholds

__all__ = ["TissueScores", "score_tissues", "tissue_thresholds"]

CLASSES = 3

Values = Float[np.ndarray, " n"]


class TissueScores(NamedTuple):
    """Means over the classes, NaN where there are no classes.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), A the class in the truth and B in the image.
        volume_error_percent: Of |B| against |A|, either sign counted alike.
    """

    dice: float
    volume_error_percent: float


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


def score_tissues(
    truth: Values, image: Values, thresholds: Float[np.ndarray, " limits"] | None
) -> TissueScores:
    """Returns how well the classes of an image are those of the truth; absent ones are skipped."""
    if thresholds is None:
        return TissueScores(math.nan, math.nan)

    of_truth, of_image = np.digitize(truth, thresholds), np.digitize(image, thresholds)
    confusion = np.bincount(of_truth * CLASSES + of_image, minlength=CLASSES**2)
    confusion = confusion.reshape(CLASSES, CLASSES)
    both, true, imputed = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        dice, change = 2 * both / (true + imputed), abs(imputed - true) / true
    present = true > 0
    return TissueScores(
        dice=float(dice[present].mean()), volume_error_percent=100 * float(change[present].mean())
    )
