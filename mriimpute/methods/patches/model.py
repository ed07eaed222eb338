"""What every model of patches promises.

Axes: b = batch, s = draws, m = latent dimensions, grid = voxels of a patch, two or three axes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.layers.bounds import NoiseLevel
from mriimpute.layers.density import Density

__all__ = ["Likelihood", "Model", "ModelConfig", "Moments", "Recovery"]


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """Independent Gaussians over the voxels of patches.

    Attributes:
        loc: Their means.
        scale: Their standard deviations; one number stands for all voxels, or for all of a patch.
    """

    loc: Float[Tensor, "s b 1 *grid"]
    scale: Float[Tensor, "s b 1 *#grid"] | Float[Tensor, ""]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What is known of the voxels of patches without draws.

    Attributes:
        mean: Of f(z), and so of the voxels.
        within: Variance of f(z).
        noise: Mean variance of the voxels given z; a single number stands for all voxels.
    """

    mean: Float[Tensor, "b 1 *grid"]
    within: Float[Tensor, "b 1 *grid"]
    noise: Float[Tensor, "b 1 *grid"] | Float[Tensor, ""]


@dataclass(frozen=True, slots=True, eq=False)
class Recovery:
    """What imputation draws from: z ~ latent, then the voxels ~ voxels(z).

    References:
        Tonolini et al., Tomographic Auto-Encoder, 2021, section 2: q(x | y) as the integral of
        q(z | y) q(x | z, y).

    Attributes:
        latent: q(z | y_O).
        voxels: Takes draws of z to the density of the voxels given each.
        moments: Returns the moments of the voxels; None where they have no formula.
    """

    latent: Density
    voxels: Callable[[Float[Tensor, "s b m"]], Likelihood]
    moments: Callable[[], Moments] | None = None


class Model(nn.Module, ABC):
    """A latent variable model of normalised patches, with an encoder of what was observed.

        z ~ N(0, I),    y | z ~ N(f(z), sigma^2 I),    q(z | y_O)

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, Eq. 1, 2 and 7 (the paper calls z "x").

    Attributes:
        patch: Voxels of a patch along each axis.
        weights: Draws of q weighed against each other for each draw of imputation; with 1, draws
            of q are taken as they are.
    """

    patch: tuple[int, ...]
    weights: int = 1

    @property
    @abstractmethod
    def sigma(self) -> Float[Tensor, ""]:
        """The noise level, in units of normalised intensity."""

    def fix_noise(self, sigma: float) -> None:
        """Sets the noise level, in units of normalised intensity; it is not learnt any more."""
        for part in self.children():
            if isinstance(part, NoiseLevel):
                part.fix(sigma)

    @abstractmethod
    def posterior(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Density:
        """Returns q(z | y_O), or the exact p(z | y_O), over vectors of length m."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "s b m"]) -> Float[Tensor, "s b 1 *grid"]:
        """Returns f(z)."""

    def likelihood(self, z: Float[Tensor, "s b m"]) -> Likelihood:
        """Returns p(y | z); a model may have a noise level per voxel."""
        return Likelihood(self.decode(z), self.sigma)

    def recovery(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Recovery:
        """Returns what patches are completed from; here q(z | y_O) and p(y | z)."""
        return Recovery(self.posterior(y, observed), self.likelihood)


@runtime_checkable
class ModelConfig(Protocol):
    """Settings that build a model: a frozen dataclass named `Config` in the model's file."""

    def build(self) -> Model:
        """Returns the model."""
        ...
