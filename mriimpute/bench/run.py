"""All measurements, each in a process of its own, one after the other."""

import dataclasses
import datetime
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mriimpute.bench._timing import Timing, apart
from mriimpute.bench.contenders import Contender, measurable, measured
from mriimpute.bench.floor import Rate, copy_rate, product_rates
from mriimpute.bench.growth import Growth, Point, cohort_point, draws_point, scaled, size_point
from mriimpute.bench.phantom import Shape
from mriimpute.bench.pipeline import Pipeline, run_pipeline
from mriimpute.bench.rivals import PAPER_RATIO, Prior, prior, simpleitk
from mriimpute.bench.scale import Scale, scale_of
from mriimpute.errors import ConfigError
from mriimpute.impute import DEFAULT
from mriimpute.progress import Track

__all__ = ["Bench", "BenchConfig", "bench", "plain"]

log = logging.getLogger(__name__)

BUSY = 0.7
"""Processes that want a core, from which on times are not those of an idle machine."""

VERSION = 1
"""Of the layout of the JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What is measured, and how long.

    Attributes:
        size: Of the imputed grid, about, in voxels.
        models: What imputes, in order; the default model is measured in any case.
        repeats: Of a measurement, at most.
        budget: Seconds after which no further repetition of a measurement begins.
        passes: Of the default model from file to files.
        draws: Written in each of them.
        steps: Of training, of each model.
        prior_steps: Of Deep Image Prior.
        product: Rows and columns of the matrices of the floor.
        copy_megabytes: Of the array whose copy is timed.
        shares: Of the voxels of the grid, in increasing order, for the growth with the volume,
            which ends with the whole grid.
        draw_counts: For the growth with draws, in increasing order.
        draw_share: Of the voxels, for that growth.
        scans: For the growth with the cohort, in increasing order.
        scan_size: Of the imputed grid of each of these.
    """

    size: Shape = (192, 176, 224)
    models: tuple[str, ...] = ()
    repeats: int = 5
    budget: float = 3.0
    passes: int = 2
    draws: int = 2
    steps: int = 5
    prior_steps: int = 10
    product: int = 2048
    copy_megabytes: int = 512
    shares: tuple[float, ...] = (0.125, 0.35)
    draw_counts: tuple[int, ...] = (1, 5, 20)
    draw_share: float = 0.125
    scans: tuple[int, ...] = (4, 8, 16)
    scan_size: Shape = (96, 88, 112)

    def __post_init__(self) -> None:
        for name in ("repeats", "passes", "steps", "prior_steps", "product", "copy_megabytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, least in (("shares", 1), ("draw_counts", 2), ("scans", 2)):
            if len(set(getattr(self, name))) < least:
                raise ValueError(
                    f"{name} must have at least {least} values, got {getattr(self, name)}"
                )

    @classmethod
    def quick(cls, models: tuple[str, ...] = ()) -> "BenchConfig":
        """Returns what takes about a minute, to see that all works: its figures mean little."""
        return cls(
            size=(48, 44, 49),
            models=models,
            repeats=2,
            budget=1.0,
            passes=1,
            draws=1,
            steps=2,
            prior_steps=3,
            product=512,
            copy_megabytes=64,
            draw_counts=(1, 4),
            draw_share=0.5,
            scans=(2, 4),
            scan_size=(36, 34, 25),
        )


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
        growth: Curves.
        scale: A cohort of thousands; None where training was not measured.
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
    growth: tuple[Growth, ...]
    scale: Scale | None

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


def bench(config: BenchConfig, device: str, *, machine: Mapping[str, Any], track: Track) -> Bench:
    """Returns all measurements.

    Args:
        config: What to measure.
        device: "cpu" or "cuda:N".
        machine: Facts about it, for the record.
        track: Shows progress.

    Raises:
        ConfigError: If a model is unknown.
        ResourceError: If a measurement was killed.
    """
    known = measurable()
    if unknown := [name for name in config.models if name not in known]:
        raise ConfigError(f"no model is called {unknown[0]!r}", hint=f"use some of {known}")
    tasks = _tasks(config, device, config.models or tuple(known))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load is not None and load > BUSY:
        log.warning("other programs run here (load %.1f): times will mean little", load)
    found: dict[str, list[Any]] = {}
    for part, work in track(tasks, total=len(tasks), label="measuring"):
        found.setdefault(part, []).append(apart(work))

    models: list[Contender] = found["models"]
    pipeline: Pipeline = found["pipeline"][0]
    step = next(model.step for model in models if model.name == DEFAULT)
    room = machine.get("memory", {}).get("total_bytes")
    return Bench(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=device,
        device_name=_name(device, machine),
        machine=machine,
        load=load,
        config=config,
        floor=(*found["product"][0], found["copy"][0]),
        pipeline=pipeline,
        models=tuple(models),
        prior=found["prior"][0],
        simpleitk=found["simpleitk"][0],
        growth=tuple(_growth(found)),
        scale=scale_of(config.size, step, pipeline.total.median, room) if step else None,
    )


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
        "default_seconds_per_slice": default.volume.median / found.planes,
        "prior_seconds_per_slice": found.prior.per_plane,
    }
    return {"layout": VERSION, "ratios": derived, **dataclasses.asdict(found)}


Task = tuple[str, Callable[[], Any]]


def _tasks(config: BenchConfig, device: str, names: Sequence[str]) -> list[Task]:
    """Returns what to measure, the name of the part first."""
    size, repeats, budget = config.size, config.repeats, config.budget
    tasks: list[Task] = [
        ("product", partial(product_rates, device, size=config.product, repeats=repeats)),
        ("copy", partial(copy_rate, device, megabytes=config.copy_megabytes, repeats=repeats)),
        (
            "pipeline",
            partial(
                run_pipeline,
                size,
                device,
                draws=config.draws,
                repeats=config.passes,
                conv_repeats=repeats,
            ),
        ),
        ("prior", partial(prior, size, device, steps=config.prior_steps, repeats=repeats)),
        ("simpleitk", partial(simpleitk, size, repeats=repeats, budget=budget)),
    ]
    for name in dict.fromkeys((DEFAULT, *names)):
        work = partial(
            measured, name, size, device, repeats=repeats, budget=budget, steps=config.steps
        )
        tasks.append(("models", work))
    return [*tasks, *_curves(config, device)]


def _curves(config: BenchConfig, device: str) -> Iterator[Task]:
    for share in config.shares:
        yield "volume", partial(size_point, scaled(config.size, share), device)
    small = scaled(config.size, config.draw_share)
    for count in config.draw_counts:
        yield "draws", partial(draws_point, small, device, count)
    for scans in config.scans:
        yield "cohort", partial(cohort_point, config.scan_size, scans)


UNITS = {"volume": "voxels", "draws": "draws", "cohort": "scans"}


def _growth(found: Mapping[str, Sequence[Any]]) -> Iterator[Growth]:
    whole = next(model for model in found["models"] if model.name == DEFAULT)
    last = Point(float(math.prod(whole.shape)), whole.volume.median, whole.memory)
    for name, unit in UNITS.items():
        points = [*found[name], last] if name == "volume" else found[name]
        yield Growth(name, unit, tuple(points))


def _law(law: Any) -> dict[str, float]:
    return dataclasses.asdict(law)


def _name(device: str, machine: Mapping[str, Any]) -> str:
    if device == "cpu":
        cpu = machine.get("cpu", {})
        return f"{cpu.get('model') or 'unknown CPU'}, {cpu.get('usable_cores')} cores"
    import torch

    return str(torch.cuda.get_device_name(device))
