"""Tables, panels and claims of `fig4`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mriimpute.papers.dalca.encodings import ENCODINGS, Encoding
from mriimpute.papers.experiment import Bars, Claim, Conclusion, Lines, Series, Table

__all__ = ["DECISIVE", "ORDERS", "Curves", "Order", "Responses", "conclusion"]

Order = Literal["original", "permuted"]
ORDERS: tuple[Order, ...] = get_args(Order)
Numbers: TypeAlias = dict[str, Any]
Responses: TypeAlias = dict[tuple[Order, int], Numbers]
Curves: TypeAlias = dict[tuple[Encoding, int], list[Numbers]]
Score: TypeAlias = Callable[[Numbers], float]

DECISIVE = (75, 90)  # per cent missing, where the claims are tested
SAME = 0.05  # relative change that is taken for chance


def conclusion(response: Responses, curves: Curves, levels: Sequence[int]) -> Conclusion:
    """Returns the panels of the figure and what the paper says about them.

    Args:
        response: What was found in (a, b), by order of the pixels and level.
        curves: What was found in (c, d), by encoding and level, one entry per repeat.
        levels: Of (a, b), in per cent.
    """
    return Conclusion(
        tables=[_response_table(response), _reconstruction_table(curves)],
        plots=[
            *(_response_panel(response, levels, order) for order in ORDERS),
            *(_convergence_panel(curves, level) for level in DECISIVE),
            _reconstruction_panel(curves),
        ],
        claims=[
            *(_response_claim(response, order) for order in ORDERS),
            _permutation_claim(response),
            _best_claim(curves, "c", "lowest validation loss on observed pixels", _last_loss),
            _best_claim(curves, "d", "lowest validation error on all pixels", _error),
        ],
    )


def _response_table(response: Responses) -> Table:
    rows = [
        [order, level, *(_mean(found["mse"][e]) for e in ENCODINGS), found["variance"]]
        for (order, level), found in response.items()
    ]
    columns = ["pixels", "missing %", *ENCODINGS, "variance of the response"]
    return Table("(a, b) Mean squared error of the response; paper: figure only", columns, rows)


def _reconstruction_table(curves: Curves) -> Table:
    rows = [
        [encoding, level, _mean(map(_last_loss, found)), _mean(map(_error, found)), _spread(found)]
        for (encoding, level), found in curves.items()
    ]
    columns = ["encoder", "missing %", "(c) observed pixels", "(d) all pixels", "std over repeats"]
    title = "(c, d) Validation MSE of linear auto-encoders after training; paper: figure only"
    return Table(title, columns, rows)


def _response_panel(response: Responses, levels: Sequence[int], order: Order) -> Lines:
    series: dict[str, Series] = {}
    for encoding in ENCODINGS:
        found = [np.array(response[order, level]["mse"][encoding]) for level in levels]
        series[encoding] = (
            [float(level) for level in levels],
            [float(values.mean()) for values in found],
            [float(values.std()) for values in found],
        )
    panel = "a" if order == "original" else "b"
    title = f"({panel}) Response, {order} pixels"
    return Lines(title, "missing pixels (%)", "MSE of the response", series, log_y=True)


def _convergence_panel(curves: Curves, level: int) -> Lines:
    series: dict[str, Series] = {}
    for encoding in ENCODINGS:
        losses = np.array([found["val_loss"] for found in curves[encoding, level]])
        mean, std = losses.mean(axis=0), losses.std(axis=0)
        epochs = [float(epoch) for epoch in range(len(mean))]
        series[encoding] = (epochs, list(map(float, mean)), list(map(float, std)))
    title = f"(c) Linear auto-encoders, {level} % missing"
    return Lines(title, "epoch", "validation MSE, observed pixels", series, log_y=True)


def _reconstruction_panel(curves: Curves) -> Bars:
    return Bars(
        "(d) Linear auto-encoders, final error",
        "validation MSE, all pixels",
        [f"{level} % missing" for level in DECISIVE],
        {e: [_mean(map(_error, curves[e, level])) for level in DECISIVE] for e in ENCODINGS},
        {e: [_spread(curves[e, level]) for level in DECISIVE] for e in ENCODINGS},
    )


def _response_claim(response: Responses, order: Order) -> Claim:
    details, holds = [], True
    for level in DECISIVE:
        error = {e: _mean(response[order, level]["mse"][e]) for e in ENCODINGS}
        ours, best = error.pop("sparse"), min(error, key=lambda name: error[name])
        holds &= ours < error[best]
        details.append(f"{level} %: {ours:.3g} against {error[best]:.3g} of {best}")
    panel = "a" if order == "original" else "b"
    text = f"({panel}) the sparse layer projects better than zero, mean and interpolation"
    return Claim(f"{text} filling, {order} pixels", holds, "; ".join(details))


def _permutation_claim(response: Responses) -> Claim:
    ratio = {
        encoding: [
            _mean(response["permuted", level]["mse"][encoding])
            / _mean(response["original", level]["mse"][encoding])
            for level in DECISIVE
        ]
        for encoding in ENCODINGS
    }
    hurt = min(ratio["interpolation"]) > 1 + SAME
    others = [abs(r - 1) for e in ENCODINGS if e != "interpolation" for r in ratio[e]]
    detail = ", ".join(
        f"{encoding} x {' and '.join(f'{r:.2f}' for r in ratios)}"
        for encoding, ratios in ratio.items()
    )
    return Claim(
        "(b) permuting pixels hurts interpolation, and only that",
        hurt and max(others) < SAME,
        f"error permuted / original at {' and '.join(map(str, DECISIVE))} %: {detail}",
    )


def _best_claim(curves: Curves, panel: str, text: str, score: Score) -> Claim:
    details, holds = [], True
    for level in DECISIVE:
        error = {e: _mean(map(score, curves[e, level])) for e in ENCODINGS}
        ours, best = error.pop("sparse"), min(error, key=lambda name: error[name])
        holds &= ours < error[best]
        details.append(f"{level} %: {ours:.3g} against {error[best]:.3g} of {best}")
    return Claim(f"({panel}) the sparse encoder has the {text}", holds, "; ".join(details))


def _last_loss(found: Numbers) -> float:
    return float(found["val_loss"][-1])


def _error(found: Numbers) -> float:
    return float(found["val_mse_all"])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _spread(found: Sequence[Numbers]) -> float:
    return float(np.std([_error(numbers) for numbers in found]))
