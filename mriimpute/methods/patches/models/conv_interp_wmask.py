"""A variational auto-encoder that sees its interpolated input and which voxels were observed.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.3.2 ("conv-interp-wmask").
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.layers.fill import fill_linear
from mriimpute.methods.patches.models._convolutional import ConvolutionalConfig, Filled

__all__ = ["Config", "ConvInterpWmask"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ConvolutionalConfig):
    """Settings of `ConvInterpWmask`."""

    def build(self) -> "ConvInterpWmask":
        """Returns the model."""
        return ConvInterpWmask(self)


class ConvInterpWmask(Filled):
    """A fully convolutional subspace behind linear interpolation that is marked as such."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, channels=2)

    def fill(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b 2 *grid"]:
        """Returns `y` interpolated, and 1 where it was observed."""
        return torch.cat([fill_linear(y, observed), observed.to(y.dtype)], dim=1)
