"""Draws, block by block: do neighbouring voxels err together as they should?

Axes: n = voxels of the region, s = draws, (i, j, k) = voxel indices, b = blocks, m = voxels of a
block.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["energy_score"]

BLOCK = 4  # voxels along each side
MIN_BLOCK_VOXELS = BLOCK**3 // 2  # in the region; blocks at its rim with fewer are left out
CHUNK_BLOCKS = 2048  # scored at a time

Draws = Float[np.ndarray, "s n"]


def energy_score(
    truth: Float[np.ndarray, " n"], draws: Draws, *, region: Bool[np.ndarray, "i j k"]
) -> float:
    """Returns the fair energy score of blocks of 4 x 4 x 4 voxels, mean over blocks.

        es = (mean_k |x_k - y| - 1 / (2 s (s - 1)) sum_kl |x_k - x_l|) / sqrt(m)

    with Euclidean norms over the m voxels of a block that lie in the region; blocks with fewer
    than 32 are left out, NaN if all are. The root makes it a root mean square: for one draw (or
    a mean) alone it is the RMSE of each block. Marginals that are right but independent are
    scored worse than draws whose voxels err together as those of the truth do.

    References:
        Gneiting & Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, 2007,
        Eq. 22; the estimator "fair" of scoringrules.

    Args:
        truth: y, the voxels of the region in order.
        draws: x of the same voxels, one at least; of one alone the second term is left out.
        region: Where they lie.
    """
    blocks = _blocks(region)
    if not len(blocks):
        return math.nan
    parts = [blocks[start : start + CHUNK_BLOCKS] for start in range(0, len(blocks), CHUNK_BLOCKS)]
    return float(sum(_score(truth, draws, part).sum() for part in parts) / len(blocks))


def _blocks(region: Bool[np.ndarray, "i j k"]) -> Int[np.ndarray, "b m"]:
    """Returns the index of each block's voxels among those of the region; -1: not in it."""
    index = np.where(region, np.cumsum(region, dtype=np.int32).reshape(region.shape) - 1, -1)
    padding = [(0, -length % BLOCK) for length in region.shape]
    padded = np.pad(index, padding, constant_values=-1)
    i, j, k = (length // BLOCK for length in padded.shape)
    blocks = padded.reshape(i, BLOCK, j, BLOCK, k, BLOCK).transpose(0, 2, 4, 1, 3, 5)
    flat = blocks.reshape(-1, BLOCK**3)
    chosen: Int[np.ndarray, "b m"] = flat[(flat >= 0).sum(axis=1) >= MIN_BLOCK_VOXELS]
    return chosen


def _score(
    truth: Float[np.ndarray, " n"], draws: Draws, blocks: Int[np.ndarray, "b m"]
) -> Float[np.ndarray, " b"]:
    inside = blocks >= 0
    errors = np.where(inside, draws[:, blocks] - truth[blocks], 0.0).swapaxes(0, 1)
    skill = np.linalg.norm(errors, axis=2).mean(axis=1)
    return (skill - _half_mean_distance(errors)) / np.sqrt(inside.sum(axis=1))


def _half_mean_distance(errors: Float[np.ndarray, "b s m"]) -> Float[np.ndarray, " b"] | float:
    """Returns half the mean distance of two different draws."""
    count = errors.shape[1]
    if count == 1:
        return 0.0
    # About their mean: the squared distances are then no differences of large numbers.
    about = errors - errors.mean(axis=1, keepdims=True)
    products = about @ about.swapaxes(1, 2)
    squares = np.diagonal(products, axis1=1, axis2=2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * products
    np.einsum("bkk->bk", distances)[...] = 0.0  # rounding: a draw lies at no distance from itself
    total = np.sqrt(np.maximum(distances, 0.0)).sum(axis=(1, 2))
    half_mean: Float[np.ndarray, " b"] = total / (2 * count * (count - 1))
    return half_mean
