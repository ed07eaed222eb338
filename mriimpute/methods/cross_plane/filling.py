"""A whole slice stack filled: every run of equal gaps, in the order that suits the network.

Axes: p = along the slice axis, x and y = inside a slice, m = gaps of a run, t = offsets inside a
gap.
"""

import dataclasses
from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mriimpute.cohort.slices import SliceScan
from mriimpute.device import on_device
from mriimpute.geometry import Stack
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.left_out import on_left_out_slices
from mriimpute.methods.cross_plane.planes import Steps, crossing
from mriimpute.methods.cross_plane.predict import Fast
from mriimpute.methods.cross_plane.runs import EvenRun, runs_of
from mriimpute.methods.fusion import correlation
from mriimpute.methods.left_out import LeftOut
from mriimpute.stopwatch import stage

__all__ = ["filled_slabs"]

Slabs = Float32[np.ndarray, "p x y"]
OnDevice = Float32[Tensor, "p x y"]


def filled_slabs(
    slabs: Slabs,
    stack: Stack,
    whole: Collection[int],
    steps_mm: Steps,
    predictor: LinePredictor,
    scan: SliceScan | None,
    hurried: Collection[int],
) -> tuple[Slabs, Slabs, dict[int, LeftOut]]:
    """Returns means, variances (0 where nothing was predicted), and by gap how good they are.

    Slices are taken in the order that they themselves suggest: a network is not symmetric, a
    mirrored head is as good. This costs half as much as a mean over both orders, which is better
    by 0.01 dB.

    Args:
        slabs: Normalised, finite everywhere.
        stack: Where the slices lie.
        whole: Which of them have no holes.
        steps_mm: Of one voxel across slices, along x and along y.
        predictor: What sees the lines of a plane.
        scan: The slices that have no holes, if there are any.
        hurried: Gaps of which two planes are asked, not four.
    """
    half = len(slabs) // 2
    is_turned = slabs[:half].sum(dtype=np.float64) < slabs[-half:].sum(dtype=np.float64)
    if is_turned:
        last = len(slabs) - 1
        slabs, whole = slabs[::-1], {last - place for place in whole}
        positions = tuple(last - position for position in reversed(stack.positions))
        stack = dataclasses.replace(stack, positions=positions)
    runs = runs_of(stack, predictor)
    quick = dataclasses.replace(predictor, fast=predictor.fast or Fast(torch.float32))
    asked = {run.gap: quick if run.gap in hurried else predictor for run in runs}
    found = [
        crossing(slabs[list(run.positions)], run.gap, steps_mm, asked[run.gap]) for run in runs
    ]
    mean = on_device(slabs.copy(), predictor.device)
    variance = torch.zeros_like(mean)
    left_out: dict[int, LeftOut] = {}
    for gap in {run.gap for run in runs}:
        alike = [(run, f) for run, f in zip(runs, found, strict=True) if run.gap == gap]
        weights = [len(run.positions) - 1 for run, _ in alike]
        common = correlation(np.average([moments for _, (*_, moments) in alike], 0, weights))
        with stage("calibrate"):
            alone = [run for run, _ in alike]
            missed = (
                on_left_out_slices(slabs, alone, whole, steps_mm, asked[gap], scan)
                if scan
                else None
            )
        if missed:
            left_out[gap] = missed
        wider = missed.correction if missed else 1.0
        for run, (middle, independent, shared, _) in alike:
            rho, fraction = (
                on_device(values, predictor.device)[:, None, None]
                for values in (common, predictor.shrinkage(gap))
            )
            _write(mean, run, middle, fraction)
            total = wider**2 * (independent + rho * shared)
            _write(variance, run, total, torch.ones_like(fraction))
    order = slice(None, None, -1 if is_turned else 1)
    return mean.cpu().numpy()[order], variance.cpu().numpy()[order], left_out


def _write(
    slabs: OnDevice,
    run: EvenRun,
    planes: Float32[Tensor, "m t x y"],
    fraction: Float32[Tensor, "t 1 1"],
) -> None:
    """Writes what was predicted between the slices of a run into `slabs`.

    Args:
        slabs: To write into.
        run: Where.
        planes: What.
        fraction: How far to go from what is there, at each offset.
    """
    first, *_, last = run.positions
    there = slabs[first:last].unflatten(0, (-1, run.gap))[:, 1:]
    there += fraction * (planes - there)
