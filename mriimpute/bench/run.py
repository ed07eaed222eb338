"""All measurements, each in a process of its own, one after the other."""

import datetime
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mriimpute.bench.baselines import deep_image_prior_cost, simpleitk_time
from mriimpute.bench.floor import copy_rate, product_rates
from mriimpute.bench.growth import Growth, Point, cohort_point, draws_point, scaled, size_point
from mriimpute.bench.layers import layer_costs, local_memory
from mriimpute.bench.methods import measurable, measure
from mriimpute.bench.pipeline import run_pipeline
from mriimpute.bench.result import Bench
from mriimpute.bench.settings import BenchConfig
from mriimpute.bench.startup import startup
from mriimpute.bench.timing import in_subprocess
from mriimpute.bench.training import DENSE, training_step
from mriimpute.errors import ConfigError, suggestion
from mriimpute.methods.registry import DEFAULT
from mriimpute.progress import Track

__all__ = ["bench"]

log = logging.getLogger(__name__)

BUSY = 0.7
"""Processes that want a core, from which on times are not those of an idle machine."""


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
        raise ConfigError(f"no model is called {unknown[0]!r}", hint=suggestion(unknown[0], known))
    tasks = [*_tasks(config, device), *_method_tasks(config, device, config.models or known)]
    tasks += _growth_tasks(config, device)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load is not None and load > BUSY:
        log.warning("other programs run here (load %.1f): times will mean little", load)
    results: dict[str, list[Any]] = {}
    for part, work in track(tasks, total=len(tasks), label="measuring"):
        results.setdefault(part, []).append(in_subprocess(work))

    return Bench(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=device,
        device_name=_name(device, machine),
        machine=machine,
        load=load,
        config=config,
        floor=(*results["product"][0], results["copy"][0]),
        pipeline=results["pipeline"][0],
        models=tuple(results["models"]),
        prior=results["prior"][0],
        simpleitk=results["simpleitk"][0],
        layers=tuple(results["layers"][0]),
        local=results["local"][0],
        dense=dict(zip(DENSE, results["dense"], strict=True)),
        startup=results["startup"][0],
        growth=tuple(_growth(results)),
    )


Task = tuple[str, Callable[[], Any]]
"""The part of the result that a measurement belongs to, and what measures."""


def _tasks(config: BenchConfig, device: str) -> Iterator[Task]:
    size, repeats = config.size, config.repeats
    yield "product", partial(product_rates, device, size=config.product, repeats=repeats)
    yield "copy", partial(copy_rate, device, megabytes=config.copy_megabytes, repeats=repeats)
    passes = {"draws": config.draws, "repeats": config.passes, "conv_repeats": repeats}
    yield "pipeline", partial(run_pipeline, size, device, **passes)
    steps = config.prior_steps
    yield "prior", partial(deep_image_prior_cost, size, device, steps=steps, repeats=repeats)
    yield "simpleitk", partial(simpleitk_time, size, repeats=repeats, budget=config.budget)
    edge, pairs = config.layer_edge, config.layer_repeats
    yield "layers", partial(layer_costs, device, edge=edge, repeats=pairs)
    yield "local", partial(local_memory, device, rows=config.layer_rows)
    for name, changes in DENSE.items():
        step = partial(training_step, name, config.scan_size, device, changes=changes)
        yield "dense", partial(step, repeats=config.dense_steps)
    yield "startup", partial(startup, device, repeats=config.starts)


def _method_tasks(config: BenchConfig, device: str, names: Sequence[str]) -> Iterator[Task]:
    for name in dict.fromkeys((DEFAULT, *names)):
        work = partial(measure, name, config.size, device, repeats=config.repeats)
        yield "models", partial(work, budget=config.budget, steps=config.steps)


def _growth_tasks(config: BenchConfig, device: str) -> Iterator[Task]:
    for fraction in config.shares:
        yield "volume", partial(size_point, scaled(config.size, fraction), device)
    small = scaled(config.size, config.draw_share)
    for count in config.draw_counts:
        yield "draws", partial(draws_point, small, device, count)
    for scans in config.scans:
        yield "cohort", partial(cohort_point, config.scan_size, scans)


UNITS = {"volume": "voxels", "draws": "draws", "cohort": "scans"}


def _growth(results: Mapping[str, Sequence[Any]]) -> Iterator[Growth]:
    whole = next(model for model in results["models"] if model.name == DEFAULT)
    last = Point(float(math.prod(whole.shape)), whole.volume.median, whole.memory)
    for name, unit in UNITS.items():
        points = [*results[name], last] if name == "volume" else results[name]
        yield Growth(name, unit, tuple(points))


def _name(device: str, machine: Mapping[str, Any]) -> str:
    if device == "cpu":
        cpu = machine.get("cpu", {})
        return f"{cpu.get('model') or 'unknown CPU'}, {cpu.get('usable_cores')} cores"
    import torch

    return str(torch.cuda.get_device_name(device))
