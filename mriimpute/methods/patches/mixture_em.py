"""Expectation maximisation for a mixture of Gaussian subspaces with unobserved voxels.

E: responsibilities r_ik = p(k | y_O) and, for each component, the expectations of
   `mriimpute.methods.patches.em`.
M: pi_k = mean_i r_ik, and each component by the M step of that module, patches weighed by r_ik.

It begins from a coarser mixture: components of one mean image and white noise, fitted by a few
iterations of hard assignment from groups of equally many patches of increasing brightness.

Axes: b = batch, grid = voxels of a patch, j = voxels in a row, k = components.

References:
    Tipping & Bishop, Mixtures of Probabilistic Principal Component Analysers, 1999, section 3.3.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mriimpute.methods.patches.em import Batch, Sums
from mriimpute.methods.patches.models.mixture_ppca import MixturePpca

__all__ = ["begin_mixture", "mixture_step"]

ROUNDS = 10  # of hard assignment
PULL = 1.0  # patches' worth of the component's mean in each voxel of its mean image
FEWEST = 1.0  # patches that a component needs to be fitted anew


@torch.no_grad()
def mixture_step(model: MixturePpca, batches: Iterable[Batch], *, kappa: float) -> float:
    """Replaces the parameters of `model` by those of one iteration.

    With kappa = 0 no iteration lowers the evidence of `batches`.

    Args:
        model: Noise levels do not go below their floor. A component that is left with less than
            one patch stays as it is.
        batches: Pairs of patches, whose unobserved voxels may be NaN, and what is observed.
        kappa: Ridge, as in `mriimpute.methods.patches.em.em_step`.

    Returns:
        Mean log p(y_O) over patches before the iteration, in nats.
    """
    sums = [Sums.zero(subspace) for subspace in model.subspaces]
    evidence, patches = 0.0, 0
    for y, observed in batches:
        q = model.posterior(y, observed)
        evidence += float(q.log_evidence.double().sum())
        patches += len(y)
        r = q.log_responsibilities.exp().unbind(-1)
        for part, component, r_k in zip(sums, q.components, r, strict=True):
            part.add(component, y.flatten(1), observed.flatten(1), r_k)

    for part, subspace in zip(sums, model.subspaces, strict=True):
        if part.weight >= FEWEST:
            part.maximise(subspace, kappa)
    weights = torch.tensor([part.weight for part in sums], dtype=torch.float64)
    smallest = torch.finfo(model.logits.dtype).tiny
    model.logits.copy_((weights / weights.sum()).clamp(min=smallest).log())
    return evidence / max(patches, 1)


@torch.no_grad()
def begin_mixture(model: MixturePpca, batches: Sequence[Batch]) -> None:
    """Gives each component of `model` a mean image, a noise level and a share of the patches.

    Args:
        model: Its subspaces are kept, scaled to the noise level.
        batches: As in `mixture_step`; read several times.
    """
    rows = [(y.flatten(1), observed.flatten(1)) for y, observed in batches]
    groups = _by_brightness(rows, len(model.subspaces))
    for _ in range(ROUNDS):
        means, errors, counts = _means(rows, groups, len(model.subspaces))
        groups = [_nearest(y, observed, means) for y, observed in rows]

    for k, subspace in enumerate(model.subspaces):
        sigma = max(float(errors[k]), 2 * subspace.noise.floor)
        subspace.mu.copy_(means[k])
        subspace.w.mul_(sigma / subspace.w.std() / subspace.w.shape[1] ** 0.5)
        subspace.noise.assign(sigma)
    model.logits.copy_((counts + 1).log())


def _by_brightness(
    rows: Sequence[tuple[Float[Tensor, "_ j"], Bool[Tensor, "_ j"]]], groups: int
) -> list[Int64[Tensor, " _"]]:
    brightness = torch.cat(
        [torch.where(o, y, 0.0).sum(-1) / o.sum(-1).clamp(min=1) for y, o in rows]
    )
    rank = torch.argsort(torch.argsort(brightness, stable=True), stable=True)
    chosen = rank * groups // max(len(rank), 1)
    return list(chosen.split([len(y) for y, _ in rows]))


def _means(
    rows: Sequence[tuple[Float[Tensor, "_ j"], Bool[Tensor, "_ j"]]],
    groups: Sequence[Int64[Tensor, " _"]],
    components: int,
) -> tuple[Float[Tensor, "k j"], Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Returns mean images, root mean square errors about them, and numbers of patches."""
    size = (components, rows[0][0].shape[1])
    total, square, count = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
    patches = torch.zeros(components, dtype=torch.float64)
    for (y, observed), group in zip(rows, groups, strict=True):
        known, where = torch.where(observed, y, 0.0).double().cpu(), group.cpu()
        total.index_add_(0, where, known)
        square.index_add_(0, where, known.square())
        count.index_add_(0, where, observed.double().cpu())
        patches.index_add_(0, where, torch.ones(len(where), dtype=torch.float64))

    level = total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1)
    means = (total + PULL * level) / (count + PULL)
    error = (square - 2 * means * total + means.square() * count).sum(1)
    rms = (error / count.sum(1).clamp(min=1)).clamp(min=0).sqrt()
    device = rows[0][0].device
    return means.to(rows[0][0]), rms.to(device), patches.to(device)


def _nearest(
    y: Float[Tensor, "b j"], observed: Bool[Tensor, "b j"], means: Float[Tensor, "k j"]
) -> Int64[Tensor, " b"]:
    known = torch.where(observed, y, 0.0)
    distance = observed.to(known) @ means.square().mT - 2 * known @ means.mT
    return distance.argmin(1)
