"""What a bench found, and the same as plain values."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriimpute.bench.baselines import PAPER_RATIO, Prior
from mriimpute.bench.floor import Rate
from mriimpute.bench.growth import Growth
from mriimpute.bench.layers import LayerCost, LocalMemory
from mriimpute.bench.methods import Contender
from mriimpute.bench.pipeline import Pipeline
from mriimpute.bench.settings import BenchConfig
from mriimpute.bench.startup import Startup
from mriimpute.bench.timing import Timing
from mriimpute.methods.registry import DEFAULT

__all__ = ["Bench", "plain"]

BEFORE = ("read", "gunzip", "interpolate", "normalise")
"""Stages that come before the network."""

VERSION = 3
"""Of the layout of the JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Everything that was measured.

    Attributes:
        date: In UTC, ISO 8601.
        device: "cpu" or "cuda:N".
        device_name: Of the processor or the GPU.
        machine: Facts about it, plain values.
        load: Processes that wanted a core in the minute before; None where nobody tells.
        config: What was measured.
        floor: Rates of this machine.
        pipeline: The default model, from file to files.
        models: Ways of imputing.
        prior: Deep Image Prior.
        simpleitk: Seconds of a volume, resampled with B-splines.
        layers: Sparse layers beside plain ones.
        local: Memory of the locally connected one.
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
    models: tuple[Contender, ...]
    prior: Prior
    simpleitk: Timing
    layers: tuple[LayerCost, ...]
    local: LocalMemory
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
    def default(self) -> Contender:
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


def plain(found: Bench) -> dict[str, Any]:
    """Returns all of it as plain values, with what is derived: ratios first."""
    pipeline, default = found.pipeline, found.default
    derived = {
        "prior_per_slice_over_default": found.prior_ratio,
        "paper_prior_per_slice_over_its_model": PAPER_RATIO,
        "network_share_of_convolution_rate": pipeline.network_share,
        "share_of_time_outside_network": pipeline.outside_share,
        "over_default": {m.name: m.volume.median / default.volume.median for m in found.models}
        | {"simpleitk-bspline": found.simpleitk.median / default.volume.median},
        "growth": {
            one.name: {"time": _law(one.time), "memory": _law(one.memory)} for one in found.growth
        },
        "layers": {
            one.name: {"forward": one.forward.median, "both": one.both.median}
            for one in found.layers
        },
        "first_voxel_seconds": found.first_voxel,
        "default_seconds_per_slice": default.volume.median / found.planes,
        "prior_seconds_per_slice": found.prior.per_plane,
    }
    return {"layout": VERSION, "ratios": derived, **dataclasses.asdict(found)}


def _law(law: Any) -> dict[str, float]:
    return dataclasses.asdict(law)
