"""Tables, panels and claims of `fig8`."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mriimpute.papers.experiment import (
    Cell,
    Claim,
    Conclusion,
    Images,
    Lines,
    Outcomes,
    Plot,
    Series,
    Table,
)

__all__ = ["METHODS", "NAMES", "Method", "Name", "conclusion"]

Name = Literal["mnist-2", "fashion-1", "slices"]
NAMES: tuple[Name, ...] = get_args(Name)
Method = Literal["conv-sparse", "dip", "dip-early"]
METHODS: tuple[Method, ...] = get_args(Method)
LABELS: dict[Method, str] = {"conv-sparse": "conv-sparse", "dip": "DIP", "dip-early": "DIP, early"}
PAPER_MS: dict[Method, str] = {"conv-sparse": "18.6 +- 13.7", "dip": "36500 +- 200"}
PAPER_RATIO = 36_500 / 18.6

Numbers: TypeAlias = Mapping[str, Any]
Levels: TypeAlias = Mapping[int, Mapping[Method, Numbers]]
Errors: TypeAlias = Mapping[Name, Levels]


def conclusion(outcomes: Outcomes, steps: int) -> Conclusion:
    """Returns errors by sparsity, run times, and what the paper says about them.

    Args:
        outcomes: By data set, sparsity and method.
        steps: Of a Deep Image Prior, at most.
    """
    errors: dict[Name, dict[int, dict[Method, Numbers]]] = {}
    for name in NAMES:
        levels = sorted({int(level) for found, level, _ in outcomes if found == name})
        errors[name] = {
            level: {m: outcomes[name, str(level), m].numbers for m in METHODS} for level in levels
        }
    return Conclusion(
        tables=[_error_table(errors), _time_table(errors, steps)],
        plots=[*_galleries(outcomes, errors), *(_curves(name, errors[name]) for name in NAMES)],
        claims=[_behind_claim(errors), _better_claim(errors), _time_claim(errors)],
    )


def _error_table(errors: Errors) -> Table:
    rows: list[list[Cell]] = [
        [
            name,
            level,
            *(_error(name, of[m]) for m in METHODS),
            of["dip"]["images_test"],
            "figure only",
        ]
        for name, levels in errors.items()
        for level, of in levels.items()
    ]
    columns = ["data set", "% missing, or line distance", *(LABELS[m] for m in METHODS)]
    title = "Mean squared error over missing pixels (slices: of the brain)"
    return Table(title, [*columns, "test images", "paper"], rows)


def _time_table(errors: Errors, steps: int) -> Table:
    rows: list[list[Cell]] = []
    for name, levels in errors.items():
        ms = {m: _pooled(levels, m) for m in METHODS}
        rows += [
            [
                name,
                LABELS[m],
                ms[m][0],
                ms[m][1],
                ms[m][0] / ms["conv-sparse"][0],
                PAPER_MS.get(m) if name == "slices" else None,
                {"conv-sparse": "1", "dip": f"{PAPER_RATIO:.0f}"}.get(m)
                if name == "slices"
                else None,
            ]
            for m in METHODS
        ]
    columns = ["data set", "method", "ms", "std", "ratio", "paper ms", "paper ratio"]
    title = (
        f"Time per image on this machine: one draw by conv-sparse (errors are of means of draws), "
        f"at most {steps} steps of Deep Image Prior (paper: 1000)"
    )
    return Table(title, columns, rows)


def _curves(name: Name, levels: Levels) -> Lines:
    sem = "sem_tissue" if name == "slices" else "sem_missing"
    series: dict[str, Series] = {
        LABELS[m]: (
            [float(level) for level in levels],
            [_error(name, of[m]) for of in levels.values()],
            [float(of[m][sem]) for of in levels.values()],
        )
        for m in METHODS
    }
    x_label = "distance of lines (voxels)" if name == "slices" else "missing pixels (%)"
    return Lines(name, x_label, "MSE, missing pixels", series, log_y=True)


def _galleries(outcomes: Outcomes, errors: Errors) -> list[Plot]:
    plots: list[Plot] = []
    for name, levels in errors.items():
        rows = []
        for level in levels:
            found = {m: outcomes[name, str(level), m].arrays for m in METHODS}
            first = found["conv-sparse"]
            rows.append(
                [first["truth"][0], first["y"][0], *(found[m]["mean"][0] for m in METHODS)]
            )
        unit = "lines at a distance of" if name == "slices" else "% missing:"
        title = f"{name}, {unit} {', '.join(map(str, levels))}"
        plots.append(Images(title, ["truth", "observed", *(LABELS[m] for m in METHODS)], rows))
    return plots


def _behind_claim(errors: Errors) -> Claim:
    details, holds = [], True
    for name, levels in errors.items():
        gaps = {
            level: _error(name, of["dip"]) - _error(name, of["conv-sparse"])
            for level, of in levels.items()
        }
        least, most = min(gaps), max(gaps)
        holds &= gaps[most] > max(gaps[least], 0.0)
        numbers = ", ".join(f"{level}: {gap:+.3g}" for level, gap in gaps.items())
        details.append(f"{name}: {numbers}")
    text = "Deep Image Prior falls behind as sparsity grows"
    return Claim(text, holds, "MSE of DIP minus conv-sparse; " + "; ".join(details))


def _better_claim(errors: Errors) -> Claim:
    count, details = 0, []
    for name, levels in errors.items():
        for level, of in levels.items():
            ours = _error(name, of["conv-sparse"])
            best = min(_error(name, of["dip"]), _error(name, of["dip-early"]))
            count += ours < best
            if ours >= best:
                details.append(f"not {name} {level}: {ours:.3g} against {best:.3g}")
    total = sum(len(levels) for levels in errors.values())
    text = "conv-sparse reconstructs consistently better than either Deep Image Prior"
    return Claim(text, count == total, "; ".join([f"{count} of {total}", *details]))


def _time_claim(errors: Errors) -> Claim:
    ms = {m: _pooled(errors["slices"], m)[0] for m in METHODS}
    ratio = ms["dip"] / ms["conv-sparse"]
    return Claim(
        "a brain slice takes one pass, a Deep Image Prior a thousand steps: ratio above 100",
        ratio > 100,
        f"ratio {ratio:.0f} here, {PAPER_RATIO:.0f} in the paper, on another machine",
    )


def _pooled(levels: Levels, method: Method) -> tuple[float, float]:
    """Returns mean and standard deviation over the images of all levels."""
    mean = np.array([of[method]["image_ms"] for of in levels.values()])
    std = np.array([of[method]["image_ms_std"] for of in levels.values()])
    return float(mean.mean()), float(np.sqrt(np.mean(std**2) + mean.var()))


def _error(name: Name, of: Numbers) -> float:
    return float(of["mse_tissue" if name == "slices" else "mse_missing"])
