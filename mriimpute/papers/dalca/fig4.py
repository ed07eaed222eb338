"""The sparse fully connected layer on Fashion-MNIST: what filling pixels does to a projection.

(a, b) The first 10 principal components W, mu of fully observed training images define the true
response W^T (y - mu) of a fully observed test image. Pixels are then removed at random, and the
response is computed from what is left: by the conventional layer W^T (filled - mu) after filling
with zeros, with the mean of each pixel over what was observed of training images, or by linear
interpolation; or by the sparse layer, Eq. 10, with the same W and mu. The paper omits the bias;
here it is W^T mu everywhere, and cancels in the error. In (b) all images have their pixels in one
random order, missing ones included, so that (a) and (b) differ by nothing else.

(c, d) Linear auto-encoders of size 10 with each of these encoders, from random weights, and a
fully connected decoder each, trained by Adam on the squared error of observed pixels.
Training, validation and test images are different ones; each has one pattern of missing pixels,
the same for all encoders. The paper says neither the sparsity of (c, d) nor the schedule, which
are below and the same for all encoders. The learning rate was chosen on observed validation
pixels: at 1e-3 no encoder has converged after 30 epochs; at 4e-3 all are better, at 1e-2 the
sparse one better still and the others no longer; 5e-3 favours none. The number of images matters:
with 4000 of them the sparse encoder and interpolation are level in (d), with 12,000 it is ahead.

The sparse layer has lambda = 1e-4 tr(W_O^T W_O) / 10 in place of the 0 of Eq. 10, which has no
solution where fewer than 10 pixels are observed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from mriimpute.papers.dalca.encodings import (
    ENCODINGS,
    ORDERS,
    Encoding,
    Learning,
    Order,
    Projection,
    project,
    train_autoencoder,
)
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Bars,
    Budget,
    Claim,
    Conclusion,
    Lines,
    Outcome,
    Outcomes,
    Series,
    Table,
    Task,
)

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Sparse fully connected layer against filling: projections and linear auto-encoders"
SOURCE = "Dalca et al. 2019, section 4.2 and Fig. 4 (figure only, no numbers in the text)"
DATA = ("fashion",)

Numbers: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[tuple[Order, int], Numbers]
Curves: TypeAlias = dict[tuple[Encoding, int], list[Numbers]]
"""One entry per repeat."""

DECISIVE = (75, 90)  # per cent missing, where the claims are tested
SAME = 0.05  # relative change that is taken for chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The size of the experiment.

    Attributes:
        levels: Of missing pixels in (a, b), in per cent.
        projection: The size of (a, b).
        learning: The size of (c, d).
        repeats: Of (c, d): patterns of missing pixels, and initial weights.
    """

    levels: tuple[int, ...]
    projection: Projection
    learning: Learning
    repeats: int


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        levels=DECISIVE,
        projection=Projection(fitted=400, projected=60, repeats=1),
        learning=Learning(train=256, val=64, epochs=3),
        repeats=1,
    ),
    "cpu": Plan(
        levels=(25, 50, 75, 90, 95),
        projection=Projection(fitted=10_000, projected=400, repeats=2),
        learning=Learning(train=12_000, val=1000, epochs=20),
        repeats=2,
    ),
    "paper": Plan(
        levels=(10, 25, 50, 75, 90, 95, 98),
        projection=Projection(fitted=35_000, projected=10_000, repeats=5),
        learning=Learning(train=35_000, val=21_000, epochs=100),
        repeats=5,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per level and order, and one per auto-encoder."""
    plan = PLANS[budget]
    subspaces = [
        Task(
            key=("subspace", order, str(level)),
            settings={"order": order, "level": level, "size": asdict(plan.projection)},
        )
        for order in ORDERS
        for level in plan.levels
    ]
    size = asdict(plan.learning)
    encoders = [
        Task(
            key=("autoencoder", encoding, str(level), str(repeat)),
            settings={"encoding": encoding, "level": level, "repeat": repeat, "size": size},
        )
        for level in DECISIVE
        for encoding in ENCODINGS
        for repeat in range(plan.repeats)
    ]
    return [*encoders, *subspaces]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Performs one task."""
    settings = dict(task.settings)
    size = settings.pop("size")
    if task.key[0] == "subspace":
        return project(data, Projection(**size), seed=seed, **settings)
    return train_autoencoder(data, Learning(**size), seed=seed, device=device, **settings)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the panels of the figure and what the paper says about them."""
    plan = PLANS[budget]
    responses = {
        (order, level): outcomes["subspace", order, str(level)].numbers
        for order in ORDERS
        for level in plan.levels
    }
    curves = {
        (encoding, level): [
            outcomes["autoencoder", encoding, str(level), str(repeat)].numbers
            for repeat in range(plan.repeats)
        ]
        for encoding in ENCODINGS
        for level in DECISIVE
    }
    return Conclusion(
        tables=[_response_table(responses), _reconstruction_table(curves)],
        plots=[
            *(_response_panel(responses, plan.levels, order) for order in ORDERS),
            *(_convergence_panel(curves, level) for level in DECISIVE),
            _reconstruction_panel(curves),
        ],
        claims=[
            *(_response_claim(responses, order) for order in ORDERS),
            _permutation_claim(responses),
            _best_claim(curves, "c", "lowest validation loss on observed pixels", _last_loss),
            _best_claim(curves, "d", "lowest validation error on all pixels", _error),
        ],
    )


def _response_table(responses: Responses) -> Table:
    rows = [
        [order, level, *(_mean(numbers["mse"][e]) for e in ENCODINGS), numbers["variance"]]
        for (order, level), numbers in responses.items()
    ]
    columns = ["pixels", "missing %", *ENCODINGS, "variance of the response"]
    return Table("(a, b) Mean squared error of the response; paper: figure only", columns, rows)


def _reconstruction_table(curves: Curves) -> Table:
    rows = [
        [encoding, level, _mean(map(_last_loss, runs)), _mean(map(_error, runs)), _std(runs)]
        for (encoding, level), runs in curves.items()
    ]
    columns = ["encoder", "missing %", "(c) observed pixels", "(d) all pixels", "std over repeats"]
    title = "(c, d) Validation MSE of linear auto-encoders after training; paper: figure only"
    return Table(title, columns, rows)


def _response_panel(responses: Responses, levels: Sequence[int], order: Order) -> Lines:
    series: dict[str, Series] = {}
    for encoding in ENCODINGS:
        errors = [np.array(responses[order, level]["mse"][encoding]) for level in levels]
        series[encoding] = _curve([float(level) for level in levels], errors)
    title = f"({_panel(order)}) Response, {order} pixels"
    return Lines(title, "missing pixels (%)", "MSE of the response", series, log_y=True)


def _convergence_panel(curves: Curves, level: int) -> Lines:
    series: dict[str, Series] = {}
    for encoding in ENCODINGS:
        losses = np.array([run["val_loss"] for run in curves[encoding, level]]).T
        series[encoding] = _curve([float(epoch) for epoch in range(len(losses))], list(losses))
    title = f"(c) Linear auto-encoders, {level} % missing"
    return Lines(title, "epoch", "validation MSE, observed pixels", series, log_y=True)


def _curve(x: list[float], repeats: Sequence[np.ndarray]) -> Series:
    """Returns mean and standard deviation over the repeats at each place."""
    return x, [float(y.mean()) for y in repeats], [float(y.std()) for y in repeats]


def _reconstruction_panel(curves: Curves) -> Bars:
    return Bars(
        "(d) Linear auto-encoders, final error",
        "validation MSE, all pixels",
        [f"{level} % missing" for level in DECISIVE],
        {e: [_mean(map(_error, curves[e, level])) for level in DECISIVE] for e in ENCODINGS},
        {e: [_std(curves[e, level]) for level in DECISIVE] for e in ENCODINGS},
    )


def _response_claim(responses: Responses, order: Order) -> Claim:
    errors = {
        level: {e: _mean(responses[order, level]["mse"][e]) for e in ENCODINGS}
        for level in DECISIVE
    }
    text = f"({_panel(order)}) the sparse layer projects better than zero, mean and interpolation"
    return _sparse_claim(f"{text} filling, {order} pixels", errors)


def _best_claim(curves: Curves, panel: str, text: str, score: Callable[[Numbers], float]) -> Claim:
    errors = {
        level: {e: _mean(map(score, curves[e, level])) for e in ENCODINGS} for level in DECISIVE
    }
    return _sparse_claim(f"({panel}) the sparse encoder has the {text}", errors)


def _sparse_claim(text: str, errors: dict[int, dict[Encoding, float]]) -> Claim:
    """Holds where the sparse encoding has the lowest error at every level."""
    details, holds = [], True
    for level, error in errors.items():
        best = min((e for e in ENCODINGS if e != "sparse"), key=lambda e: error[e])
        holds &= error["sparse"] < error[best]
        details.append(f"{level} %: {error['sparse']:.3g} against {error[best]:.3g} of {best}")
    return Claim(text, holds, "; ".join(details))


def _permutation_claim(responses: Responses) -> Claim:
    ratio = {
        encoding: [
            _mean(responses["permuted", level]["mse"][encoding])
            / _mean(responses["original", level]["mse"][encoding])
            for level in DECISIVE
        ]
        for encoding in ENCODINGS
    }
    hurt = min(ratio["interpolation"]) > 1 + SAME
    changes = [abs(r - 1) for e in ENCODINGS if e != "interpolation" for r in ratio[e]]
    detail = ", ".join(
        f"{encoding} x {' and '.join(f'{r:.2f}' for r in ratios)}"
        for encoding, ratios in ratio.items()
    )
    return Claim(
        "(b) permuting pixels hurts interpolation, and only that",
        hurt and max(changes) < SAME,
        f"error permuted / original at {' and '.join(map(str, DECISIVE))} %: {detail}",
    )


def _panel(order: Order) -> str:
    return "a" if order == "original" else "b"


def _last_loss(run: Numbers) -> float:
    return float(run["val_loss"][-1])


def _error(run: Numbers) -> float:
    return float(run["val_mse_all"])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _std(runs: Sequence[Numbers]) -> float:
    return float(np.std([_error(run) for run in runs]))
