"""What every model of patches promises.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch, two or three axes.
"""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.nn.density import Density

__all__ = ["Model", "ModelConfig"]


class Model(nn.Module, ABC):
    """A latent variable model of normalised patches, with an encoder of what was observed.

        z ~ N(0, I),    y | z ~ N(f(z), sigma^2 I),    q(z | y_O)

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, Eq. 1, 2 and 7 (the paper calls z "x").

    Attributes:
        patch: Voxels of a patch along each axis.
    """

    patch: tuple[int, ...]

    @property
    @abstractmethod
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""

    @abstractmethod
    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Density:
        """Returns q(z | y_O), or the exact p(z | y_O), over vectors of length m."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""


@runtime_checkable
class ModelConfig(Protocol):
    """Settings that build a model: a frozen dataclass named `Config` in the model's file."""

    def build(self) -> Model:
        """Returns the model."""
        ...
