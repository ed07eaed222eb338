"""The result of a bench, and the same as plain values."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriimpute.bench.baselines import PAPER_RATIO, DeepImagePriorCost
from mriimpute.bench.floor import Rate
from mriimpute.bench.growth import Growth
from mriimpute.bench.layers import LayerCost, LocalMemory
from mriimpute.bench.methods import MethodCost
from mriimpute.bench.pipeline import Pipeline
from mriimpute.bench.settings import BenchConfig
from mriimpute.bench.startup import Startup
from mriimpute.bench.timing import Timing
from mriimpute.bench.training import Step
from mriimpute.methods.registry import DEFAULT

__all__ = ["Bench", "plain"]

BEFORE = ("read", "gunzip", "interpolate", "normalise")
"""Stages that come before the network."""

VERSION = 4
"""Of the layout of the JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Everything that was measured.

    Attributes:
        date: In UTC, ISO 8601.
        device: "cpu" or "cuda:N".
        device_name: Of the processor or the GPU.
        machine: Facts about it, plain values.
        load: Processes that waited for a core in the minute before; None where nobody tells.
        config: What was measured.
        floor: Rates of this machine.
        pipeline: The default model, from file to files.
        models: Ways of imputing.
        prior: Deep Image Prior.
        simpleitk: Seconds of a volume, resampled with B-splines.
        layers: Sparse layers beside plain ones.
        local: Memory of the locally connected one.
        dense: Steps of training of small networks, by model.
        startup: Commands that have nothing to do.
        growth: Curves.
    """

    date: str
    device: str
    device_name: str
    machine: Mapping[str, Any]
    load: float | None
    config: BenchConfig
    floor: tuple[Rate, ...]
    pipeline: Pipeline
    models: tuple[MethodCost, ...]
    prior: DeepImagePriorCost
    simpleitk: Timing
    layers: tuple[LayerCost, ...]
    local: LocalMemory
    dense: Mapping[str, Step]
    startup: Startup
    growth: tuple[Growth, ...]

    @property
    def first_voxel(self) -> float:
        """Seconds from the start of `impute` to the first voxel that it writes, at most.

        All that it does for a tiny scan, and what comes before the network for a whole head.
        """
        stages = self.pipeline.stages
        before = (stages[name].median for name in BEFORE if name in stages)
        return self.startup.tiny.median + sum(before)

    @property
    def default(self) -> MethodCost:
        """The default model in memory."""
        return next(model for model in self.models if model.name == DEFAULT)

    @property
    def planes(self) -> int:
        """Slices of a volume across the gaps, side by side: what the paper calls slices."""
        return self.prior.planes

    @property
    def prior_ratio(self) -> float:
        """How many times as long Deep Image Prior takes for a slice as the default model."""
        return self.prior.per_volume / self.default.volume.median


def plain(bench: Bench) -> dict[str, Any]:
    """Returns all of it as plain values, with what is derived: ratios first."""
    pipeline, default = bench.pipeline, bench.default
    derived = {
        "prior_per_slice_over_default": bench.prior_ratio,
        "paper_prior_per_slice_over_its_model": PAPER_RATIO,
        "network_share_of_convolution_rate": pipeline.network_fraction,
        "share_of_time_outside_network": pipeline.outside_fraction,
        "over_default": {m.name: m.volume.median / default.volume.median for m in bench.models}
        | {"simpleitk-bspline": bench.simpleitk.median / default.volume.median},
        "growth": {
            curve.name: {
                "time": dataclasses.asdict(curve.time),
                "memory": dataclasses.asdict(curve.memory),
            }
            for curve in bench.growth
        },
        "layers": {
            cost.name: {"forward": cost.forward.median, "both": cost.both.median}
            for cost in bench.layers
        },
        "first_voxel_seconds": bench.first_voxel,
        "default_seconds_per_slice": default.volume.median / bench.planes,
        "prior_seconds_per_slice": bench.prior.per_plane,
    }
    return {"layout": VERSION, "ratios": derived, **dataclasses.asdict(bench)}
