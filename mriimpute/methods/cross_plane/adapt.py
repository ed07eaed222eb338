"""Test-time adaptation: a trained line network learns a little more from the scan at hand.

It sees lines hidden inside the scan's own acquired slices, and nothing else of it. Those slices
that its std is measured on afterwards are left out, or it would seem surer than it is.
"""

import copy
from collections.abc import Sequence

import torch

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.hidden_lines import LineConfig, draw_lines
from mriimpute.methods.cross_plane.loss import objective
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.methods.cross_plane.work import ADAPTING
from mriimpute.optim.descent import MovingAverage
from mriimpute.progress import SILENT, Progress
from mriimpute.seeds import numpy_stream

__all__ = ["adapted"]

STEPS = 200
BATCH = 4
"""Crops per step."""

RATE = 2e-4
"""Learning rate at the first step; it falls to 0 in a straight line."""

STEP_SECONDS = 0.15
"""Of one CPU core, about."""

AVERAGE = 0.98
"""Decay per step of the moving average of the parameters, which is what is kept."""


def adapted(
    network: LineNetwork,
    scan: SliceScan,
    gaps: Sequence[int],
    *,
    seed: int,
    case: str,
    thick: bool = False,
    steps: int = STEPS,
    progress: Progress = SILENT,
) -> LineNetwork:
    """Returns a network that knows the slices of `scan`; `network` stays as it is.

    Args:
        network: Trained on others.
        scan: To learn from.
        gaps: That will be asked for, in voxels.
        seed: Names all random streams; from 0.
        case: Names the scan in random streams.
        thick: Lines are averages over slice profiles.
        steps: Of gradient descent.
        progress: Is told how far it is.
    """
    device = next(network.parameters()).device
    learning = copy.deepcopy(network).train().requires_grad_()
    average = MovingAverage(learning)
    optimiser = torch.optim.AdamW(learning.parameters(), lr=RATE, betas=(0.9, 0.99))
    low, high = (side * scan.voxel_mm for side in (min(gaps), max(gaps)))
    config = LineConfig(
        gaps=tuple(sorted(gaps)),
        gap_mm=(low, high),
        own_gap=0.0,
        thick=float(thick),
        smooth=0.0,
        extracted=0.0,
        gamma=0.1,
        contrast=0.0,
    )
    progress.plan(ADAPTING, STEP_SECONDS * steps)
    for step in range(steps):
        lines = draw_lines(
            [scan], BATCH, config=config, generator=numpy_stream(seed, "adapt", case, step)
        )
        context, target = (torch.from_numpy(x).to(device) for x in (lines.context, lines.target))
        conditions = torch.from_numpy(lines.conditions()).to(device)
        terms = objective(learning, context, target, conditions)
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimiser.step()
        average.follow(AVERAGE)
        progress.advance(ADAPTING, STEP_SECONDS)
    return average.model
