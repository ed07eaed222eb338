"""Deep Image Prior: a decoder fitted to one image, whose shape is all that it knows beforehand.

    theta* = argmin_theta |g_theta(z)_O - y_O|^2 for a fixed random z,    x = g_theta*(z)

The decoder is that of our convolutional auto-encoders but for the ReLU behind its expansion. Two
remedies against fitting the noise, both of Ulyanov et al.: z is jittered at every step, and
outputs are averaged along the way. A third one is optional: some observed entries are held out, at
random or as the caller says, and the average that predicts them best is returned. None of them
ever looks at an unobserved entry.

Axes: grid = voxels of an image, two or three axes; coarse = 2^levels times coarser.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    sections 3.5.3 and 4.5 (same decoder, 1000 iterations).
    Ulyanov et al., Deep Image Prior, 2018.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.errors import TrainingError
from mriimpute.layers.axes import conv_layer
from mriimpute.layers.blocks import WIDEST, Decoder, coarse_grid, level_widths
from mriimpute.seeds import fixed, stream

__all__ = ["HOPELESS", "PriorConfig", "Restored", "deep_image_prior"]

HOPELESS = 0.6
"""Share of what varies in held-out entries from which on a decoder explains little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """Settings of a Deep Image Prior.

    Attributes:
        steps: Of the optimiser, at most.
        rate: Learning rate of Adam.
        jitter: Standard deviation of what is added to z at every step, in units of z.
        average: Weight that the moving average of outputs gives to its past; 0 for the last one.
        hold_out: Share of the observed entries that decide when to stop; 0 for all steps.
        patience: Steps without a better prediction of them before stopping.
        least: Steps before which nothing is decided. A decoder that explains little of what varies
            in them by then is stopped: those of few channels can die early. 0: never.
        levels: Residual blocks, each after an upsampling by two.
        channels: Features of the finest level; each coarser one has twice as many.
        widest: Where this doubling ends.
        latents: Of z, per voxel of the coarsest grid.
    """

    steps: int = 1000
    rate: float = 3e-3
    jitter: float = 0.03
    average: float = 0.99
    hold_out: float = 0.0
    patience: int = 200
    least: int = 0
    levels: int = 5
    channels: int = 16
    widest: int = WIDEST
    latents: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "patience", "levels", "channels", "latents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("average", "hold_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.least < 0:
            raise ValueError(f"least must be at least 0, got {self.least}")


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """What a Deep Image Prior made of an image.

    Attributes:
        image: The averaged output, in observed entries, too.
        losses: Mean squared error of the entries fitted to, before each step.
        held_out_losses: That of the average on the entries held out; empty if there are none.
        stopped_at: After how many steps the average was taken.
        missed: Share of what varies in the entries held out that it does not explain; 0, if none
            are.
        seconds: How long it took.
    """

    image: Float[Tensor, "1 1 *grid"]
    losses: list[float]
    held_out_losses: list[float]
    stopped_at: int
    missed: float
    seconds: float


def deep_image_prior(
    y: Float[Tensor, "1 1 *grid"],
    observed: Bool[Tensor, "1 1 *grid"],
    *,
    config: PriorConfig,
    seed: int,
    held_out: Bool[Tensor, "1 1 *grid"] | None = None,
) -> Restored:
    """Returns an image restored from its observed entries alone.

    Args:
        y: Unobserved entries may be NaN. A grid that does not divide by 2^levels is padded.
        observed: Which entries to fit to.
        config: Steps, rate and when to stop.
        seed: Of the parameters, z, its jitter and what is held out.
        held_out: Which entries decide when to stop; those that are not observed do not count.
            None: `hold_out` of the observed ones, at random.

    Raises:
        TrainingError: If the loss is not finite.
    """
    start = time.perf_counter()
    grid = y.shape[2:]
    y, observed = _padded(y, 2**config.levels), _padded(observed, 2**config.levels)
    with fixed(seed, "deep-image-prior", "parameters"):
        network = _decoder(len(grid), config).to(y)
    if held_out is None:
        fitted, held_out = _split(observed, config.hold_out, seed)
    else:
        held_out = observed & _padded(held_out, 2**config.levels)
        fitted = observed & ~held_out

    race = _Race(config, y, held_out)
    losses, total = [], torch.zeros_like(y)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.rate, fused=True)
    for step, z in enumerate(_inputs(y, config, seed), 1):
        output = network(z)
        loss = _mean_square(output, y, fitted)
        losses.append(_finite(loss, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

        total = config.average * total + (1 - config.average) * output.detach()
        if race.ends(total / (1 - config.average**step), step):
            break

    image = _cropped(race.best, grid)
    took = time.perf_counter() - start
    return Restored(image, losses, race.losses, race.step, race.missed, took)


class _Race:
    """Keeps the average that predicts the held-out entries best; without any, the last one."""

    def __init__(
        self,
        config: PriorConfig,
        y: Float[Tensor, "1 1 *grid"],
        held_out: Bool[Tensor, "1 1 *grid"],
    ) -> None:
        self.config, self.y, self.held_out = config, y, held_out
        self.decides = bool(held_out.any())
        self.varies = float(y[held_out].var(correction=0)) if self.decides else 0.0
        self.losses: list[float] = []
        self.lowest = math.inf
        self.step = 0
        self.best = y

    def ends(self, image: Float[Tensor, "1 1 *grid"], step: int) -> bool:
        """Enters an average; tells whether the best one was found too long ago."""
        if self.decides:
            self.losses.append(_mean_square(image, self.y, self.held_out).item())
        if not self.decides or self.losses[-1] < self.lowest:
            self.step, self.best = step, image
            self.lowest = self.losses[-1] if self.decides else math.inf
        if step < self.config.least:
            return False
        hopeless = self.config.least > 0 and self.missed > HOPELESS
        return hopeless or step - self.step >= self.config.patience

    @property
    def missed(self) -> float:
        """Share of what varies in the held-out entries that the best average does not explain."""
        return self.lowest / max(self.varies, 1e-12) if self.decides else 0.0


def _decoder(axes: int, config: PriorConfig) -> nn.Module:
    widths = level_widths(config.channels, config.levels, widest=config.widest)
    expand = conv_layer(axes, config.latents, widths[-1], 1)
    return nn.Sequential(expand, Decoder(axes, widths[-1], widths))


def _inputs(
    y: Float[Tensor, "1 1 *grid"], config: PriorConfig, seed: int
) -> Iterator[Float[Tensor, "1 c *coarse"]]:
    """Yields the same z ~ N(0, I) at every step, jittered."""
    # On the CPU, whatever the device: the image must not depend on where it was made.
    shape = (1, config.latents, *coarse_grid(tuple(y.shape[2:]), config.levels))
    z = torch.randn(shape, generator=stream(seed, "deep-image-prior", "z"))
    generator = stream(seed, "deep-image-prior", "jitter")
    # Features follow the layout of their input, and on a CPU are faster with channels last.
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    for _ in range(config.steps):
        noisy = z + config.jitter * torch.randn(shape, generator=generator)
        yield noisy.to(y).contiguous(memory_format=layout)


def _split(
    observed: Bool[Tensor, "1 1 *grid"], fraction: float, seed: int
) -> tuple[Bool[Tensor, "1 1 *grid"], Bool[Tensor, "1 1 *grid"]]:
    """Returns the entries to fit to, and those held out."""
    generator = stream(seed, "deep-image-prior", "hold-out")
    chosen = torch.rand(observed.shape, generator=generator).to(observed.device) < fraction
    return observed & ~chosen, observed & chosen


def _padded(x: Tensor, edge: int) -> Tensor:
    """Returns a grid whose sizes divide by `edge`; what is added is not observed."""
    missing = [-size % edge for size in reversed(x.shape[2:])]
    return functional.pad(x, [side for size in missing for side in (0, size)])


def _cropped(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    for axis, size in enumerate(grid, 2):
        x = x.narrow(axis, 0, size)
    return x.contiguous()


def _mean_square(
    x: Float[Tensor, "1 1 *grid"], y: Float[Tensor, "1 1 *grid"], chosen: Bool[Tensor, "1 1 *grid"]
) -> Float[Tensor, ""]:
    # Gated before squaring: the gradient of a square is a product, and 0 * NaN is NaN.
    return torch.where(chosen, x - y, 0.0).square().sum() / chosen.sum().clamp_min(1)


def _finite(loss: Float[Tensor, ""], step: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss of the deep image prior is {value} at step {step}",
            "lower its rate, and check that observed entries are finite",
        )
    return value
