"""A network that fills the space between parallel lines of an image.

Its trunk works on the grid of the lines alone, which is `gap` times smaller than the image, and
only a small head is run for each missing offset between two lines:

    h = trunk(y, c)                        features of each pixel of each line
    g = joint(h_l, h_l+1)                  features of each interval
    x(t) = (1 - t) y_l + t y_l+1 + mean(g, t, c)
    sigma(t) = exp(log_sigma(g', t, c))

c are conditions of the image, such as its spacing, and t in (0, 1) is the offset. They enter by
feature-wise modulation, so one network serves every spacing. One more is not given, but measured
along the lines: how smooth the image is, see `smoothness`. The std sees the features of the trunk
and sends no gradient back to it: the mean is learnt as if there were no std.

Axes: b = batch, c = channels, n = lines, m = n - 1 intervals between them, w = pixels of a line,
q = conditions of an image, k = those and its smoothness, d = numbers that describe an offset,
t = offsets inside an interval, o = numbers for each.

References:
    Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, 2018, Eq. 2;
    Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017 (residual
    blocks without normalisation).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.layers.bounds import soft_bound
from mriimpute.methods.cross_plane.conditioning import DIRECTIONS, SIZES
from mriimpute.seeds import fixed

__all__ = [
    "Config",
    "Head",
    "LineNetwork",
    "Modulation",
    "build",
    "linear_between",
    "smoothness",
]

OFFSET_FEATURES = 4
LOG_SIGMA = (math.log(1e-3), 0.0)
"""Bounds of the log std: the range of intensities is 1."""

SMOOTHNESS_LAGS = (1, 2, 4)
"""Pixels along a line, over which differences tell how smooth an image is."""

USUAL = ((-1.7, 0.4), (-0.7, 0.2))
"""Mean and std of the logs of their ratios, over scans of heads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Size of the network.

    Attributes:
        channels: Of the trunk.
        blocks: Residual blocks of the trunk.
        hidden: Channels of the head of the mean.
        directions: It is told which way the gap and the lines run through the head.
    """

    channels: int = 48
    blocks: int = 8
    hidden: int = 48
    directions: bool = False

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("blocks", 0), ("hidden", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def conditions(self) -> int:
        """Numbers of an image that the network is told."""
        return SIZES + DIRECTIONS * self.directions


def build(config: Config, *, seed: int) -> "LineNetwork":
    """Returns the network with initial parameters that depend on the seed alone."""
    with fixed(seed, "parameters"):
        return LineNetwork(
            conditions=config.conditions,
            channels=config.channels,
            blocks=config.blocks,
            hidden=config.hidden,
        )


def linear_between(
    before: Float[Tensor, "..."], after: Float[Tensor, "..."], places: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Returns linear interpolation between neighbouring lines.

    Not `torch.lerp`, whose rounding depends on the side of the middle.

    Args:
        before: Lines before the intervals.
        after: Lines behind them.
        places: Fractions of the way, in axes that line up with those of the lines.
    """
    return before + places * (after - before)


def smoothness(lines: Float[Tensor, "b 1 n w"]) -> Float[Tensor, "b 2"]:
    """Returns how smooth images are along their lines, whatever their contrast and brightness.

    Logs of the mean squared differences of pixels one and two apart, as a fraction of that of
    pixels four apart, about in [-3, 3]. What lies between two lines of a scan that was resampled
    or denoised is another thing than between those of a sharp one.

    Args:
        lines: Finite intensities.
    """
    if lines.shape[-1] <= max(SMOOTHNESS_LAGS):
        return lines.new_zeros(len(lines), len(USUAL))
    steps = [
        (lines[..., lag:] - lines[..., :-lag]).square().mean((1, 2, 3)) for lag in SMOOTHNESS_LAGS
    ]
    # Where all is constant nothing is known: as smooth as usual.
    logs = [(step / steps[-1].clamp_min(1e-12)).clamp_min(1e-4).log() for step in steps[:-1]]
    known = [(log - mean) / std for log, (mean, std) in zip(logs, USUAL, strict=True)]
    return torch.where(steps[-1][:, None] > 1e-10, torch.stack(known, dim=1).clamp(-3, 3), 0.0)


class Modulation(nn.Module):
    """Scales and shifts channels by affine functions of the conditions; at first it does not.

    Args:
        conditions: How many there are.
        channels: Of the features.
    """

    def __init__(self, conditions: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(conditions, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, h: Float[Tensor, "*#b c n w"], conditions: Float[Tensor, "*#b q"]
    ) -> Float[Tensor, "... c n w"]:
        """Returns (1 + gamma) h + beta, in the memory layout of h."""
        gamma, beta = self.linear(conditions)[..., None, None].chunk(2, dim=-3)
        return torch.addcmul(beta, h, 1 + gamma)


class LineNetwork(nn.Module):
    """Mean and std of the pixels between lines.

    Args:
        conditions: Numbers that describe an image, besides its smoothness: of those that it is
            given, the last ones.
        channels: Of the trunk.
        blocks: Residual blocks of the trunk.
        hidden: Channels of the head of the mean; that of the std has half as many.
    """

    def __init__(self, *, conditions: int, channels: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.told = conditions
        conditions += len(USUAL)
        self.stem = nn.Conv2d(2, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(channels, conditions) for _ in range(blocks))
        self.mean = Head(channels, hidden, conditions)
        self.spread = Head(channels, hidden // 2, conditions)
        nn.init.constant_(self.spread.last.get_parameter("bias"), -3.0)

    def forward(
        self,
        lines: Float[Tensor, "b 1 n w"],
        conditions: Float[Tensor, "b q"],
        offsets: Float[Tensor, " t"],
    ) -> tuple[Float[Tensor, "b t m w"], Float[Tensor, "b t m w"]]:
        """Returns the mean and log sigma between the lines.

        Args:
            lines: Finite intensities in about [0, 1]; at least two lines.
            conditions: Of each image, about in [-1, 1].
            offsets: Where to predict, as fractions of the way from one line to the next.
        """
        return self.moments(lines, *self.features(lines, conditions), offsets)

    @property
    def reach(self) -> int:
        """Pixels, and lines, over which anything depends on anything else."""
        return 2 * len(self.blocks) + 3

    def features(
        self,
        lines: Float[Tensor, "b 1 n w"],
        conditions: Float[Tensor, "b q"],
        smooth: Float[Tensor, "b 2"] | None = None,
    ) -> tuple[Float[Tensor, "b c n w"], Float[Tensor, "b k"]]:
        """Returns what the trunk makes of the lines, and all conditions of an image.

        Args:
            lines: As for `forward`.
            conditions: As for `forward`.
            smooth: The smoothness of whole images, of which the lines are cut.
        """
        smooth = smoothness(lines) if smooth is None else smooth
        conditions = torch.cat([conditions[:, -self.told :], smooth], dim=1)
        # Convolutions pad with zeros; a channel of ones tells them from dark pixels.
        shown = torch.cat([lines, torch.ones_like(lines)], dim=1)
        h = self.stem(shown.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h, conditions)
        return h, conditions

    def means(
        self,
        lines: Float[Tensor, "b 1 n w"],
        h: Float[Tensor, "b c n w"],
        conditions: Float[Tensor, "b k"],
        offsets: Float[Tensor, " t"],
    ) -> Float[Tensor, "b t m w"]:
        """Returns the mean that `forward` does, of what `features` returns."""
        before, after = lines[:, :, :-1], lines[:, :, 1:]
        linear = linear_between(before, after, offsets[:, None, None])
        return linear + self.mean(h, conditions, offsets)[:, :, 0]

    def moments(
        self,
        lines: Float[Tensor, "b 1 n w"],
        h: Float[Tensor, "b c n w"],
        conditions: Float[Tensor, "b k"],
        offsets: Float[Tensor, " t"],
    ) -> tuple[Float[Tensor, "b t m w"], Float[Tensor, "b t m w"]]:
        """Returns what `forward` does, of what `features` returns."""
        mean = self.means(lines, h, conditions, offsets)
        log_sigma = self.spread(h.detach(), conditions, offsets)[:, :, 0]
        return mean, soft_bound(log_sigma, *LOG_SIGMA)


class _Block(nn.Module):
    """Two convolutions around a modulated ReLU, added to the input."""

    def __init__(self, channels: int, conditions: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = Modulation(conditions, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # the block starts as the identity

    def forward(
        self, x: Float[Tensor, "b c n w"], conditions: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b c n w"]:
        # In place: a pass over memory is a tenth of a convolution here.
        h = functional.relu_(self.modulation(self.first(x), conditions))
        return self.second(h).add_(x)


class Head(nn.Module):
    """Numbers for each offset inside each interval; 0, before it has learnt.

    Args:
        channels: Of the features.
        hidden: Channels of its own.
        conditions: How many there are.
        outputs: Numbers for each pixel.
    """

    def __init__(self, channels: int, hidden: int, conditions: int, *, outputs: int = 1) -> None:
        super().__init__()
        self.joint = nn.Conv2d(channels, hidden, (2, 3), padding=(0, 1))
        self.embedding = nn.Linear(conditions + OFFSET_FEATURES, 32)
        self.modulation = Modulation(32, hidden)
        self.middle = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.get_parameter("bias"))

    def forward(
        self,
        h: Float[Tensor, "b c n w"],
        conditions: Float[Tensor, "b q"],
        offsets: Float[Tensor, " t"],
    ) -> Float[Tensor, "b t o m w"]:
        """Returns the numbers at each offset."""
        images, count = len(conditions), len(offsets)
        place = _described(offsets).expand(images, -1, -1)
        where = torch.cat([conditions[:, None].expand(-1, count, -1), place], dim=2)
        embedded = functional.relu(self.embedding(where))

        # One interval serves all offsets without a copy each, and channels stay innermost: half
        # of the time of a head went into both.
        joint = self.joint(h)[:, None]
        g = functional.relu_(self.modulation(joint, embedded)).flatten(0, 1)
        g = functional.relu_(self.middle(g))
        return self.last(g).unflatten(0, (images, count))


def _described(offsets: Float[Tensor, " t"]) -> Float[Tensor, "t d"]:
    """Returns numbers by which a linear layer tells offsets apart."""
    t = offsets
    waves = (torch.sin(math.pi * t), torch.cos(2 * math.pi * t))
    return torch.stack([2 * t - 1, 4 * t * (1 - t), *waves], dim=1)
