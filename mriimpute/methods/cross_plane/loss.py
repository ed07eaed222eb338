"""The cross-plane network: how it sees millimetres, what it minimises, what it predicts.

On lines hidden inside acquired slices, with x the hidden pixels, f the mean and sigma the spread,

    loss = sum c(f - x) / sum c(linear - x)  +  nats per pixel of  N(x; sg(f), sigma^2)

where sg stops gradients and c(e) is e^2, or sqrt(e^2 + 0.02^2), which minds large errors less
(Charbonnier et al., 1994). The first term is relative to linear interpolation, so that batches
with wide and with narrow gaps weigh the same. The second one fits the spread alone: spread and
mean have no parameter in common, see `mriimpute.methods.cross_plane.network`.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, q = conditions,
t = offsets inside an interval.
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.seeds import fixed
from mriimpute.stopwatch import stage

__all__ = [
    "Config",
    "Loss",
    "Terms",
    "build",
    "conditions",
    "cost",
    "objective",
    "offsets_of",
    "predict",
    "scale_of",
]

CONDITIONS = 4
BATCH = 8
"""Images that are predicted at once. Always so many: a result may depend on it."""

ROUND = 0.02
"""Errors that are small to the Charbonnier loss, as a share of the range of intensities."""

ALONG_MM, GAP_MM = (0.5, 2.0), (1.5, 12.0)
"""Sizes of heads. Far beyond those that it has seen a network says anything."""

SPREAD_WEIGHT = 0.1
"""Of the spread's loss. It shares no parameter with the mean: only the clipping sees both."""

Loss = Literal["squared", "charbonnier"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Size of the network.

    Attributes:
        channels: Of the trunk.
        blocks: Residual blocks of the trunk.
        hidden: Channels of the head.
    """

    channels: int = 48
    blocks: int = 8
    hidden: int = 48

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("blocks", 0), ("hidden", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The loss of a batch.

    Attributes:
        relative: Cost of the errors as a share of that of linear interpolation.
        nats: Of the hidden pixels, each, given the mean.
    """

    relative: Float[Tensor, ""]
    nats: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.relative + SPREAD_WEIGHT * self.nats


def build(config: Config, *, seed: int) -> LineNetwork:
    """Returns the network with initial parameters that depend on the seed alone."""
    with fixed(seed, "parameters"):
        return LineNetwork(
            conditions=CONDITIONS,
            channels=config.channels,
            blocks=config.blocks,
            hidden=config.hidden,
        )


def conditions(
    gap: int,
    gap_mm: Float32[np.ndarray, " b"],
    along_mm: Float32[np.ndarray, " b"],
    thickness: Float32[np.ndarray, " b"],
) -> Float32[np.ndarray, "b q"]:
    """Returns what the network is told about an image: logs of sizes, about in [-1, 1].

    The brain of a mouse is told as a small human one.

    Args:
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a share of the gap; 0: point samples.
    """
    along = np.clip(along_mm, *ALONG_MM)
    across = np.clip(gap_mm * (along / along_mm), *GAP_MM)
    count = np.full(len(gap_mm), math.log(gap / 4), np.float32)
    return np.stack([np.log(across / 6), np.log(along / 1.5), count, thickness], axis=1)


def offsets_of(gap: int, device: torch.device | str = "cpu") -> Float[Tensor, " t"]:
    """Returns where the hidden lines of an interval lie, as shares of it.

    Example:
        >>> offsets_of(4).tolist()
        [0.25, 0.5, 0.75]
    """
    return torch.arange(1, gap, device=device, dtype=torch.float32) / gap


def objective(
    network: LineNetwork,
    kept: Float[Tensor, "b n w"],
    hidden: Float[Tensor, "b t m w"],
    told: Float[Tensor, "b q"],
    *,
    loss: Loss = "squared",
    scale: Float[Tensor, ""] | None = None,
) -> Terms:
    """Returns what training minimises.

    Args:
        network: Under training.
        kept: Lines that it sees.
        hidden: Lines that it does not.
        told: The conditions.
        loss: Of the mean.
        scale: See `scale_of`; None: that of these images.
    """
    mean, log_sigma = network(kept[:, None], told, offsets_of(hidden.shape[1] + 1, kept.device))
    mean, log_sigma = mean.float(), log_sigma.float()
    scale = scale_of(kept, hidden, loss) if scale is None else scale
    miss = mean - hidden
    white = miss.detach().square() * (-2 * log_sigma).exp()
    nats = 0.5 * white + log_sigma + 0.5 * math.log(2 * math.pi)
    return Terms(cost(miss, loss).mean() / scale, nats.mean())


def scale_of(
    kept: Float[Tensor, "b n w"], hidden: Float[Tensor, "b t m w"], loss: Loss
) -> Float[Tensor, ""]:
    """Returns what errors are measured by: the mean cost of those of linear interpolation."""
    offsets = offsets_of(hidden.shape[1] + 1, kept.device)
    before, after = kept[:, None, :-1], kept[:, None, 1:]
    linear = before + offsets[:, None, None] * (after - before)
    # A floor: where lines are constant, linear interpolation misses nothing.
    return cost(linear - hidden, loss).mean() + 1e-6


def predict(
    network: LineNetwork,
    kept: Float32[np.ndarray, "b n w"],
    gap: int,
    *,
    gap_mm: float,
    along_mm: float,
    thickness: float = 0.0,
    batch: int = BATCH,
) -> tuple[Float32[np.ndarray, "b t m w"], Float32[np.ndarray, "b t m w"]]:
    """Returns the mean and the standard deviation between the lines of images.

    Args:
        network: Trained.
        kept: Finite normalised intensities.
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a share of the gap; 0: point samples.
        batch: Images at once; it may change the last bits of a result.
    """
    count, lines, width = kept.shape
    mean = np.empty((count, gap - 1, lines - 1, width), np.float32)
    std = np.empty_like(mean)
    size = np.ones(batch, np.float32)
    sizes = [size * np.float32(x) for x in (gap_mm, along_mm, thickness)]
    told = conditions(gap, *sizes)
    for start in range(0, count, batch):
        shown = np.zeros((batch, lines, width), np.float32)
        here = slice(start, min(start + batch, count))
        filled = slice(0, here.stop - here.start)
        shown[filled] = kept[here]
        with stage("network"):
            f, sigma = _predicted(network, shown, told, gap)
        mean[here], std[here] = f[filled], sigma[filled]
    return mean, std


def cost(error: Float[Tensor, "b t m w"], loss: Loss) -> Float[Tensor, "b t m w"]:
    """Returns what each error costs."""
    match loss:
        case "squared":
            return error.square()
        case "charbonnier":
            return (error.square() + ROUND**2).sqrt()
        case _ as unknown:
            assert_never(unknown)


@torch.inference_mode()
def _predicted(
    network: LineNetwork,
    batch: Float32[np.ndarray, "b n w"],
    told: Float32[np.ndarray, "b q"],
    gap: int,
) -> tuple[Float32[np.ndarray, "b t m w"], Float32[np.ndarray, "b t m w"]]:
    device = next(network.parameters()).device
    lines = torch.from_numpy(batch).to(device)[:, None]
    shown = lines.contiguous(memory_format=torch.channels_last)
    mean, log_sigma = network(shown, torch.from_numpy(told).to(device), offsets_of(gap, device))
    return mean.float().cpu().numpy(), log_sigma.exp().float().cpu().numpy()
