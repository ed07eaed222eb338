"""What a bench measured, as tables of text.

Ratios of times measured in one run on one machine come first: they hold elsewhere, more or less.
Seconds hold for the machine and the day that stand above them.
"""

import math

from mriimpute.bench import Bench
from mriimpute.bench.baselines import PAPER_RATIO
from mriimpute.bench.floor import Rate
from mriimpute.bench.growth import PowerLaw
from mriimpute.bench.methods import MethodCost
from mriimpute.bench.pipeline import FILES
from mriimpute.memory import format_bytes
from mriimpute.report.table import Table

__all__ = ["bench_tables", "law_text"]

LEAST_NETWORK, MOST_OUTSIDE = 0.7, 0.1
"""What the default model is to reach on a CPU."""

MOST_NORMALISED = 1.15
MOST_HELP, MOST_FIRST = 0.5, 5.0
"""Seconds."""


def bench_tables(bench: Bench) -> list[Table]:
    """Returns ratios first, then what was measured here."""
    return [
        _ratios(bench),
        _models(bench),
        _training(bench),
        _stages(bench),
        _starts(bench),
        _layers(bench),
        _growth(bench),
        _floor(bench),
    ]


def _ratios(bench: Bench) -> Table:
    pipeline, default = bench.pipeline, bench.default
    i, j, k = bench.default.shape
    paper = f"paper: {PAPER_RATIO:,.0f}"
    rows = [
        [
            f"Deep Image Prior / {default.name}, per slice",
            f"{bench.prior_ratio:,.0f}",
            f"{bench.prior.steps} steps computed from {bench.config.prior_steps}; {paper}",
        ],
        [
            f"SimpleITK B-spline / {default.name}",
            _ratio(bench.simpleitk.median / default.volume.median),
            "",
        ],
        [
            "network / its convolutions in isolation",
            f"{pipeline.network_fraction:.0%}",
            f"wanted on a CPU: at least {LEAST_NETWORK:.0%}",
        ],
        [
            "time outside the network, without files and draws",
            f"{pipeline.outside_fraction:.0%}",
            f"wanted on a CPU: at most {MOST_OUTSIDE:.0%}",
        ],
        [
            "its convolutions in isolation / large matrix product",
            f"{pipeline.convolutions.per_second / bench.floor[0].per_second:.0%}",
            "float32",
        ],
    ]
    return Table(["ratio", "measured", ""], rows, f"Ratios, {i} x {j} x {k} voxels")


def _models(bench: Bench) -> Table:
    default_seconds = bench.default.volume.median
    rows = [_model_row(model, default_seconds, bench.planes) for model in bench.models]
    itk = bench.simpleitk
    timing = [
        "none",
        _ratio(itk.median / default_seconds),
        _seconds(itk.median),
        _range(itk.low, itk.high),
    ]
    rows.append(["SimpleITK B-spline", *timing, _seconds(itk.median / bench.planes), "-", "-"])
    prior = bench.prior
    fitted = ["none", _ratio(prior.per_volume / default_seconds), _seconds(prior.per_volume)]
    quartiles = _range(prior.step.low * prior.steps * prior.planes,
                    prior.step.high * prior.steps * prior.planes)  # fmt: skip
    rows.append(["Deep Image Prior *", *fitted, quartiles, _seconds(prior.per_plane), "-", "-"])
    headers = [
        "model",
        "weights",
        "time ratio",
        "s/volume",
        "quartiles",
        "s/slice",
        "s/draw",
        "peak memory",
    ]
    where = f"{bench.device_name}, {bench.date[:10]}"
    note = "*: computed from fewer steps or a smaller volume; random: untrained, same arithmetic"
    return Table(headers, rows, f"Seconds on {where} only ({note})")


def _model_row(model: MethodCost, default_seconds: float, planes: int) -> list[str]:
    volume = model.volume
    memory = model.memory.gpu_peak or model.memory.peak
    return [
        f"{model.name} *" if model.is_computed else model.name,
        model.weights,
        _ratio(volume.median / default_seconds),
        _seconds(volume.median),
        _range(volume.low, volume.high),
        _seconds(volume.median / planes),
        _seconds(model.draw.median) if model.draw else "-",
        format_bytes(memory),
    ]


def _training(bench: Bench) -> Table:
    steps = {model.name: model.step for model in bench.models if model.step}
    steps |= {f"{name}, dense, 28 x 28": step for name, step in bench.dense.items()}
    rows = [
        [
            name,
            str(step.items),
            _seconds(1000 * step.seconds),
            _range(1000 * step.processor.low, 1000 * step.processor.high),
            f"{step.data.median / step.seconds:.0%}",
        ]
        for name, step in steps.items()
    ]
    headers = ["model", "batch", "ms/step", "processor ms, quartiles", "of it drawing"]
    title = "A step of training; batches are drawn here, and ahead of time when it counts"
    return Table(headers, rows, title)


def _stages(bench: Bench) -> Table:
    pipeline = bench.pipeline
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
    memory = format_bytes(pipeline.memory.gpu_peak or pipeline.memory.peak)
    title = (
        f"{bench.default.name} from file to files, {pipeline.draws} draws: "
        f"{_seconds(pipeline.total.median)} s, peak memory {memory}"
    )
    return Table(["stage", "share", "s", "quartiles", ""], rows, title)


def _growth(bench: Bench) -> Table:
    rows = []
    for curve in bench.growth:
        first, last = curve.points[0], curve.points[-1]
        rows.append(
            [
                curve.name,
                f"{first.size:,.0f} to {last.size:,.0f} {curve.unit}",
                law_text(curve.time),
                law_text(curve.memory),
                _seconds(last.seconds),
                format_bytes(int(curve.bytes_of(last))),
            ]
        )
    headers = ["grows with", "from", "time ~ size^", "memory ~ size^", "s at the end", "memory"]
    title = "Growth: exponents by least squares of logarithms, with their standard errors"
    return Table(headers, rows, title)


def _floor(bench: Bench) -> Table:
    rows = [[r.name, _rate(r), _range(r.timing.low, r.timing.high)] for r in bench.floor]
    conv = bench.pipeline.convolutions
    name = f"convolutions of {bench.default.name}, {conv.shapes} shapes"
    rows.append([name, f"{conv.per_second / 1e9:,.1f} GFLOP/s", _range(conv.low, conv.high)])
    return Table(["floor", "rate", "s, quartiles"], rows, "What this machine can do")


def _starts(bench: Bench) -> Table:
    start = bench.startup
    i, j, k = start.shape
    rows = [
        ["mriimpute --help", _seconds(start.help.median), f"{MOST_HELP}"],
        ["a usage error", _seconds(start.usage.median), f"{MOST_HELP}"],
        [f"impute, all of {i} x {j} x {k} voxels", _seconds(start.tiny.median), ""],
        ["impute, to the first voxel of the head", _seconds(bench.first_voxel), f"{MOST_FIRST}"],
    ]
    return Table(["from start", "s", "wanted, at most"], rows, "Start-up, as processes")


def _layers(bench: Bench) -> Table:
    rows = [
        [
            layer.name,
            " x ".join(map(str, layer.shape)),
            *(f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
              for ratio in (layer.forward, layer.both)),
        ]
        for layer in bench.layers
    ]  # fmt: skip
    local = bench.local
    memory = local.memory.gpu_peak or local.memory.work
    rows.append(
        [
            "locally connected: bytes held",
            " x ".join(map(str, local.shape)),
            "",
            f"{format_bytes(memory)}: {format_bytes(local.parameters)} parameters and gradients; "
            f"one subspace per row would be {format_bytes(local.naive)} a copy",
        ]
    )
    headers = ["layer", "input", "forward", "forward and backward"]
    title = f"Sparse layers, time ratios (wanted of the convolution: at most {MOST_NORMALISED})"
    return Table(headers, rows, title)


def law_text(law: PowerLaw) -> str:
    """Returns the exponent and its standard error."""
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
