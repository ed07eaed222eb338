"""Expectation maximisation for a Gaussian subspace with unobserved voxels.

E, for each patch i:   M_i = W_O^T W_O + sigma^2 I,    <z_i> = M_i^-1 W_O^T (y_O - mu_O),
                       <z_i z_i^T> = sigma^2 M_i^-1 + <z_i><z_i>^T

M, for each voxel j over the patches that observe it, with z~ = [z; 1]:
                       [W_j, mu_j] = (sum y_ij <z~_i>^T) (sum <z~_i z~_i^T> + kappa I)^-1
                       sigma^2 = mean over observed (i, j) of <(y_ij - [W_j, mu_j] z~_i)^2>

X, the parameters expanded by a prior N(m, S) of z, and reduced to N(0, I) again:
                       m = mean_i <z_i>,    S = mean_i <z_i z_i^T> - m m^T = L L^T
                       mu <- mu + W m,      W <- W L

Without the last step EM crawls where there is little noise, as mu and the scale of W change only
by as much as the posterior of z leaves open. Everything is a sum over patches, so one pass in
batches is enough and patches are not kept.

Axes: b = batch, grid = voxels of a patch, j = voxels in a row, e = latent dimensions + 1.

References:
    Ilin & Raiko, Practical Approaches to Principal Component Analysis in the Presence of Missing
    Values, 2010. Dalca et al., 2019, section 3.5.1 names this fit of its Eq. 13.
    Liu, Rubin & Wu, Parameter Expansion to Accelerate EM: The PX-EM Algorithm, 1998.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.density import FullGaussian
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence

__all__ = ["em_step", "fit_em"]

Batch = tuple[Float[Tensor, "_ 1 ..."], Bool[Tensor, "_ 1 ..."]]  # not all of one size


def fit_em(model: Ppca, batches: Sequence[Batch], *, iterations: int, kappa: float) -> list[float]:
    """Improves `model` by iterations of `em_step` and returns the evidence before and after each.

    Args:
        model: Where to start, and what is changed.
        batches: As in `em_step`; read twice per iteration.
        iterations: How many; the list is one longer.
        kappa: As in `em_step`.

    Returns:
        Mean log p(y_O) over patches, in nats.
    """
    evidence = [_mean_log_evidence(model, batches)]
    for _ in range(iterations):
        em_step(model, batches, kappa=kappa)
        evidence.append(_mean_log_evidence(model, batches))
    return evidence


@torch.no_grad()
def em_step(model: Ppca, batches: Iterable[Batch], *, kappa: float) -> float:
    """Replaces the parameters of `model` by those of one iteration.

    With kappa = 0 no iteration lowers the evidence of `batches`.

    Args:
        model: Its noise level does not go below its floor.
        batches: Pairs of patches, whose unobserved voxels may be NaN, and what is observed.
        kappa: Ridge on the rows of [W, mu]: what a voxel that few patches observe needs, 1e-2
            to 1.

    Returns:
        Mean log p(y_O) over patches before the iteration, in nats.
    """
    sums, evidence = Sums.zero(model), 0.0
    for y, observed in batches:
        q = model.posterior(y, observed)
        evidence += float(model.log_evidence(q, y, observed).double().sum())
        sums.add(q, y.flatten(1), observed.flatten(1))
    sums.maximise(model, kappa)
    return evidence / max(sums.weight, 1.0)


@dataclass(slots=True)
class Sums:
    """What the M step needs, in float64. Patches may count by weights r_i.

    Attributes:
        second: sum_i r_i o_ij <z~ z~^T>.
        cross: sum_i r_i o_ij y_ij <z~>.
        square: sum_ij r_i o_ij y_ij^2.
        count: sum_ij r_i o_ij.
        latent: sum_i r_i <z~ z~^T>.
    """

    second: Float[Tensor, "j e e"]
    cross: Float[Tensor, "j e"]
    square: float
    count: float
    latent: Float[Tensor, "e e"]

    @classmethod
    def zero(cls, model: Ppca) -> "Sums":
        voxels, latents = model.w.shape
        blank = torch.zeros(voxels, latents + 1, dtype=torch.float64, device=model.w.device)
        second = blank[..., None].repeat(1, 1, latents + 1)
        return cls(second, blank, 0.0, 0.0, torch.zeros_like(second[0]))

    @property
    def weight(self) -> float:
        """How many patches were added, each by its weight."""
        return float(self.latent[-1, -1])

    def add(
        self,
        q: FullGaussian,
        y: Float[Tensor, "b j"],
        observed: Bool[Tensor, "b j"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> None:
        one = torch.ones(len(y), 1, dtype=torch.float64, device=y.device)
        weights = one if weight is None else weight.double()[:, None]
        mean = torch.cat([q.loc.double(), one], -1)
        tril = q.tril.double()
        moment = mean[:, :, None] * mean[:, None]
        moment[:, :-1, :-1] += tril @ tril.mT
        moment *= weights[..., None]

        # Slices make few patterns: what patches of one pattern have in common is added first.
        patterns, which = torch.unique(observed, dim=0, return_inverse=True)
        alike = torch.zeros(len(patterns), *moment.shape[1:], dtype=moment.dtype, device=y.device)
        alike.index_add_(0, which, moment)
        self.second += (patterns.double().mT @ alike.flatten(1)).view_as(self.second)

        y = torch.where(observed, y, 0.0).double()
        self.cross += (weights * y).mT @ mean
        self.square += float((weights * y.square()).sum())
        self.count += float((weights * observed).sum())
        self.latent += moment.sum(0)

    def maximise(self, model: Ppca, kappa: float) -> None:
        """Replaces the parameters of `model` by those that explain the sums best."""
        rows = self.rows(kappa)
        model.noise.assign(self.variance(rows) ** 0.5)
        rows = rows @ self.expansion()
        model.w.copy_(rows[:, :-1])
        model.mu.copy_(rows[:, -1])

    def rows(self, kappa: float) -> Float[Tensor, "j e"]:
        eye = torch.eye(self.cross.shape[-1], dtype=torch.float64, device=self.cross.device)
        # A voxel that no patch observes has no equation: the smallest number makes it 0 = 0.
        ridge = max(kappa, torch.finfo(torch.float64).tiny)
        return torch.linalg.solve(self.second + ridge * eye, self.cross)

    def expansion(self) -> Float[Tensor, "e e"]:
        """Returns what turns [W, mu] into [W L, mu + W m]: [[L, m], [0, 1]]."""
        second = self.latent / self.latent[-1, -1]
        mean = second[:-1, -1]
        turned = torch.eye(len(second), dtype=second.dtype, device=second.device)
        turned[:-1, :-1] = torch.linalg.cholesky(second[:-1, :-1] - torch.outer(mean, mean))
        turned[:-1, -1] = mean
        return turned

    def variance(self, rows: Float[Tensor, "j e"]) -> float:
        explained = 2 * (rows * self.cross).sum()
        quadratic = torch.einsum("je,jef,jf->", rows, self.second, rows)
        return max(float(self.square - explained + quadratic), 0.0) / max(self.count, 1)


@torch.no_grad()
def _mean_log_evidence(model: Ppca, batches: Iterable[Batch]) -> float:
    return -torch.cat([negative_log_evidence(model, *batch) for batch in batches]).mean().item()
