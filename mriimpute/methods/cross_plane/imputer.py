"""`cross-plane`: imputes a slice stack with a network that learnt inside slices.

`cross-plane-latent` is the same with a network that also knows how its errors go together.

In the planes that cross the slices, the acquired slices are lines. The network fills the space
between the lines of every such image; `planes` makes one prediction of them, and `filling` one
volume.

Axes: p = along the slice axis, x and y = inside a slice.
"""

import copy
import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from mriimpute.checkpoint import restore
from mriimpute.cohort import normalisation
from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.slices import SliceScan, acquired_slices, has_room
from mriimpute.geometry import Stack, find_stack
from mriimpute.interpolation import interpolated
from mriimpute.memory import hand_back_freed_memory
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.cross_plane.adapt import adapted
from mriimpute.methods.cross_plane.calibration import Factors, LinePredictor
from mriimpute.methods.cross_plane.companions import Help, companion_quality, helped, learnt_of
from mriimpute.methods.cross_plane.exam import Exam, on_slabs
from mriimpute.methods.cross_plane.filling import filled_slabs
from mriimpute.methods.cross_plane.latent_network import network_of
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.methods.cross_plane.placing import placed_best
from mriimpute.methods.cross_plane.planes import Steps, steps_of
from mriimpute.methods.cross_plane.predict import Fast, bfloat16_works
from mriimpute.methods.cross_plane.runs import runs_of, warn_of_unknown
from mriimpute.methods.cross_plane.weights import read_parts
from mriimpute.methods.cross_plane.work import (
    CALIBRATION,
    FUSION,
    HELP,
    fusion_seconds,
    help_seconds,
    plan_work,
    shown_share,
)
from mriimpute.methods.distance_std import std_by_distance
from mriimpute.methods.left_out import left_out_quality, pixel_step
from mriimpute.methods.noise import with_noise
from mriimpute.methods.self_calibration import (
    CALIBRATION_SLICES,
    calibration_quality,
    without_calibration_slices,
)
from mriimpute.progress import SILENT
from mriimpute.stopwatch import stage
from mriimpute.volume import Companion, Volume

__all__ = ["CrossPlane"]

log = logging.getLogger(__name__)

SCALE_DOF = 16
"""Degrees of freedom of the scale of a draw: how sure the std of a whole scan is.

90 % intervals of volumes of three tissues, by 20 draws, then hold 90 % of those on left-out slices
of 27 validation heads (44 % with a scale that is certain), and 83 % on hidden lines (31 %)."""

WIDE = 0.95
"""Share of the head that companions must have seen for two planes to be enough."""

FAR = 0.5
"""Reach of companions from which on errors go together as with them."""

Slabs = Float32[np.ndarray, "p x y"]


class CrossPlane(Imputer):
    """Fills the gaps of a slice stack; elsewhere it interpolates.

    Args:
        network: Trained.
        factors: What the std is multiplied by, per distance, for each gap that it knows.
        device: Where it computes.
        adapt: Learn from the slices of each scan before it is imputed.
        name: Of the model, as `--model` takes it.
        fast: Compute faster and less exactly: two planes of four, in bfloat16 where a CPU has it.
    """

    uses_companions = True

    def __init__(
        self,
        network: LineNetwork,
        factors: Factors,
        *,
        device: str,
        adapt: bool = False,
        name: str = "cross-plane",
        fast: bool = False,
    ) -> None:
        self.name = name
        self.adapt = adapt
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        if device != "cpu":  # the layout in which tensor cores read weights
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.factors = dict(factors)
        self.device = device
        self.fast: Fast | None = None
        if fast:
            works = device == "cpu" and bfloat16_works(self.network)
            self.fast = Fast(torch.bfloat16 if works else torch.float32)

    @classmethod
    def from_checkpoint(
        cls,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, Any],
        *,
        device: str,
        adapt: bool = False,
        fast: bool = False,
    ) -> "CrossPlane":
        """Returns the imputer of a model file, as read by `mriimpute.checkpoint.load`.

        Raises:
            CheckpointError: If the weights do not fit the network.
            ConfigError: If a setting is unknown or ill-typed.
            ValueError: If a factor does not fit its gap.
        """
        parameters, stored = read_parts(tensors)
        network = network_of(metadata["name"], metadata["model"], seed=0)
        restore(network, parameters, where="the model file")

        factors = {gap: factor.numpy() for gap, factor in stored.items()}
        for gap, factor in factors.items():
            if factor.shape != (gap - 1,):
                raise ValueError(f"factor.{gap} must have shape {(gap - 1,)}, got {factor.shape}")
        name = metadata["name"]
        return cls(network, factors, device=device, adapt=adapt, name=name, fast=fast)

    @property
    def arithmetic(self) -> str:
        """What convolutions multiply, but for images of which that is too far off."""
        if self.device != "cpu":
            return "float16"
        if self.fast is None:
            return "float32"
        return str(self.fast.kind).removeprefix("torch.")

    def hurried(self) -> "CrossPlane":
        """Returns the imputer that asks two planes of four."""
        quick = copy.copy(self)
        quick.fast = self.fast or Fast(torch.float32)
        quick.progress = SILENT
        return quick

    def placed_best(
        self, volume: Volume, placings: Sequence[Companion], *, seed: int, case: str
    ) -> int:
        """Returns which placing of a companion tells most of lines hidden in acquired slices."""
        stack, scan = find_stack(volume.observed), acquired_slices(volume, case)
        if stack is None or scan is None:
            return 0
        places, gap = _whole_slices(volume, stack), max(2, min(stack.gaps))
        return placed_best(placings, scan, places, stack.axis, gap, seed=seed, case=case)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume."""
        with stage("interpolate"):
            filled = interpolated(volume, "pchip")
        stack = find_stack(volume.observed)
        if stack is None:
            log.warning("this is no slice stack: missing voxels are interpolated")
            std = std_by_distance(volume, ~volume.observed)
            whole = Stack(2, tuple(range(volume.shape[2])))
            plain = with_noise(volume, filled, std, whole, {}, seed, case, device=self.device)
            quality = companion_quality({}, (), len(self.companions)) if self.companions else {}
            return dataclasses.replace(plain, quality=quality)

        with stage("normalise"):
            norm = normalisation(volume)
            slabs = norm.apply(np.moveaxis(filled, stack.axis, 0))
            scan = acquired_slices(volume, case)
        if scan is None:
            log.warning("no slice is without holes: the std is that of the cohort, uncorrected")
        with stage("adapt"):
            network = self._adapted(scan, stack, volume.thickness_mm, seed, case)
        general = LinePredictor.of(network, self.factors, volume.thickness_mm, self.progress)
        general = dataclasses.replace(
            general, fast=self.fast, shown=self._shown(slabs[list(stack.positions)])
        )
        warn_of_unknown(stack, general)
        gaps = {gap for gap in stack.gaps if general.knows(gap)} if scan else set()
        steps_mm, places = steps_of(volume, stack), _whole_slices(volume, stack)
        help_planned = self._plan(general, stack, slabs, steps_mm, gaps)
        with stage("calibrate"):
            measured = {gap: general.self_calibration(scan, gap) for gap in gaps} if scan else {}
            predictor = general.calibrated(measured)
        with stage("companions"):
            exam = None
            if scan and self.companions:
                others = [on_slabs(one, stack.axis) for one in self.companions]
                exam = Exam(scan, places, others, steps_mm, predictor, seed, case)
            helps = learnt_of(exam, gaps) if exam else {}
        for gap, helping in helps.items():
            log.info("gaps of %d voxels: companions gain %.2f dB", gap, helping.gain_db)
        with stage("fuse"):
            hurried = self._hurried(exam, helps)
            mean, variance, left_out = filled_slabs(
                slabs, stack, places, steps_mm, predictor, scan, hurried
            )
            if exam and helps:
                runs = runs_of(stack, predictor)
                helps = helped(mean, variance, helps, exam, runs, left_out)
                if vain := {gap for gap in hurried if not helps[gap].is_useful}:
                    quiet = dataclasses.replace(predictor, progress=SILENT)
                    mean, variance, left_out = filled_slabs(
                        slabs, stack, places, steps_mm, quiet, scan, hurried - vain
                    )
                    rest = {gap: one for gap, one in helps.items() if gap not in vain}
                    helps |= helped(mean, variance, rest, exam, runs, left_out)
            for gap, helping in helps.items():
                log.info(
                    "gaps of %d voxels: %.0f %% of what companions say on hidden lines is said "
                    "between slices",
                    gap,
                    100 * helping.reach,
                )
            if help_planned:  # what was of no use was not asked
                self.progress.plan(HELP, -help_planned)
            predicted = np.moveaxis(variance > 0, 0, stack.axis) & ~volume.observed
            filled = np.where(predicted, norm.undo(np.moveaxis(mean, 0, stack.axis)), filled)
            std = np.sqrt(np.moveaxis(variance, 0, stack.axis)) * np.float32(norm.scale)
            interpolated_std = std_by_distance(volume, ~volume.observed & ~predicted)
            std = np.where(predicted, std, interpolated_std)

        self.progress.advance(FUSION, fusion_seconds(slabs.size))
        with stage("calibrate"):
            correlations = {
                gap: one.inner.correlation() or one.errors.correlation()
                for gap, one in measured.items()
            }
            for gap, helping in helps.items():
                if not helping.is_useful or helping.reach < FAR:
                    continue
                correlations[gap] = helping.errors.correlation() or correlations.get(gap)
        known = {gap: correlation for gap, correlation in correlations.items() if correlation}
        del mean, variance, slabs
        hand_back_freed_memory()
        imputation = with_noise(
            volume,
            filled,
            std,
            stack,
            known,
            seed,
            case,
            device=self.device,
            scale_dof=SCALE_DOF,
        )
        between = _between(stack, volume.shape[stack.axis])
        inside = ~volume.observed & np.moveaxis(between, 0, stack.axis)
        share = float((inside & ~predicted).sum() / max(inside.sum(), 1))
        quality = {
            "gaps": calibration_quality(measured),
            "left_out_slices": left_out_quality(left_out),
            "interpolated_share": round(share, 4),
        }
        if self.companions:
            quality |= companion_quality(helps, stack.gaps, len(self.companions))
        return dataclasses.replace(imputation, quality=quality)

    def _hurried(self, exam: Exam | None, helps: Mapping[int, Help]) -> set[int]:
        """Returns the gaps of which companions tell so much that two planes are enough."""
        crosses = any(one.crosses for one in self.companions)
        if exam is None or not crosses or exam.seen_share < WIDE:
            return set()
        return {gap for gap, helping in helps.items() if helping.is_much}

    def _plan(
        self,
        predictor: LinePredictor,
        stack: Stack,
        slabs: Slabs,
        steps_mm: Steps,
        calibrated: Collection[int],
    ) -> float:
        """Announces the work, and returns how much of it is for companions."""
        twice = {gap for gap in calibrated if predictor.knows(2 * gap)}
        plan_work(
            self.progress,
            [gap for gap in stack.gaps if predictor.knows(gap)],
            predictor.shown * slabs[0].size,
            diagonals=not self.fast,
            hidden=CALIBRATION_SLICES if calibrated else 0,
            left_out=set() if predictor.thickness_mm else twice,
            pixel_step=pixel_step(np.linalg.norm(steps_mm[1:], axis=1).tolist()),
            device=predictor.device,
        )
        planned = 0.0
        if self.companions and calibrated:
            work = help_seconds(slabs.size, predictor.device)
            filling = len(self.companions) * work.filling
            planned = len(calibrated) * work.learning + filling + work.asking
            self.progress.plan(HELP, planned)
        self.progress.plan(FUSION, fusion_seconds(slabs.size))
        self.progress.advance(CALIBRATION)
        return planned

    def _shown(self, slices: Slabs) -> float:
        """Returns which share of the pixels of slices the network is shown."""
        reach = min(self.fast.reach, self.network.reach) if self.fast else self.network.reach
        device = torch.device(self.device)
        return shown_share(slices, foreground_level(slices.ravel()), reach, device)

    def _adapted(
        self, scan: SliceScan | None, stack: Stack, thickness_mm: float, seed: int, case: str
    ) -> LineNetwork:
        """Returns the network for one scan, which may have learnt from its slices."""
        known = LinePredictor.of(self.network, self.factors, thickness_mm)
        gaps = sorted({gap for gap in stack.gaps if known.knows(gap)})
        if not self.adapt or not gaps:
            return self.network
        rest = without_calibration_slices(scan) if scan else None
        if scan is None or rest is None or not has_room(rest):
            log.warning("too few whole slices, or too small ones, to adapt to")
            return self.network
        log.info("learning from %d of %d slices", len(rest.slices), len(scan.slices))
        network = adapted(
            self.network,
            rest,
            gaps,
            seed=seed,
            case=case,
            thick=thickness_mm > 0,
            progress=self.progress,
        )
        return network.eval().requires_grad_(requires_grad=False)


def _whole_slices(volume: Volume, stack: Stack) -> list[int]:
    """Returns where the acquired slices without holes lie."""
    observed = np.moveaxis(volume.observed, stack.axis, 0)
    return [place for place in stack.positions if observed[place].all()]


def _between(stack: Stack, length: int) -> Bool[np.ndarray, "p 1 1"]:
    """Tells which positions lie between the first and the last acquired slice."""
    places = np.arange(length)[:, None, None]
    return (places > stack.positions[0]) & (places < stack.positions[-1])
