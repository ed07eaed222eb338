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
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from mriimpute.methods.lines import interleaved, pchip_between
from mriimpute.seeds import fixed, numpy_stream

__all__ = ["QUICK", "SIDE", "Example", "InnovationConfig", "Innovations", "View", "fitted"]

SIDE = 5
"""Pixels that the network sees, along both axes."""

OWN, OTHER = 2, 2
"""Channels of the target, and of each companion, of which it sees `SIDE` x `SIDE` pixels. Of one
more each, where a pixel lies and whether a companion saw it, it sees that pixel alone."""

NEAR = -8.0, 8.0
"""Standard deviations: what is farther out is shown as if it were not."""

BATCH, PIXELS = 8, 16_384
"""Images at once, when it is asked, and pixels of these."""


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
    steps: int = 800
    batch: int = 1024
    rate: float = 1e-2
    warm: int = 50
    decay: float = 1e-4
    alone: float = 0.1


DEFAULT = InnovationConfig()

QUICK = InnovationConfig(hidden=32, steps=300)
"""To compare with another of its kind."""


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
        """Returns what the network is shown of some images, their edges repeated around them.

        First what it sees around a pixel as well, see `OWN`.
        """
        filled = self.filled[images]
        t = (np.arange(filled.shape[1]) % self.gap / self.gap).astype(np.float32)
        place = np.broadcast_to(4 * (t * (1 - t))[:, None], filled.shape)
        each = zip(self.others, self.innovations, strict=True)
        shown = [part[images] for pair in each for part in pair]
        seen = self.seen[:, images].astype(np.float32)
        edge = SIDE // 2
        whole = np.stack([filled, self.smooth[images] - filled, *shown, place, *seen], axis=1)
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
    """Expected innovation of the target at single pixels.

    As products of matrices: so small a convolution is slow, and air needs none.

    Args:
        companions: How many there are.
        hidden: Units of each layer.
    """

    middle: Tensor
    spread: Tensor
    scale: Tensor

    def __init__(self, companions: int, hidden: int) -> None:
        super().__init__()
        wide = OWN + OTHER * companions
        self.around = nn.Linear(SIDE * SIDE * wide, hidden)
        self.here = nn.Linear(1 + companions, hidden, bias=False)
        self.deep = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("middle", torch.zeros(wide + 1 + companions))
        self.register_buffer("spread", torch.ones(wide + 1 + companions))
        self.register_buffer("scale", torch.ones(()))

    def forward(
        self, around: Float[Tensor, "n s c"], here: Float[Tensor, "n c2"]
    ) -> Float[Tensor, " n"]:
        """Returns the innovation of pixels, over its scale.

        Args:
            around: Standardised, `SIDE` x `SIDE` pixels, line by line.
            here: Standardised, what is not looked at around them.
        """
        h = (self.around(around.flatten(1)) + self.here(here)).relu_()
        return self.last(self.deep(h).relu_())[:, 0]

    @torch.no_grad()
    def measure(self, known: Sequence["_Pixels"], wanted: Sequence[Tensor]) -> None:
        """Sets middle, spread and scale by the pixels that it learns from."""
        shown = torch.cat([pixels.middles() for pixels in known])
        spread, middle = torch.std_mean(shown, dim=0, correction=0)
        self.middle.copy_(middle)
        self.spread.copy_(spread.where(spread > 1e-3, 1.0))
        self.scale.copy_(torch.cat(list(wanted)).square().mean().sqrt())

    def standardised(self, pixels: "_Pixels") -> "_Pixels":
        """Returns pixels as `forward` takes them."""
        wide = pixels.shown.shape[1]
        shown = ((pixels.shown - self.middle[:wide]) / self.spread[:wide]).clamp_(*NEAR)
        here = ((pixels.here - self.middle[wide:]) / self.spread[wide:]).clamp_(*NEAR)
        return replace(pixels, shown=shown, here=here)

    def hide(
        self, around: Float32[Tensor, "n s c"], here: Float32[Tensor, "n c2"], one: int
    ) -> None:
        """Shows pixels as if all companions but one had seen nothing there."""
        nothing = (-self.middle / self.spread).clamp(*NEAR)
        wide, first = around.shape[2], OWN + OTHER * one
        others = [n for n in range(OWN, wide) if not first <= n < first + OTHER]
        around[..., others] = nothing[others]
        unseen = [1 + n for n in range(here.shape[1] - 1) if n != one]
        here[:, unseen] = nothing[wide:][unseen]

    @torch.no_grad()
    def of(
        self, view: View, where: Bool[np.ndarray, "b p w"], *, only: int | None = None
    ) -> Float32[np.ndarray, "b p w"]:
        """Returns the expected innovation of pixels, in normalised intensities; 0 elsewhere.

        Args:
            view: The images.
            where: The pixels.
            only: A companion; the others are taken to have seen nothing.
        """
        found = np.zeros_like(view.filled)
        for start in range(0, len(found), BATCH):
            some = slice(start, start + BATCH)
            if not where[some].any():
                continue
            pixels = self.standardised(_Pixels.of(view, where[some], self.scale.device, some))
            parts = []
            for chosen in torch.arange(len(pixels.places)).split(PIXELS):
                around, here = pixels.around(chosen), pixels.here[chosen]
                if only is not None:
                    self.hide(around, here, only)
                parts.append(self(around, here))
            found[some][where[some]] = (self.scale * torch.cat(parts)).cpu().numpy()
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
    some = [one for one in examples if one.counted.any()]
    wanted = [torch.from_numpy(one.innovation[one.counted]).to(device) for one in some]
    if not any(bool(one.any()) for one in wanted):
        return None
    known = [_Pixels.of(one.view, one.counted, device) for one in some]
    companions = len(examples[0].view.others)
    with fixed(seed, "companions", case):
        network = Innovations(companions, config.hidden)
    network.to(device).measure(known, wanted)
    known = [network.standardised(pixels) for pixels in known]
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.98)
    )
    generator = numpy_stream(seed, "companions", case)
    for step in range(config.steps):
        pixels, target = known[step % len(known)], wanted[step % len(known)]
        chosen = torch.from_numpy(generator.integers(len(target), size=config.batch)).to(device)
        mirrored = tuple(axis for axis in (1, 2) if generator.random() < 0.5)
        around, here = pixels.around(chosen, mirrored), pixels.here[chosen]
        if companions > 1 and generator.random() < config.alone:
            network.hide(around, here, int(generator.integers(companions)))
        loss = (network(around, here) - target[chosen] / network.scale).square().mean()
        rising = min(1.0, (step + 1) / config.warm)
        for group in optimiser.param_groups:
            group["lr"] = config.rate * rising * _cosine(step / config.steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """Pixels of images, and what is around them.

    Attributes:
        shown: Channels of the images of which surroundings count, edges repeated, one pixel after
            the other.
        here: The other channels, of each of the pixels.
        places: Of these, in `shown`.
        width: Pixels of a line of the images.
    """

    shown: Float32[Tensor, "m c"]
    here: Float32[Tensor, "n c2"]
    places: Int64[Tensor, " n"]
    width: int

    @classmethod
    def of(
        cls,
        view: View,
        where: Bool[np.ndarray, "b p w"],
        device: str | torch.device,
        images: slice = slice(None),
    ) -> "_Pixels":
        """Returns pixels of some images of a view.

        Args:
            view: All images.
            where: The pixels, of `images` alone.
            device: Where they are looked at.
            images: Some of them.
        """
        shown = view.channels(images)
        wide = OWN + OTHER * len(view.others)
        height, width = shown.shape[2:]
        image, line, pixel = np.nonzero(where)
        places = (image * height + line + SIDE // 2) * width + pixel + SIDE // 2
        flat = np.moveaxis(shown, 1, -1).reshape(-1, shown.shape[1])
        return cls(
            torch.from_numpy(np.ascontiguousarray(flat[:, :wide])).to(device),
            torch.from_numpy(flat[places, wide:]).to(device),
            torch.from_numpy(places).to(device),
            width,
        )

    def middles(self) -> Float32[Tensor, "n c"]:
        """Returns all channels of the pixels themselves."""
        return torch.cat([self.shown[self.places], self.here], 1)

    def around(
        self, chosen: Int64[Tensor, " n"], mirrored: tuple[int, ...] = ()
    ) -> Float32[Tensor, "n s c"]:
        """Returns what is around some of the pixels.

        Args:
            chosen: Numbers of the pixels.
            mirrored: Axes along which it is mirrored: 1, 2.
        """
        # Pixels of a line follow each other: those around a pixel are `SIDE` pieces of memory.
        channels = self.shown.shape[1]
        size = len(self.shown) - SIDE + 1, SIDE * channels
        pieces = self.shown.as_strided(size, (channels, 1))
        reach = torch.arange(SIDE, device=self.shown.device) - SIDE // 2
        first = self.places[chosen, None] + self.width * reach - SIDE // 2
        return pieces[first].unflatten(2, (SIDE, channels)).flip(mirrored).flatten(1, 2)


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))
