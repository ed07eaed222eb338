"""All measurements, each in a process of its own, one after the other."""

import datetime
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from mriimpute.bench.baselines import prior, simpleitk
from mriimpute.bench.floor import copy_rate, product_rates
from mriimpute.bench.growth import Growth, Point, cohort_point, draws_point, scaled, size_point
from mriimpute.bench.layers import layer_costs, local_memory
from mriimpute.bench.methods import measurable, measured
from mriimpute.bench.pipeline import run_pipeline
from mriimpute.bench.result import Bench
from mriimpute.bench.settings import BenchConfig
from mriimpute.bench.startup import startup
from mriimpute.bench.timing import in_subprocess
from mriimpute.errors import ConfigError
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
        raise ConfigError(f"no model is called {unknown[0]!r}", hint=f"use some of {known}")
    tasks = _tasks(config, device, config.models or tuple(known))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load is not None and load > BUSY:
        log.warning("other programs run here (load %.1f): times will mean little", load)
    found: dict[str, list[Any]] = {}
    for part, work in track(tasks, total=len(tasks), label="measuring"):
        found.setdefault(part, []).append(in_subprocess(work))

    return Bench(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=device,
        device_name=_name(device, machine),
        machine=machine,
        load=load,
        config=config,
        floor=(*found["product"][0], found["copy"][0]),
        pipeline=found["pipeline"][0],
        models=tuple(found["models"]),
        prior=found["prior"][0],
        simpleitk=found["simpleitk"][0],
        layers=tuple(found["layers"][0]),
        local=found["local"][0],
        startup=found["startup"][0],
        growth=tuple(_growth(found)),
    )


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
        (
            "layers",
            partial(layer_costs, device, edge=config.layer_edge, repeats=config.layer_repeats),
        ),
        ("local", partial(local_memory, device, rows=config.layer_rows)),
        ("startup", partial(startup, device, repeats=config.starts)),
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


def _name(device: str, machine: Mapping[str, Any]) -> str:
    if device == "cpu":
        cpu = machine.get("cpu", {})
        return f"{cpu.get('model') or 'unknown CPU'}, {cpu.get('usable_cores')} cores"
    import torch

    return str(torch.cuda.get_device_name(device))
