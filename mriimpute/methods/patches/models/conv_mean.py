"""A variational auto-encoder that sees the mean over the cohort where nothing was observed.

The mean of each position in the patch is that of what training observed there, gathered during
training and kept with the parameters.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.3.2 ("conv-mean").
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.layers.fill import ObservedMean
from mriimpute.methods.patches.models._convolutional import ConvolutionalConfig, Filled

__all__ = ["Config", "ConvMean"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ConvolutionalConfig):
    """Settings of `ConvMean`."""

    def build(self) -> "ConvMean":
        """Returns the model."""
        return ConvMean(self)


class ConvMean(Filled):
    """A fully convolutional subspace behind mean filling."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.cohort = ObservedMean(config.patch)

    def fill(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b 1 *grid"]:
        """Returns `y` with the mean in its gaps; in training mode `y` adds to this mean."""
        return self.cohort(y, observed)
