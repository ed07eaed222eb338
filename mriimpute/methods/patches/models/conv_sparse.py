"""A variational auto-encoder whose encoder is made of sparse convolutions.

Encoder and decoder are fully convolutional, so the latent vector is a coarse field. A site of it
that no observed voxel reaches has the prior for its posterior.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    Eq. 7 and section 4.3.2 ("conv-sparse": five levels in two dimensions).
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.layers.blocks import Encoder
from mriimpute.methods.patches.models._convolutional import Convolutional, ConvolutionalConfig

__all__ = ["Config", "ConvSparse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ConvolutionalConfig):
    """Settings of `ConvSparse`."""

    def build(self) -> "ConvSparse":
        """Returns the model."""
        return ConvSparse(self)


class ConvSparse(Convolutional):
    """A fully convolutional subspace with an encoder that knows its gaps."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, Encoder(len(config.patch), config.widths))

    def features(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> tuple[Float[Tensor, "b c *coarse"], Bool[Tensor, "b 1 *coarse"]]:
        """Returns features, and where sparse convolutions carried anything observed."""
        return self.encoder(y, observed)
