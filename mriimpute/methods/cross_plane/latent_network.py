"""A line network whose errors go together: a linear subspace for every neighbourhood.

A field z of independent standard normal numbers lies on the intervals between lines, a few to
each piece of `PIECE` pixels. With mean f and std sigma as in `network`, the pixels
between lines are

    x = f + s (A z + e),    A z = sum_c g_c u_c,    u_c = k_c * z_c,    z, e ~ N(0, I)
    s^2 = sigma^2 / (1 + diag(A A^T)),    diag(A A^T) = sum_c g_c^2 (k_c^2 * 1)

where k_c carries a latent number to pixels around it, of the next intervals, too, and the gains
g(t, h) say what it does to each of them. What a prior of z could learn from the lines, f and g
learn in its place. This is the subspace of Dalca et al., Eq. 13, which an image makes for itself.

As x is linear in z, moments need no draws, and by the choice of s they are those of the network
without z: E x = f and Var x = sigma^2. What z adds is how errors go together. As the std does,
gains send no gradient to the trunk.

Axes: as in `network`, and l = latent numbers of a piece, p = pieces of an interval.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.config import parse
from mriimpute.methods.cross_plane import LATENT
from mriimpute.methods.cross_plane.network import USUAL, Config, Head, LineNetwork, build
from mriimpute.seeds import fixed

__all__ = ["LatentConfig", "LatentLineNetwork", "Subspace", "build_latent", "network_of"]

PIECE = 4
"""Pixels of a line that have latent numbers of their own."""

REACH = (1, PIECE // 2)
"""Intervals, and pixels beyond its piece, that a latent number is carried to."""


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """The distribution of the pixels between lines.

    Attributes:
        mean: f above.
        log_sigma: Log of s above.
        gains: g above.
        kernel: k above.
    """

    mean: Float[Tensor, "b t m w"]
    log_sigma: Float[Tensor, "b t m w"]
    gains: Float[Tensor, "b t l m w"]
    kernel: Float[Tensor, "l 1 i j"]

    def carried(self, z: Float[Tensor, "b l m p"]) -> Float[Tensor, "b t m w"]:
        """Returns A z."""
        return (self.gains * self._upsampled(z, self.kernel)[:, None]).sum(2)

    def gathered(self, x: Float[Tensor, "b t m w"]) -> Float[Tensor, "b l m p"]:
        """Returns A^T x."""
        return self._pooled((self.gains * x[:, :, None]).sum(1), self.kernel)

    def information(self) -> Float[Tensor, "b l m p"]:
        """Returns the diagonal of A^T A."""
        return self._pooled(self.gains.square().sum(1), self.kernel.square())

    def shared(self) -> Float[Tensor, "b t m w"]:
        """Returns the diagonal of A A^T: the variance of A z."""
        _, _, latents, intervals, width = self.gains.shape
        one = self.gains.new_ones(1, latents, intervals, -(-width // PIECE))
        return (self.gains.square() * self._upsampled(one, self.kernel.square())[:, None]).sum(2)

    def _upsampled(
        self, z: Float[Tensor, "#b l m p"], kernel: Float[Tensor, "l 1 i j"]
    ) -> Float[Tensor, "#b l m w"]:
        width = self.gains.shape[-1]
        stride = (1, PIECE)
        u = functional.conv_transpose2d(z, kernel, None, stride, REACH, groups=len(kernel))
        return u[..., :width]

    def _pooled(
        self, u: Float[Tensor, "b l m w"], kernel: Float[Tensor, "l 1 i j"]
    ) -> Float[Tensor, "b l m p"]:
        whole = functional.pad(u, (0, -u.shape[-1] % PIECE))
        return functional.conv2d(whole, kernel, None, (1, PIECE), REACH, groups=len(kernel))


class LatentLineNetwork(LineNetwork):
    """A line network with a subspace of errors.

    Args:
        conditions: Numbers that describe an image, besides its smoothness.
        channels: Of the trunk.
        blocks: Residual blocks of the trunk.
        hidden: Channels of the head of the mean; the other heads have half as many.
        latents: Numbers of a piece.
    """

    def __init__(
        self, *, conditions: int, channels: int, blocks: int, hidden: int, latents: int
    ) -> None:
        super().__init__(conditions=conditions, channels=channels, blocks=blocks, hidden=hidden)
        self.gain = Head(channels, hidden // 2, conditions + len(USUAL), outputs=latents)
        # Not 0: there the evidence is flat.
        nn.init.normal_(self.gain.last.weight, std=0.02)
        self.kernel = nn.Parameter(_kernels(latents))

    def keep_moments(self) -> None:
        """Leaves mean and std as they are: how errors go together is all that is learnt."""
        self.requires_grad_(requires_grad=False)
        self.gain.requires_grad_()
        self.kernel.requires_grad_()

    def subspace(
        self,
        lines: Float[Tensor, "b 1 n w"],
        conditions: Float[Tensor, "b q"],
        offsets: Float[Tensor, " t"],
    ) -> Subspace:
        """Returns the joint distribution of the pixels between the lines.

        Args:
            lines: Finite intensities in about [0, 1]; at least two lines.
            conditions: Of each image, about in [-1, 1].
            offsets: Where to predict, as fractions of the way from one line to the next.
        """
        h, described = self.features(lines, conditions)
        mean, log_sigma = self.moments(lines, h, described, offsets)
        gains = self.gain(h.detach(), described, offsets)
        subspace = Subspace(mean.float(), log_sigma.float(), gains.float(), self.kernel)
        independent = subspace.log_sigma - 0.5 * subspace.shared().log1p()
        return dataclasses.replace(subspace, log_sigma=independent)


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentConfig(Config):
    """Size of the network.

    Attributes:
        latents: Latent numbers of four pixels of an interval.
    """

    latents: int = 8

    def __post_init__(self) -> None:
        Config.__post_init__(self)  # super() fails in a class with slots
        if self.latents < 1:
            raise ValueError(f"latents must be at least 1, got {self.latents}")


def build_latent(config: LatentConfig, *, seed: int) -> LatentLineNetwork:
    """Returns the network with initial parameters that depend on the seed alone."""
    with fixed(seed, "parameters"):
        return LatentLineNetwork(
            conditions=config.conditions,
            channels=config.channels,
            blocks=config.blocks,
            hidden=config.hidden,
            latents=config.latents,
        )


def network_of(name: str, model: Mapping[str, Any], *, seed: int) -> LineNetwork:
    """Returns the network of a model that learns from lines, with initial parameters.

    Args:
        name: Of the model, as `--model` takes it.
        model: Its settings.
        seed: Of the parameters.

    Raises:
        ConfigError: If a setting is unknown or ill-typed.
    """
    if name == LATENT:
        return build_latent(parse(LatentConfig, model, where="model"), seed=seed)
    return build(parse(Config, model, where="model"), seed=seed)


def _kernels(latents: int) -> Float[Tensor, "l 1 i j"]:
    """Returns kernels of linear interpolation, each a little different."""
    length = 2 * PIECE
    ramp = 1 - (2 * torch.arange(length) + 1 - length).abs() / length
    kernels = 0.1 * torch.randn(latents, 1, 1 + 2 * REACH[0], length)
    kernels[:, :, REACH[0]] += ramp
    return kernels
