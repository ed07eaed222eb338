"""What a bench measured, as tables of text and as one plot.

Ratios of times measured in one run on one machine come first: they hold elsewhere, more or less.
Seconds hold for the machine and the day that stand above them.
"""

import math
from pathlib import Path
from typing import Any

from mriimpute.bench import Bench
from mriimpute.bench.contenders import Contender
from mriimpute.bench.floor import Rate
from mriimpute.bench.growth import PowerLaw
from mriimpute.bench.pipeline import FILES
from mriimpute.bench.rivals import PAPER_RATIO
from mriimpute.bench.training import Step
from mriimpute.files import atomic
from mriimpute.memory import sized
from mriimpute.report._looks import COLOURS
from mriimpute.report.table import Table

__all__ = ["bench_tables", "write_bench_figure"]

DPI = 150

LEAST_NETWORK, MOST_OUTSIDE = 0.7, 0.1
"""What the default model is to reach on a CPU."""


def bench_tables(found: Bench) -> list[Table]:
    """Returns ratios, models, stages, growth, the floor, and a cohort, if there is one."""
    tables = [_ratios(found), _models(found), _stages(found), _growth(found), _floor(found)]
    return [*tables, _scale(found)] if found.scale else tables


def write_bench_figure(path: Path, found: Bench) -> None:
    """Writes stages as bars and growth as curves, in one PNG, atomically."""
    figure = _draw(found)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": "mriimpute"})


def _ratios(found: Bench) -> Table:
    pipeline, default = found.pipeline, found.default
    i, j, k = found.default.shape
    paper = f"paper: {PAPER_RATIO:,.0f}"
    rows = [
        [
            f"Deep Image Prior / {default.name}, per slice",
            f"{found.prior_ratio:,.0f}",
            f"{found.prior.steps} steps computed from {found.config.prior_steps}; {paper}",
        ],
        [
            f"SimpleITK B-spline / {default.name}",
            _ratio(found.simpleitk.median / default.volume.median),
            "",
        ],
        [
            "network / its convolutions in isolation",
            f"{pipeline.network_share:.0%}",
            f"wanted on a CPU: at least {LEAST_NETWORK:.0%}",
        ],
        [
            "time outside the network, without files and draws",
            f"{pipeline.outside_share:.0%}",
            f"wanted on a CPU: at most {MOST_OUTSIDE:.0%}",
        ],
        [
            "its convolutions in isolation / large matrix product",
            f"{pipeline.convolutions.per_second / found.floor[0].per_second:.0%}",
            "float32",
        ],
    ]
    return Table(["ratio", "measured", ""], rows, f"Ratios, {i} x {j} x {k} voxels")


def _models(found: Bench) -> Table:
    own = found.default.volume.median
    rows = [_model_row(model, own, found.planes) for model in found.models]
    itk = found.simpleitk
    bare = ["none", _ratio(itk.median / own), _seconds(itk.median), _range(itk.low, itk.high)]
    rows.append(["SimpleITK B-spline", *bare, _seconds(itk.median / found.planes), *["-"] * 4])
    prior = found.prior
    fitted = ["none", _ratio(prior.per_volume / own), _seconds(prior.per_volume)]
    spread = _range(prior.step.low * prior.steps * prior.planes,
                    prior.step.high * prior.steps * prior.planes)  # fmt: skip
    rows.append(["Deep Image Prior *", *fitted, spread, _seconds(prior.per_plane), *["-"] * 4])
    headers = [
        "model",
        "weights",
        "time ratio",
        "s/volume",
        "quartiles",
        "s/slice",
        "s/draw",
        "s/training step",
        "of it data",
        "peak memory",
    ]
    where = f"{found.device_name}, {found.date[:10]}"
    note = "*: computed from fewer steps or a smaller volume; random: untrained, same arithmetic"
    return Table(headers, rows, f"Seconds on {where} only ({note})")


def _model_row(model: Contender, own: float, planes: int) -> list[str]:
    volume = model.volume
    memory = model.memory.gpu_peak or model.memory.peak
    return [
        f"{model.name} *" if model.is_computed else model.name,
        model.weights,
        _ratio(volume.median / own),
        _seconds(volume.median),
        _range(volume.low, volume.high),
        _seconds(volume.median / planes),
        _seconds(model.draw.median) if model.draw else "-",
        *_step(model.step),
        sized(memory),
    ]


def _step(step: Step | None) -> tuple[str, str]:
    if step is None:
        return "-", "-"
    return _seconds(step.seconds), f"{step.data.median / step.seconds:.0%}"


def _stages(found: Bench) -> Table:
    pipeline = found.pipeline
    total = sum(timing.median for timing in pipeline.stages.values())
    rows = [
        [
            name,
            f"{timing.median / total:.1%}",
            _seconds(timing.median),
            _range(timing.low, timing.high),
            "file" if name in FILES else "",
        ]
        for name, timing in sorted(pipeline.stages.items(), key=lambda item: -item[1].median)
    ]
    held = sized(pipeline.memory.gpu_peak or pipeline.memory.peak)
    title = (
        f"{found.default.name} from file to files, {pipeline.draws} draws: "
        f"{_seconds(pipeline.total.median)} s, peak memory {held}"
    )
    return Table(["stage", "share", "s", "quartiles", ""], rows, title)


def _growth(found: Bench) -> Table:
    rows = []
    for curve in found.growth:
        first, last = curve.points[0], curve.points[-1]
        rows.append(
            [
                curve.name,
                f"{first.size:,.0f} to {last.size:,.0f} {curve.unit}",
                _law(curve.time),
                _law(curve.memory),
                _seconds(last.seconds),
                sized(int(curve.held(last))),
            ]
        )
    headers = ["grows with", "from", "time ~ size^", "memory ~ size^", "s at the end", "memory"]
    title = "Growth: exponents by least squares of logarithms, with their standard errors"
    return Table(headers, rows, title)


def _floor(found: Bench) -> Table:
    rows = [[r.name, _rate(r), _range(r.timing.low, r.timing.high)] for r in found.floor]
    conv = found.pipeline.convolutions
    name = f"convolutions of {found.default.name}, {conv.shapes} shapes"
    rows.append([name, f"{conv.per_second / 1e9:,.1f} GFLOP/s", _range(conv.low, conv.high)])
    return Table(["floor", "rate", "s, quartiles"], rows, "What this machine can do")


def _scale(found: Bench) -> Table:
    scale = found.scale
    if scale is None:
        raise ValueError("there is no cohort")
    i, j, k = scale.shape
    rows = [
        ["acquired slices on disk, 16 bits, before gzip", sized(scale.disk_bytes)],
        ["held in memory for training", sized(scale.memory_bytes)],
        ["steps of an epoch", f"{scale.steps:,}"],
        *(
            [f"minutes of an epoch on {n} of this device", f"{minutes:,.1f}"]
            for n, minutes in scale.minutes.items()
        ),
        *(
            [f"hours to impute all, {found.pipeline.draws} draws, on {n}", f"{hours:,.1f}"]
            for n, hours in scale.impute_hours.items()
        ),
        ["bends first", scale.bends],
    ]
    title = f"Computed, not measured: {scale.scans:,} scans of {i} x {j} x {k} voxels"
    return Table(["", ""], rows, title)


def _draw(found: Bench) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(12, 7), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(f"mriimpute bench: {found.device_name}, {found.date[:10]}", fontsize=11)
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    left, right = top.subplots(1, 2)
    _stage_bars(left, found)
    _model_bars(right, found)
    axes = bottom.subplots(1, len(found.growth), squeeze=False)[0]
    for axis, curve in zip(axes, found.growth, strict=True):
        _curve(axis, curve)
    return figure


def _stage_bars(axis: Any, found: Bench) -> None:
    stages = sorted(found.pipeline.stages.items(), key=lambda item: item[1].median)
    for place, (name, timing) in enumerate(stages):
        colour = COLOURS[1] if name in FILES else COLOURS[0]
        axis.barh(place, timing.median, color=colour, hatch="//" if name in FILES else "")
    axis.set_yticks(range(len(stages)), [name for name, _ in stages], fontsize=8)
    axis.set_xlabel("seconds (hatched: files)", fontsize=9)
    axis.set_title(f"{found.default.name}, from file to files", fontsize=10)
    _plain(axis)


def _model_bars(axis: Any, found: Bench) -> None:
    times = {model.name: model.volume.median for model in found.models}
    times |= {"SimpleITK B-spline": found.simpleitk.median}
    times |= {"Deep Image Prior": found.prior.per_volume}
    own = found.default.volume.median
    ordered = sorted(times.items(), key=lambda item: item[1])
    for place, (name, seconds) in enumerate(ordered):
        colour = COLOURS[2] if name == found.default.name else "0.6"
        axis.barh(place, seconds / own, color=colour)
    axis.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=7)
    axis.set_xscale("log")
    axis.set_xlabel(f"time of a volume, {found.default.name} = 1", fontsize=9)
    axis.set_title("against others", fontsize=10)
    _plain(axis)


def _curve(axis: Any, curve: Any) -> None:
    sizes = [point.size for point in curve.points]
    first = curve.points[0]
    rows = (
        ("time", [p.seconds / first.seconds for p in curve.points], curve.time, "o-"),
        ("memory", [curve.held(p) / curve.held(first) for p in curve.points], curve.memory, "s--"),
    )
    for number, (name, costs, law, style) in enumerate(rows):
        label = f"{name} ~ size^{_law(law)}"
        axis.plot(sizes, costs, style, color=COLOURS[number], label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(curve.unit, fontsize=9)
    axis.set_ylabel("cost, first = 1", fontsize=9)
    axis.legend(fontsize=8)
    axis.set_title(f"growth with {curve.name}", fontsize=10)
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.tick_params(which="both", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _law(law: PowerLaw) -> str:
    if math.isnan(law.error):
        return f"{law.exponent:.2f}"
    return f"{law.exponent:.2f} +- {law.error:.2f}"


def _rate(rate: Rate) -> str:
    unit = "GFLOP/s" if rate.unit == "operations" else "GB/s"
    return f"{rate.per_second / 1e9:,.1f} {unit}"


def _range(low: float, high: float) -> str:
    return f"{_seconds(low)} to {_seconds(high)}"


def _seconds(value: float) -> str:
    """Returns seconds with three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
