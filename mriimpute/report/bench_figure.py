"""What a bench measured, as one plot: stages and models as bars, growth as curves."""

from pathlib import Path
from typing import Any

from mriimpute.bench import Bench
from mriimpute.bench.pipeline import FILES
from mriimpute.files import atomic
from mriimpute.report._styles import COLOURS
from mriimpute.report.bench import law_text

__all__ = ["write_bench_figure"]

DPI = 150


def write_bench_figure(path: Path, bench: Bench) -> None:
    """Writes stages as bars and growth as curves, in one PNG, atomically."""
    figure = _draw(bench)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": "mriimpute"})


def _draw(bench: Bench) -> Any:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(12, 7), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(f"mriimpute bench: {bench.device_name}, {bench.date[:10]}", fontsize=11)
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    left, right = top.subplots(1, 2)
    _stage_bars(left, bench)
    _model_bars(right, bench)
    axes = bottom.subplots(1, len(bench.growth), squeeze=False)[0]
    for axis, curve in zip(axes, bench.growth, strict=True):
        _curve(axis, curve)
    return figure


def _stage_bars(axis: Any, bench: Bench) -> None:
    stages = sorted(bench.pipeline.stages.items(), key=lambda item: item[1].median)
    for place, (name, timing) in enumerate(stages):
        colour = COLOURS[1] if name in FILES else COLOURS[0]
        axis.barh(place, timing.median, color=colour, hatch="//" if name in FILES else "")
    axis.set_yticks(range(len(stages)), [name for name, _ in stages], fontsize=8)
    axis.set_xlabel("seconds (hatched: files)", fontsize=9)
    axis.set_title(f"{bench.default.name}, from file to files", fontsize=10)
    _style(axis)


def _model_bars(axis: Any, bench: Bench) -> None:
    times = {model.name: model.volume.median for model in bench.models}
    times |= {"SimpleITK B-spline": bench.simpleitk.median}
    times |= {"Deep Image Prior": bench.prior.per_volume}
    default_seconds = bench.default.volume.median
    ordered = sorted(times.items(), key=lambda item: item[1])
    for place, (name, seconds) in enumerate(ordered):
        colour = COLOURS[2] if name == bench.default.name else "0.6"
        axis.barh(place, seconds / default_seconds, color=colour)
    axis.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axis.set_xscale("log")
    axis.set_xlabel(f"time of a volume, {bench.default.name} = 1", fontsize=9)
    axis.set_title("against other methods", fontsize=10)
    _style(axis)
    axis.tick_params(axis="y", labelsize=6)  # there may be two dozen


def _curve(axis: Any, curve: Any) -> None:
    sizes = [point.size for point in curve.points]
    first, held = curve.points[0], curve.bytes_of
    rows = (
        ("time", [p.seconds / first.seconds for p in curve.points], curve.time, "o-"),
        ("memory", [held(p) / held(first) for p in curve.points], curve.memory, "s--"),
    )
    for number, (name, ratios, law, style) in enumerate(rows):
        label = f"{name} ~ size^{law_text(law)}"
        axis.plot(sizes, ratios, style, color=COLOURS[number], label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(curve.unit, fontsize=9)
    axis.set_ylabel("cost, first = 1", fontsize=9)
    axis.legend(fontsize=8)
    axis.set_title(f"growth with {curve.name}", fontsize=10)
    _style(axis)


def _style(axis: Any) -> None:
    axis.tick_params(which="both", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
