"""How other scans of a head help `cross-plane`: what is learnt of them, and what it changes.

Lines are hidden inside acquired slices of the target, and the same lines of the companions, which
lie on its grid. What companions say is learnt on most slices; the others say how far to go (a
companion that says nothing is given no weight), and how much smaller errors then are: by that the
standard deviation shrinks, at each offset. Between slices both planes along the axes of a slice
are asked, and the mean of their answers is added.

Axes: s = slices, x and y = inside a slice, p = along the slice axis, b = images, w = pixels of a
line, t = offsets inside a gap, k = companions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numpy.typing import NDArray

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.normalisation import PERCENTILES
from mriimpute.cohort.slices import SliceScan
from mriimpute.device import on_device
from mriimpute.methods.cross_plane.calibration import INNER_MM, TINY, LinePredictor
from mriimpute.methods.cross_plane.hidden_lines import hide, pchip_between
from mriimpute.methods.cross_plane.innovation import Example, Innovations, View, fitted
from mriimpute.methods.cross_plane.planes import Steps, crossing
from mriimpute.methods.cross_plane.predict import Fast
from mriimpute.methods.cross_plane.runs import EvenRun
from mriimpute.methods.noise import ErrorSums
from mriimpute.progress import SILENT
from mriimpute.volume import Companion

__all__ = ["Help", "companion_quality", "helped", "learnt"]

Slices = Float32[np.ndarray, "s x y"]
Slabs = Float32[np.ndarray, "p x y"]

HELD_OUT = 4
"""Of so many slices one says how far to go."""

PARALLEL = 0.7
"""Cosine between the normals of slices that count as parallel."""

MOST_SLICES = 40
"""That are learnt from, or say how far to go."""


@dataclass(frozen=True, slots=True, eq=False)
class Help:
    """What companions say about gaps of one size.

    Attributes:
        network: The regression.
        shrinkage: How far to go, at each offset, in [0, 1].
        ratio: Of errors with companions to those without, at each offset, at most 1.
        errors: With companions, over the std without: how they go together.
        gain_db: On lines that nothing was learnt from, of all companions.
        each_db: Of each companion alone.
        gap: From one slice to the next, in voxels.
    """

    network: Innovations
    shrinkage: NDArray[np.float32]
    ratio: NDArray[np.float32]
    errors: ErrorSums
    gain_db: float
    each_db: tuple[float, ...]
    gap: int

    def between(
        self,
        filled: Slabs,
        others: Float32[np.ndarray, "k p x y"],
        told: Float32[np.ndarray, "k p x y"],
        head: Bool[np.ndarray, "p x y"],
    ) -> tuple[Slabs, Slabs]:
        """Returns what to add to the mean between slices, and what to multiply the std by.

        Args:
            filled: From one acquired slice to another, equally spaced ones, the gaps filled.
            others: Of the companions; NaN where they saw nothing.
            told: What is made of their acquired slices.
            head: Where the head is.
        """
        along_y = _view(_images(filled), _images(others), _images(told), self.gap)
        answers = self.network.of(along_y)
        answers += self.network.of(_turned(along_y)).transpose(2, 1, 0)
        offset = np.arange(len(filled)) % self.gap
        inner = np.concatenate([[0], self.shrinkage]).astype(np.float32)[offset]
        ratio = np.concatenate([[1], self.ratio]).astype(np.float32)[offset]
        helped = head & np.isfinite(others).any(axis=0)
        mean = 0.5 * answers.swapaxes(0, 1)
        shift = np.where(helped, inner[:, None, None] * mean, 0)
        scale = np.where(helped, ratio[:, None, None], 1)
        return shift.astype(np.float32), scale.astype(np.float32)


def learnt(
    scan: SliceScan,
    others: Sequence[Slices],
    gap: int,
    predictor: LinePredictor,
    coarse: Sequence[int],
    *,
    seed: int,
    case: str,
) -> Help | None:
    """Returns what companions say about gaps of a size; None where too little can be learnt.

    Args:
        scan: The acquired slices without holes.
        others: The same slices of companions, normalised; NaN where they saw nothing.
        gap: From one slice to the next, in voxels.
        predictor: Calibrated on the scan.
        coarse: Voxels from one acquired slice of each companion to the next, across the slices of
            the scan; 1: it has no gaps, or they run another way.
        seed: Names all random streams.
        case: Names the scan in them.
    """
    chosen = np.arange(0, len(scan.slices), max(1, -(-len(scan.slices) // MOST_SLICES)))
    judging = np.arange(len(chosen)) % HELD_OUT == HELD_OUT // 2
    if judging.sum() < 2 or (~judging).sum() < 2:
        return None
    learning = list(_examples(scan, others, chosen[~judging], gap, predictor, coarse))
    network = fitted(
        [one.example for one in learning], seed=seed, case=case, device=predictor.device
    )
    if network is None:
        return None
    held = list(_examples(scan, others, chosen[judging], gap, predictor, coarse, deep_mm=INNER_MM))
    return _judged(network, held, gap, len(others))


def helped(
    mean: Slabs,
    variance: Slabs,
    companions: Sequence[Companion],
    runs: Sequence[EvenRun],
    scan: SliceScan,
    places: Sequence[int],
    axis: int,
    steps_mm: Steps,
    predictor: LinePredictor,
    *,
    seed: int,
    case: str,
) -> dict[int, Help]:
    """Changes mean and variance by what companions say, and returns that, by size of the gap.

    Args:
        mean: Normalised, between slices as lines alone tell; is changed.
        variance: Of it; is changed.
        companions: On the grid of the scan.
        runs: Of equal gaps.
        scan: The acquired slices without holes.
        places: Where these lie.
        axis: Of the grid, across the slices.
        steps_mm: See `crossing`.
        predictor: Calibrated on the scan.
        seed: Names all random streams.
        case: Names the scan in them.
    """
    quiet = replace(predictor, progress=SILENT)
    hurried = replace(quiet, fast=predictor.fast or Fast(torch.float32), shrinkages={})
    slabs = [_normalised(companion, axis) for companion in companions]
    coarse = [_coarse(companion, steps_mm[0]) for companion in companions]
    found = {}
    for gap in sorted({run.gap for run in runs}):
        shown = [one[list(places)] for one in slabs]
        helping = learnt(scan, shown, gap, quiet, coarse, seed=seed, case=case)
        if helping is None:
            continue
        found[gap] = helping
        for run in (run for run in runs if run.gap == gap):
            part = slice(run.positions[0], run.positions[-1] + 1)
            others = np.stack([one[part] for one in slabs])
            told = np.stack([_filled(other, gap, steps_mm, hurried) for other in others])
            head = _head(mean[part], gap, scan)
            shift, scale = helping.between(mean[part], others, told, head)
            mean[part] += shift
            variance[part] *= np.square(scale)
    return found


def _filled(other: Slabs, gap: int, steps_mm: Steps, predictor: LinePredictor) -> Slabs:
    """Returns what is made of a companion's slices alone, as if it had been acquired there."""
    filled = np.nan_to_num(other)
    mean, *_ = crossing(filled[::gap], gap, steps_mm, predictor)
    between = filled[:-1].reshape(-1, gap, *filled.shape[1:])[:, 1:]
    between[...] = mean.cpu().numpy()
    return filled


def _normalised(companion: Companion, axis: int) -> Slabs:
    """Returns the intensities of a companion, mostly in [0, 1], slices first; NaN stays NaN.

    Its own extremes decide, as for a scan.
    """
    data = np.moveaxis(companion.data, axis, 0)
    seen = data[np.isfinite(data)]
    if not len(seen):
        return data
    low, high = np.percentile(seen, PERCENTILES).tolist()
    scale = high - low if high > low else 1.0
    return ((data - np.float32(low)) / np.float32(scale)).astype(np.float32)


def _coarse(companion: Companion, across_mm: Float64[np.ndarray, " 3"]) -> int:
    """Returns the voxels from one slice of a companion to the next, across the slices of a scan.

    Args:
        companion: Whose slices are nearly parallel to those; otherwise 1.
        across_mm: One voxel across the slices of the scan.
    """
    length, voxel_mm = (float(np.linalg.norm(step)) for step in (companion.step_mm, across_mm))
    along = float(abs(companion.step_mm @ across_mm)) / voxel_mm
    return max(1, round(along / voxel_mm)) if along > PARALLEL * length else 1


def _head(filled: Slabs, gap: int, scan: SliceScan) -> Bool[np.ndarray, "p x y"]:
    """Tells where the head is, holes included: between slices, where it is on their mean."""
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in filled[::gap]])
    head = np.zeros(filled.shape, bool)
    head[::gap] = depths > 0
    for offset in range(1, gap):
        head[offset::gap] = (gap - offset) * depths[:-1] + offset * depths[1:] > 0
    return head


@dataclass(frozen=True, slots=True, eq=False)
class _Hidden:
    """An example, and how uncertain its hidden lines are without companions.

    Attributes:
        example: To learn from, or to judge by.
        std: Of the hidden lines; 1 on others.
    """

    example: Example
    std: Float32[np.ndarray, "b p w"]


def _examples(
    scan: SliceScan,
    others: Sequence[Slices],
    numbers: NDArray[np.int64],
    gap: int,
    predictor: LinePredictor,
    coarse: Sequence[int],
    *,
    deep_mm: float = 0.0,
) -> Iterator[_Hidden]:
    """Yields slices with hidden lines, in both directions; none, where they are too small."""
    slices = scan.slices[numbers].astype(np.float32)
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in slices])
    whole = replace(predictor, shrinkages={})  # it is the target that these were measured on
    for turn in (False, True):
        step, across_mm = scan.steps[turn], scan.steps[turn] * scan.pixel_mm[turn]
        where = {
            "across_mm": across_mm,
            "along_mm": scan.pixel_mm[not turn],
            "directions": scan.cosines[turn] + scan.cosines[not turn],
        }

        def images(stack: NDArray[Any], turn: bool = turn, step: int = step) -> NDArray[Any]:
            turned = stack.transpose(0, 2, 1) if turn else stack
            rows = (turned[:, ::step].shape[1] - 1) // gap * gap + 1
            return turned[:, ::step][:, :rows]

        target = images(slices)
        if target.shape[1] <= gap:
            continue
        thickness = min(predictor.thickness_mm / (gap * across_mm), 1.0)
        context = np.stack([hide(one, gap, 1, thickness)[0] for one in target])
        filled, std = _told(predictor, context, gap, where, scan.foreground)
        companions = np.stack(
            [
                _coarsened(images(other[numbers]), lines, whole, where)
                for other, lines in zip(others, coarse, strict=True)
            ]
        )
        told = np.stack(
            [_told(whole, np.nan_to_num(one[:, ::gap]), gap, where)[0] for one in companions]
        )
        view = _view(filled, companions, told, gap)
        hidden = np.arange(target.shape[1])[:, None] % gap > 0
        counted = (images(depths) > deep_mm) & hidden & view.seen.any(axis=0)
        yield _Hidden(Example(view, target - filled, counted), std)


def _coarsened(
    images: Float32[np.ndarray, "b p w"],
    lines: int,
    predictor: LinePredictor,
    where: dict[str, Any],
) -> Float32[np.ndarray, "b p w"]:
    """Returns images of a companion as if all but every so-many-th line of it were imputed.

    Between the slices of the scan it is so, where its own slices are parallel to them; inside of
    them it is sharp, and what is learnt there would trust it too much.
    """
    if lines < 2 or not predictor.knows(lines) or images.shape[1] <= 2 * lines:
        return images
    made = images.copy()
    for first in range(lines):
        some = slice(first, None, lines)  # every image has its slices elsewhere
        shown = np.nan_to_num(images[some, first::lines])
        if len(shown):
            filled, _ = _told(predictor, shown, lines, where)
            made[some, first : first + filled.shape[1]] = filled
    return np.where(np.isfinite(images), made, images)


def _told(
    predictor: LinePredictor,
    context: Float32[np.ndarray, "b n w"],
    gap: int,
    where: dict[str, Any],
    air: float = -math.inf,
) -> tuple[Float32[np.ndarray, "b p w"], Float32[np.ndarray, "b p w"]]:
    """Returns what lines tell, with them, and how uncertain that is; 1 on the lines."""
    lines = on_device(context, predictor.device)
    mean, variance = (part.cpu().numpy() for part in predictor.plane(lines, gap, **where, air=air))
    pchip = pchip_between(context, gap)
    mean = pchip + predictor.shrinkage(gap)[:, None, None] * (mean - pchip)
    std = np.sqrt(np.maximum(variance, TINY))
    return _interleaved(context, mean), _interleaved(np.ones_like(context), std)


def _images(slabs: Float32[np.ndarray, "*k p x y"]) -> Float32[np.ndarray, "*k x p y"]:
    """Returns the images that lines along y make."""
    return slabs.swapaxes(-3, -2)


def _view(
    filled: Float32[np.ndarray, "b p w"],
    others: Float32[np.ndarray, "k b p w"],
    told: Float32[np.ndarray, "k b p w"],
    gap: int,
) -> View:
    context = filled[:, ::gap]
    smooth = _interleaved(context, pchip_between(context, gap))
    seen = np.isfinite(others)
    shown = np.nan_to_num(others)
    return View(filled, smooth, shown, np.where(seen, shown - told, np.float32(0)), seen, gap)


def _turned(view: View) -> View:
    """Returns the images that the pixels at one place of all lines make."""
    return View(
        view.filled.swapaxes(-3, -1),
        view.smooth.swapaxes(-3, -1),
        view.others.swapaxes(-3, -1),
        view.innovations.swapaxes(-3, -1),
        view.seen.swapaxes(-3, -1),
        view.gap,
    )


def _interleaved(
    context: Float32[np.ndarray, "b n w"], between: Float32[np.ndarray, "b t m w"]
) -> Float32[np.ndarray, "b p w"]:
    """Returns images of lines and of what lies between them."""
    images, count, width = context.shape
    gap = between.shape[1] + 1
    whole = np.empty((images, (count - 1) * gap + 1, width), np.float32)
    whole[:, ::gap] = context
    for offset in range(1, gap):
        whole[:, offset::gap] = between[:, offset - 1]
    return whole


def _judged(
    network: Innovations, held: Sequence[_Hidden], gap: int, companions: int
) -> Help | None:
    """Returns how far to go, and what is gained, on lines that nothing was learnt from."""
    judged = [_Judged.of(one, network.of(one.example.view), gap) for one in held]
    shrinkage = _shrinkage(judged)
    errors, before = ErrorSums(gap), ErrorSums(gap)
    for one in judged:
        left = one.wanted - shrinkage[:, None, None] * one.answer
        errors.add(left / one.std, one.counted)
        before.add(one.wanted / one.std, one.counted)
    if not before.fewest() or not before.deviation().all():
        return None
    ratio = (errors.deviation() / before.deviation()).clip(0, 1).astype(np.float32)
    each = [
        [_Judged.of(one, network.of(one.example.view, only=k), gap) for one in held]
        for k in range(companions)
    ]
    alone = tuple(_gain_db(one) for one in each)
    return Help(network, shrinkage, ratio, errors, _gain_db(judged), alone, gap)


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Hidden lines that nothing was learnt from, by their offset.

    Attributes:
        wanted: Innovation of the target.
        answer: What the network says of it.
        std: Without companions.
        counted: What counts.
    """

    wanted: Float32[np.ndarray, "b t m w"]
    answer: Float32[np.ndarray, "b t m w"]
    std: Float32[np.ndarray, "b t m w"]
    counted: Bool[np.ndarray, "b t m w"]

    @classmethod
    def of(cls, hidden: _Hidden, answer: Float32[np.ndarray, "b p w"], gap: int) -> "_Judged":
        example = hidden.example
        images = example.innovation, answer, hidden.std, example.counted
        # Lines 1 to gap - 1 of each gap lie between shown ones, line gap is the next of these.
        parts = (
            image[:, 1:].reshape(len(image), -1, gap, image.shape[2])[:, :, :-1].swapaxes(1, 2)
            for image in images
        )
        return cls(*parts)


def _shrinkage(judged: Sequence[_Judged]) -> NDArray[np.float32]:
    """Returns the least-squares fraction of the answers at each offset, mirrored ones alike."""
    gained, moved = (np.zeros(judged[0].wanted.shape[1]) for _ in range(2))
    for one in judged:
        step = np.where(one.counted, one.answer, np.float32(0))
        gained += np.einsum("btmw,btmw->t", step, one.wanted, dtype=np.float64)
        moved += np.einsum("btmw,btmw->t", step, step, dtype=np.float64)
    gained, moved = gained + gained[::-1], moved + moved[::-1]
    return np.clip(gained / np.maximum(moved, 1e-30), 0, 1).astype(np.float32)


def _gain_db(judged: Sequence[_Judged]) -> float:
    """Returns the gain in PSNR, shrunk."""
    fractions = _shrinkage(judged)[:, None, None]
    before = after = 0.0
    for one in judged:
        left = one.wanted - fractions * one.answer
        before += float(np.square(one.wanted[one.counted]).sum(dtype=np.float64))
        after += float(np.square(left[one.counted]).sum(dtype=np.float64))
    return 10 * math.log10(before / after) if before > 0 and after > 0 else 0.0


def companion_quality(helps: Mapping[int, Help], companions: int) -> dict[str, Any]:
    """Returns what companions gained on hidden lines, all together and each alone.

    Args:
        helps: By size of the gap; the smallest one speaks for all.
        companions: How many there are.
    """
    first = helps[min(helps)] if helps else None
    each = first.each_db if first else (0.0,) * companions
    return {
        "companions_gain_db": round(first.gain_db, 4) if first else 0.0,
        "companions": [{"gain_db": round(db, 4)} for db in each],
    }
