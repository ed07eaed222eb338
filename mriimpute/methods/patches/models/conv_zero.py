"""A variational auto-encoder that sees zeros where nothing was observed.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4.3.2 ("conv-zero").
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.methods.patches.layers.fill import fill_zero
from mriimpute.methods.patches.models._convolutional import ConvolutionalConfig, Filled

__all__ = ["Config", "ConvZero"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ConvolutionalConfig):
    """Settings of `ConvZero`."""

    def build(self) -> "ConvZero":
        """Returns the model."""
        return ConvZero(self)


class ConvZero(Filled):
    """A fully convolutional subspace behind zero filling."""

    def fill(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b 1 *grid"]:
        """Returns `y` with zeros in its gaps."""
        return fill_zero(y, observed)
