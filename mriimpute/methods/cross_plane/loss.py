"""What the cross-plane network minimises.

On lines hidden inside acquired slices, with x the target pixels, f the mean and sigma the std,

    loss = sum c(f - x) / sum c(linear - x)  +  w nll per pixel of  N(x; sg(f), sigma^2)

where sg stops gradients and c(e) is e^2, or sqrt(e^2 + 0.02^2), which minds large errors less
(Charbonnier et al., 1994). The first term is relative to linear interpolation, so that batches
with wide and with narrow gaps weigh the same. The second one fits the std alone: std and mean have
no parameter in common, see `network`.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, q = conditions,
t = offsets inside an interval.
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

from jaxtyping import Float
from torch import Tensor

from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.network import LineNetwork, linear_between

__all__ = ["Loss", "Terms", "interpolation_loss", "objective", "pixel_loss"]

ROUND = 0.02
"""Errors that are small to the Charbonnier loss, as a fraction of the range of intensities."""

STD_WEIGHT = 0.1
"""Of the loss of the std. It shares no parameter with the mean: only the clipping sees both."""

Loss = Literal["squared", "charbonnier"]


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The loss of a batch.

    Attributes:
        relative: Loss of the mean as a fraction of that of linear interpolation.
        nll: Negative log-likelihood per target pixel given the mean, in nats.
    """

    relative: Float[Tensor, ""]
    nll: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.relative + STD_WEIGHT * self.nll


def objective(
    network: LineNetwork,
    context: Float[Tensor, "b n w"],
    target: Float[Tensor, "b t m w"],
    conditions: Float[Tensor, "b q"],
    *,
    loss: Loss = "squared",
    scale: Float[Tensor, ""] | None = None,
) -> Terms:
    """Returns what training minimises.

    Args:
        network: Under training.
        context: Lines that it sees.
        target: Lines that it does not see.
        conditions: Of the images.
        loss: Of the mean.
        scale: See `interpolation_loss`; None: that of these images.
    """
    places = offsets(target.shape[1] + 1, context.device)
    mean, log_sigma = network(context[:, None], conditions, places)
    mean, log_sigma = mean.float(), log_sigma.float()
    scale = interpolation_loss(context, target, loss) if scale is None else scale
    error = mean - target
    white = error.detach().square() * (-2 * log_sigma).exp()
    nll = 0.5 * white + log_sigma + 0.5 * math.log(2 * math.pi)
    return Terms(pixel_loss(error, loss).mean() / scale, nll.mean())


def interpolation_loss(
    context: Float[Tensor, "b n w"], target: Float[Tensor, "b t m w"], loss: Loss
) -> Float[Tensor, ""]:
    """Returns what errors are measured by: the mean loss of linear interpolation."""
    places = offsets(target.shape[1] + 1, context.device)
    linear = linear_between(context[:, None, :-1], context[:, None, 1:], places[:, None, None])
    # A floor: where lines are constant, linear interpolation misses nothing.
    return pixel_loss(linear - target, loss).mean() + 1e-6


def pixel_loss(error: Float[Tensor, "b t m w"], loss: Loss) -> Float[Tensor, "b t m w"]:
    """Returns c(e) above."""
    match loss:
        case "squared":
            return error.square()
        case "charbonnier":
            return (error.square() + ROUND**2).sqrt()
        case _ as unknown:
            assert_never(unknown)
