"""A variational auto-encoder that sees its input interpolated along grid lines.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.3.2 ("conv-interp").
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.layers.fill import fill_linear
from mriimpute.methods.patches.models._convolutional import ConvolutionalConfig, Filled

__all__ = ["Config", "ConvInterp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ConvolutionalConfig):
    """Settings of `ConvInterp`."""

    def build(self) -> "ConvInterp":
        """Returns the model."""
        return ConvInterp(self)


class ConvInterp(Filled):
    """A fully convolutional subspace behind linear interpolation."""

    def fill(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b 1 *grid"]:
        """Returns `y` interpolated."""
        return fill_linear(y, observed)
