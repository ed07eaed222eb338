"""What other scans of a head say of a gap beyond what its lines tell: regression of innovations.

With f what `cross-plane` makes of lines, y the target and c a companion on the same grid,

    r_c = c - f(c)    what a gap of the companion held and its lines did not tell
    r_y = y - f(y)    the same of the target: wanted

where f(c) is computed as if the companion had been acquired on the lines of the target alone. On
lines hidden inside acquired slices both are known. There E[r_y | r_c, c, f(y) ...] is learnt, by
a small network for each exam that sees `SIDE` x `SIDE` pixels, and it is asked for between the
slices. A companion that says nothing is given no weight by slices that nothing was learnt from.

Axes: b = images, p = lines of an image, shown and hidden, w = pixels of a line, k = companions,
c = channels, n = pixels to learn from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.methods.lines import interleaved, pchip_between
from mriimpute.seeds import fixed, numpy_stream

__all__ = ["SIDE", "Example", "InnovationConfig", "Innovations", "View", "fitted"]

SIDE = 5
"""Pixels that the network sees, along both axes."""

OWN, OTHER = 3, 3
"""Channels that it sees of the target, and of each companion."""

FARTHEST = 8.0
"""Standard deviations: what is farther out is shown as if it were not."""

BATCH = 8
"""Images at once, when it is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InnovationConfig:
    """How the network for an exam is fitted.

    Attributes:
        hidden: Units of each of its two layers.
        steps: Of gradient descent.
        batch: Pixels of a step.
        rate: Largest learning rate; it rises over `warm` steps, and falls to 0 along a cosine.
        warm: See `rate`.
        decay: Of the weights.
        alone: Fraction of batches that show one companion of several: each must be of use where
            the others saw nothing.
    """

    hidden: int = 64
    steps: int = 1200
    batch: int = 2048
    rate: float = 1e-2
    warm: int = 50
    decay: float = 1e-4
    alone: float = 0.1


DEFAULT = InnovationConfig()


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Images of which some lines are shown, and what is known of the hidden ones.

    Attributes:
        filled: Normalised intensities: of hidden lines what the lines tell.
        smooth: The same by interpolation.
        others: Normalised intensities of companions; 0 where they saw nothing.
        innovations: Of companions; 0 where they saw nothing.
        seen: Where they saw something.
        gap: From one shown line to the next; the first line is shown.
    """

    filled: Float32[np.ndarray, "b p w"]
    smooth: Float32[np.ndarray, "b p w"]
    others: Float32[np.ndarray, "k b p w"]
    innovations: Float32[np.ndarray, "k b p w"]
    seen: Bool[np.ndarray, "k b p w"]
    gap: int

    @classmethod
    def of(
        cls,
        filled: Float32[np.ndarray, "b p w"],
        others: Float32[np.ndarray, "k b p w"],
        told: Float32[np.ndarray, "k b p w"],
        gap: int,
    ) -> "View":
        """Returns the view of images.

        Args:
            filled: Of the target.
            others: Of companions; NaN where they saw nothing.
            told: What is made of their shown lines.
            gap: From one shown line to the next.
        """
        context = filled[:, ::gap]
        smooth = interleaved(context, pchip_between(context, gap))
        seen = np.isfinite(others)
        shown = np.nan_to_num(others)
        return cls(filled, smooth, shown, np.where(seen, shown - told, np.float32(0)), seen, gap)

    def turned(self) -> "View":
        """Returns the images that the pixels at one place of all lines make."""
        images = (self.filled, self.smooth, self.others, self.innovations, self.seen)
        filled, smooth, others, innovations, seen = (x.swapaxes(-3, -1) for x in images)
        return View(filled, smooth, others, innovations, seen, self.gap)

    def channels(self, images: slice = slice(None)) -> Float32[np.ndarray, "b c p w"]:
        """Returns what the network is shown of some images, their edges repeated around them."""
        filled = self.filled[images]
        t = (np.arange(filled.shape[1]) % self.gap / self.gap).astype(np.float32)
        place = np.broadcast_to(4 * (t * (1 - t))[:, None], filled.shape)
        each = zip(self.others, self.innovations, self.seen, strict=True)
        shown = [
            part[images].astype(np.float32, copy=False)
            for other, innovation, seen in each
            for part in (other, innovation, seen)
        ]
        edge = SIDE // 2
        whole = np.stack([filled, self.smooth[images] - filled, place, *shown], axis=1)
        return np.pad(whole, ((0, 0), (0, 0), (edge, edge), (edge, edge)), mode="edge")


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A view of which the hidden lines are known.

    Attributes:
        view: What is known without them.
        innovation: Of the target, y - f(y).
        counted: Hidden pixels to learn from, or to judge by.
    """

    view: View
    innovation: Float32[np.ndarray, "b p w"]
    counted: Bool[np.ndarray, "b p w"]


class Innovations(nn.Module):
    """Expected innovation of the target.

    Args:
        companions: How many there are.
        hidden: Units of each layer.
    """

    middle: Tensor
    spread: Tensor
    scale: Tensor

    def __init__(self, companions: int, hidden: int) -> None:
        super().__init__()
        channels = OWN + OTHER * companions
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, SIDE),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
        )
        self.last = nn.Conv2d(hidden, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.get_parameter("bias"))
        self.register_buffer("middle", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(channels, 1, 1))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, shown: Float[Tensor, "b c p w"]) -> Float[Tensor, "b p2 w2"]:
        """Returns the innovation of all pixels but those at the edge, over its scale."""
        seen = ((shown - self.middle) / self.spread).clamp_(-FARTHEST, FARTHEST)
        return self.last(self.body(seen.contiguous(memory_format=torch.channels_last)))[:, 0]

    def of_patches(self, patches: Float[Tensor, "n s c"]) -> Float[Tensor, " n"]:
        """Returns what `forward` does of the pixels in the middle of patches.

        As a product of matrices: so small a convolution is slow.

        Args:
            patches: Of `SIDE` x `SIDE` pixels, line by line.
        """
        middle, spread = self.middle.flatten(), self.spread.flatten()
        h = ((patches - middle) / spread).clamp_(-FARTHEST, FARTHEST).flatten(1)
        for layer in (self.body[0], self.body[2]):
            weight = layer.get_parameter("weight").permute(0, 2, 3, 1).flatten(1)
            h = functional.linear(h, weight, layer.get_parameter("bias")).relu_()
        return functional.linear(h, self.last.weight[:, :, 0, 0], self.last.bias)[:, 0]

    @torch.no_grad()
    def measure(self, known: Sequence["_Pixels"]) -> None:
        """Sets middle, spread and scale by the pixels that it learns from."""
        around = torch.cat([pixels.around() for pixels in known])
        spread, middle = torch.std_mean(around, dim=0, correction=0)
        self.middle.copy_(middle[:, None, None])
        self.spread.copy_(spread.where(spread > 1e-3, 1.0)[:, None, None])
        self.scale.copy_(torch.cat([pixels.wanted for pixels in known]).square().mean().sqrt())

    @torch.no_grad()
    def of(self, view: View, *, only: int | None = None) -> Float32[np.ndarray, "b p w"]:
        """Returns the expected innovation of images, in normalised intensities.

        Args:
            view: The images.
            only: A companion; the others are taken to have seen nothing.
        """
        found = np.zeros_like(view.filled)
        for start in range(0, len(found), BATCH):
            some = slice(start, start + BATCH)
            if view.seen[:, some].any():
                shown = torch.from_numpy(view.channels(some)).to(self.scale.device)
                if only is not None:
                    _hide(shown.movedim(1, -1), only)
                found[some] = (self.scale * self(shown)).cpu().numpy()
        return found


def fitted(
    examples: Sequence[Example],
    *,
    seed: int,
    case: str,
    device: str | torch.device = "cpu",
    config: InnovationConfig | None = None,
) -> Innovations | None:
    """Returns the network for an exam; None where there is nothing to learn.

    Args:
        examples: To fit to; at least one.
        seed: Names all random streams.
        case: Names the exam in them.
        device: Where it computes.
        config: How; None: `DEFAULT`.
    """
    config = config or DEFAULT
    known = [_Pixels.of(example, device) for example in examples if example.counted.any()]
    if not any(bool(one.wanted.any()) for one in known):
        return None
    companions = len(examples[0].view.others)
    with fixed(seed, "companions", case):
        network = Innovations(companions, config.hidden)
    network.to(device).measure(known)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.98)
    )
    generator = numpy_stream(seed, "companions", case)
    for step in range(config.steps):
        patches, wanted = known[step % len(known)].drawn(config.batch, generator)
        if companions > 1 and generator.random() < config.alone:
            _hide(patches, int(generator.integers(companions)))
        loss = (network.of_patches(patches) - wanted / network.scale).square().mean()
        rising = min(1.0, (step + 1) / config.warm)
        for group in optimiser.param_groups:
            group["lr"] = config.rate * rising * _cosine(step / config.steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """The pixels of an example to learn from.

    Attributes:
        shown: Channels of its images, edges repeated, one pixel after the other.
        places: Of each pixel to learn from, among these.
        wanted: Innovation of each.
        width: Pixels of a line of these images.
    """

    shown: Float32[Tensor, "m c"]
    places: Int64[Tensor, " n"]
    wanted: Float32[Tensor, " n"]
    width: int

    @classmethod
    def of(cls, example: Example, device: str | torch.device) -> "_Pixels":
        shown = example.view.channels()
        _, channels, height, width = shown.shape
        image, line, pixel = np.nonzero(example.counted)
        places = (image * height + line + SIDE // 2) * width + pixel + SIDE // 2
        return cls(
            torch.from_numpy(np.moveaxis(shown, 1, -1).reshape(-1, channels)).to(device),
            torch.from_numpy(places).to(device),
            torch.from_numpy(example.innovation[example.counted]).to(device),
            width,
        )

    def around(self) -> Float32[Tensor, "n c"]:
        """Returns what the network is shown of these pixels themselves."""
        return self.shown[self.places]

    def drawn(
        self, count: int, generator: np.random.Generator
    ) -> tuple[Float32[Tensor, "n s c"], Float32[Tensor, " n"]]:
        """Returns random pixels with what is around them, mirrored at random, and what is wanted.

        Args:
            count: How many.
            generator: Chooses.
        """
        device = self.shown.device
        chosen = torch.from_numpy(generator.integers(len(self.wanted), size=count)).to(device)
        turns = torch.from_numpy(1 - 2 * generator.integers(2, size=(2, count, 1, 1))).to(device)
        reach = torch.arange(SIDE, device=device) - SIDE // 2
        steps = turns[0] * (self.width * reach[:, None]) + turns[1] * reach
        around = self.places[chosen, None] + steps.flatten(1)
        return self.shown[around], self.wanted[chosen]


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


def _hide(shown: Float32[Tensor, "... c"], companion: int) -> None:
    """Shows pixels as if all companions but one had seen nothing there."""
    one = OWN + OTHER * companion
    shown[..., OWN:one] = 0
    shown[..., one + OTHER :] = 0
