"""The exact evidence of a Gaussian subspace, or a mixture of some: no bound, hence no gap.

Axes: b = batch, grid = voxels of a patch.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.models.mixture_ppca import MixturePpca
from mriimpute.methods.patches.models.ppca import Ppca

__all__ = ["negative_log_evidence"]


def negative_log_evidence(
    model: Ppca | MixturePpca,
    y: Float[Tensor, "b 1 *grid"],
    observed: Bool[Tensor, "b 1 *grid"],
) -> Float[Tensor, " b"]:
    """Returns -log p(y_O), in nats per patch; zero where nothing is observed."""
    if isinstance(model, Ppca):
        return -model.log_evidence(model.posterior(y, observed), y, observed)
    return -model.posterior(y, observed).log_evidence
