"""How other scans of a head help `cross-plane`: what is learnt of them, and what it changes.

Lines are hidden inside acquired slices of the target, and the same lines of the companions, which
lie on its grid. What companions say is learnt on most slices; the others say how far to go (a
companion that says nothing is given no weight), and how much smaller errors then are: by that the
standard deviation shrinks, at each offset. Between slices both planes along the axes of a slice
are asked, and the mean of their answers is added.

Axes: s = slices, x and y = inside a slice, p = along the slice axis, b = images, w = pixels of a
line, t = offsets inside a gap, k = companions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.base import LEAST_COMPANION_DB
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.exam import Exam
from mriimpute.methods.cross_plane.hidden_companions import (
    Hidden,
    Judged,
    Smooth,
    energy_of,
    gain_of,
    hidden_lines_of,
    shrinkage_of,
)
from mriimpute.methods.cross_plane.innovation import (
    SIDE,
    InnovationConfig,
    Innovations,
    View,
    fitted,
)
from mriimpute.methods.cross_plane.planes import Steps, straight_mean
from mriimpute.methods.cross_plane.predict import Fast
from mriimpute.methods.cross_plane.runs import EvenRun
from mriimpute.methods.cross_plane.transfer import Transfer, transfer_of, transfer_quality
from mriimpute.methods.cross_plane.work import HELP, help_seconds
from mriimpute.methods.left_out import LeftOut
from mriimpute.methods.noise import ErrorSums
from mriimpute.methods.self_calibration import INNER_MM, TINY
from mriimpute.progress import SILENT

__all__ = [
    "Help",
    "companion_quality",
    "helped",
    "learnt",
    "learnt_of",
]

Slices = Float32[np.ndarray, "s x y"]
Slabs = Float32[np.ndarray, "p x y"]

HELD_OUT = 4
"""Of so many slices one says how far to go."""

MUCH_DB = 1.0
"""Of gain on hidden lines, from which on two planes are asked instead of four."""

MOST_SLICES = 24
"""That are learnt from, or say how far to go."""


@dataclass(frozen=True, slots=True, eq=False)
class Help:
    """What companions say about gaps of one size.

    Attributes:
        network: The regression.
        shrinkage: How far to go, at each offset, in [0, 1].
        ratio: Of errors with companions to those without, at each offset, at most 1.
        energy: Mean square of the answers on hidden lines, at each offset.
        errors: With companions, over the std without: how they go together.
        gain_db: On lines that nothing was learnt from, of all companions.
        each_db: Of each companion alone.
        gap: From one slice to the next, in voxels.
        transfer: What slices that were left out say; None where too few tell.
        reach: Of what is said on hidden lines, how much is said between slices, as mean squares,
            at most 1: nothing by a companion whose slices lie where those of the scan do.
    """

    network: Innovations
    shrinkage: NDArray[np.float32]
    ratio: NDArray[np.float32]
    energy: NDArray[np.float32]
    errors: ErrorSums
    gain_db: float
    each_db: tuple[float, ...]
    gap: int
    transfer: Transfer | None = None
    reach: float = 1.0

    @property
    def is_useful(self) -> bool:
        """Whether anything is gained, and believed."""
        return self.gain_db >= LEAST_COMPANION_DB and (
            self.transfer is None or self.transfer.fraction > 0
        )

    @property
    def is_much(self) -> bool:
        """Whether so much is gained that diagonal planes are not worth their time."""
        return self.gain_db >= MUCH_DB

    def believed(self, transfer: Transfer | None) -> "Help":
        """Returns what is left of it: slices that were left out have the last word.

        With a fraction f of the answers, of the squared error that they take away f^2 is gone.
        """
        if transfer is None:
            return self
        left = 1 - transfer.fraction**2 * (1 - np.square(self.ratio))
        shrinkage = np.float32(transfer.fraction) * self.shrinkage
        return replace(self, shrinkage=shrinkage, ratio=np.sqrt(left), transfer=transfer)

    def between(
        self,
        filled: Slabs,
        others: Float32[np.ndarray, "k p x y"],
        told: Float32[np.ndarray, "k p x y"],
        depth: Float32[np.ndarray, "p x y"],
    ) -> tuple[Slabs, Slabs, float]:
        """Returns what to add to the mean between slices, and what to multiply the variance by.

        And the reach. What answers explain of the variance is their own mean square: where it is
        less than on hidden lines, less of the variance is gone. Where it is more, they were learnt
        from something else (imputed voxels of a companion, say): they are scaled down to it, and
        believed less.

        Args:
            filled: From one acquired slice to another, equally spaced ones, the gaps filled.
            others: Of the companions; NaN where they saw nothing.
            told: What is made of their acquired slices.
            depth: In the head, in mm; 0 outside.
        """
        # Lines along y make one image for each x.
        head = depth > 0
        box = _box(head)
        a, b, c = (part[..., *box].swapaxes(-3, -2) for part in (filled, others, told))
        offset = np.arange(len(filled)) % self.gap
        helped = head & np.isfinite(others).any(axis=0) & (offset > 0)[:, None, None]
        wanted = helped[:, *box].swapaxes(0, 1)
        along_y = View.of(a, b, c, self.gap)
        found = self.network.of(along_y, wanted)
        turned = self.network.of(along_y.turned(), wanted.transpose(2, 1, 0)).transpose(2, 1, 0)
        answers = np.zeros_like(filled)
        answers[:, *box] = 0.5 * (found + turned).swapaxes(0, 1)

        counted = wanted & (depth > INNER_MM)[:, *box].swapaxes(0, 1)
        squares = 0.5 * (np.square(found) + np.square(turned))
        said = [
            _mean(squares[:, offset == t], counted[:, offset == t]) for t in range(1, self.gap)
        ]
        loudness = np.array(said) / np.maximum(self.energy, TINY)
        reach, believed = np.minimum(loudness, 1), np.maximum(loudness, 1) ** -0.5
        left = 1 - reach * believed * (1 - np.square(self.ratio))

        at = offset[:, None, None]
        inner = np.concatenate([[0], believed * self.shrinkage]).astype(np.float32)[at]
        scale = np.where(helped, np.concatenate([[1], left]).astype(np.float32)[at], 1)
        shift = np.where(helped, inner * answers, 0)
        return shift.astype(np.float32), scale.astype(np.float32), float(reach.mean())


def learnt(
    scan: SliceScan,
    others: Sequence[Slices],
    gap: int,
    predictor: LinePredictor | Smooth,
    *,
    seed: int,
    case: str,
    config: InnovationConfig | None = None,
    most: int = MOST_SLICES,
) -> Help | None:
    """Returns what companions say about gaps of a size; None where too little can be learnt.

    Args:
        scan: The acquired slices without holes.
        others: The same slices of companions, normalised; NaN where they saw nothing.
        gap: From one slice to the next, in voxels.
        predictor: Calibrated on the scan.
        seed: Names all random streams.
        case: Names the scan in them.
        config: How the network is fitted; None: as usual.
        most: Slices that are looked at.
    """
    chosen = _spread(len(scan.slices), most)
    judging = np.arange(len(chosen)) % HELD_OUT == HELD_OUT // 2
    if judging.sum() < 2 or (~judging).sum() < 2:
        return None
    learning = list(hidden_lines_of(scan, others, chosen[~judging], gap, predictor))
    network = fitted(
        [one.example for one in learning],
        seed=seed,
        case=case,
        device=predictor.device,
        config=config,
    )
    if network is None:
        return None
    held = list(hidden_lines_of(scan, others, chosen[judging], gap, predictor, deep_mm=INNER_MM))
    return _judged(network, held, gap, len(others))


def learnt_of(exam: Exam, gaps: Collection[int]) -> dict[int, Help]:
    """Returns what companions say about gaps, by their size, in voxels."""
    predictor = exam.predictor
    work = help_seconds(exam.companions[0].size, predictor.device)
    quiet, shown = replace(predictor, progress=SILENT), exam.shown
    found = {}
    for gap in sorted(set(gaps)):
        if helping := learnt(exam.scan, shown, gap, quiet, seed=exam.seed, case=exam.case):
            found[gap] = helping
        predictor.progress.advance(HELP, work.learning)
    return found


def helped(
    mean: Slabs,
    variance: Slabs,
    helps: Mapping[int, Help],
    exam: Exam,
    runs: Sequence[EvenRun],
    left_out: Mapping[int, LeftOut],
) -> dict[int, Help]:
    """Changes mean and variance by what companions say, and returns how far they were believed.

    Args:
        mean: Normalised, between slices as lines alone tell; is changed.
        variance: Of it; is changed.
        helps: By size of the gap, what companions say; what is of no use changes nothing.
        exam: The scan and its companions.
        runs: Of equal gaps.
        left_out: By size of the gap, how the network does on slices that were left out.
    """
    predictor, progress = exam.predictor, exam.predictor.progress
    work = help_seconds(mean.size, predictor.device)
    spans = {run: (run.positions[-1] - run.positions[0]) for run in runs}
    hurried = replace(
        predictor, progress=SILENT, fast=predictor.fast or Fast(torch.float32), shrinkages={}
    )
    found = dict(helps)
    for gap in (gap for gap, one in helps.items() if one.is_useful):
        alike = [run for run in runs if run.gap == gap]
        if missed := left_out.get(gap):
            wide = replace(hurried, shrinkages={2 * gap: missed.shrinkage})
            found[gap] = helps[gap].believed(
                transfer_of(mean, replace(exam, predictor=wide), alike)
            )
        reaches = []
        for run in alike:
            share = spans[run] / sum(spans.values())
            part = slice(run.positions[0], run.positions[-1] + 1)
            seen = np.stack([one[part] for one in exam.companions])
            told = np.stack([_filled(other, gap, exam.steps_mm, hurried) for other in seen])
            progress.advance(HELP, share * len(seen) * work.filling)
            depth = _depth(mean[part], gap, exam.scan)
            shift, scale, reach = found[gap].between(mean[part], seen, told, depth)
            mean[part] += shift
            variance[part] *= scale
            reaches.append(reach * spans[run] / sum(spans[one] for one in alike))
            progress.advance(HELP, share * work.asking)
        found[gap] = replace(found[gap], reach=sum(reaches))
    return found


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Returns numbers of slices, all over the scan."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _filled(other: Slabs, gap: int, steps_mm: Steps, predictor: LinePredictor) -> Slabs:
    """Returns what is made of a companion's slices alone, as if it had been acquired there."""
    filled = np.nan_to_num(other)
    between = filled[:-1].reshape(-1, gap, *filled.shape[1:])[:, 1:]
    between[...] = straight_mean(filled[::gap], gap, steps_mm, predictor).cpu().numpy()
    return filled


def _box(head: Bool[np.ndarray, "p x y"]) -> tuple[slice, slice]:
    """Returns the pixels along x and y that hold the head, and what is around them."""
    box = []
    for axis in (1, 2):
        places = np.flatnonzero(head.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
        box.append(slice(max(first - SIDE, 0), last + SIDE + 1))
    return box[0], box[1]


def _depth(filled: Slabs, gap: int, scan: SliceScan) -> Float32[np.ndarray, "p x y"]:
    """Returns how deep in the head voxels lie, in mm: between slices, the mean of these."""
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in filled[::gap]])
    depth = np.zeros(filled.shape, np.float32)
    depth[::gap] = depths
    for offset in range(1, gap):
        depth[offset::gap] = ((gap - offset) * depths[:-1] + offset * depths[1:]) / gap
    return depth


def _mean(values: Float32[np.ndarray, "*n"], where: Bool[np.ndarray, "*n"]) -> float:
    """Returns the mean of some values; 0 of none."""
    return float(values[where].mean(dtype=np.float64)) if where.any() else 0.0


def _judged(
    network: Innovations, held: Sequence[Hidden], gap: int, companions: int
) -> Help | None:
    """Returns how far to go, and what is gained, on lines that nothing was learnt from."""
    judged = [Judged.by(network, one, gap) for one in held]
    shrinkage = shrinkage_of(judged)
    errors, before = ErrorSums(gap), ErrorSums(gap)
    for one in judged:
        left = one.wanted - shrinkage[:, None, None] * one.answer
        errors.add(left / one.std, one.counted)
        before.add(one.wanted / one.std, one.counted)
    if not before.fewest() or not before.deviation().all():
        return None
    ratio = (errors.deviation() / before.deviation()).clip(0, 1).astype(np.float32)
    gain_db = gain_of(judged)
    alone: tuple[float, ...] = (gain_db,)
    if companions > 1:
        each = [[Judged.by(network, one, gap, only=k) for one in held] for k in range(companions)]
        alone = tuple(gain_of(one) for one in each)
    energy = energy_of(judged)
    return Help(network, shrinkage, ratio, energy, errors, gain_db, alone, gap)


def companion_quality(
    helps: Mapping[int, Help], gaps: Sequence[int], companions: int
) -> dict[str, Any]:
    """Returns what companions gained on hidden lines, all together and each alone.

    Args:
        helps: By size of the gap; that which there is most of speaks for all.
        gaps: Between slices of the scan.
        companions: How many there are.
    """
    first = helps[max(sorted(helps), key=list(gaps).count)] if helps else None
    each = first.each_db if first else (0.0,) * companions
    return {
        "companions_gain_db": round(first.gain_db, 4) if first else 0.0,
        "companions": [{"gain_db": round(db, 4)} for db in each],
        "companions_reach": round(first.reach, 4) if first else 0.0,
        **transfer_quality(first.transfer if first else None),
    }
