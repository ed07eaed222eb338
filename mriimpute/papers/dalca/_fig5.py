"""Tables, panels and claims of `fig5`."""

from collections.abc import Mapping
from typing import Any

from mriimpute.papers.dalca.config import LABELS, METHODS, NETWORKS, Method
from mriimpute.papers.experiment import Bars, Claim, Conclusion, Images, Outcomes, Table

__all__ = ["conclusion"]

SHORT: dict[str, str] = {
    "patches": "P",
    "mnist-2": "M-2",
    "mnist-all": "M-all",
    "mnist-rot": "M-rot",
    "fashion": "FM",
}
SIMPLISTIC = "conv-zero"  # "with the occasional exception of the simplistic conv-zero strategy"
COMPARABLE = 0.1  # relative difference of errors

Errors = Mapping[tuple[str, str], Mapping[Method, Mapping[str, Any]]]


def conclusion(outcomes: Outcomes) -> Conclusion:
    """Returns the errors of all methods on all data sets, and what the paper says about them."""
    cases = list(dict.fromkeys(key[:2] for key in outcomes))
    errors: Errors = {
        (name, missing): {m: outcomes[name, missing, m].numbers for m in METHODS}
        for name, missing in cases
    }
    return Conclusion(
        tables=[
            _table(errors, "missing", "missing pixels"),
            _table(errors, "all", "all pixels, as the method describes them"),
        ],
        plots=[_bars(errors), _gallery(outcomes)],
        claims=[
            _rotation_claim(errors),
            _baseline_claim(errors),
            _aware_claim(errors),
            _filled_claim(errors),
            _subspace_claim(errors),
        ],
    )


def _label(case: tuple[str, str]) -> str:
    return f"{SHORT[case[0]]}-{case[1]}"


def _table(errors: Errors, region: str, words: str) -> Table:
    rows = [
        [_label(case), *(of[m][f"mse_{region}"] for m in METHODS), "figure only"]
        for case, of in errors.items()
    ]
    columns = ["data set - % missing", *(LABELS[m] for m in METHODS), "paper"]
    return Table(f"Mean squared error of test images, {words}", columns, rows)


def _bars(errors: Errors) -> Bars:
    cases = list(errors)
    return Bars(
        "Errors of test images (bars: standard error)",
        "MSE, missing pixels",
        [_label(case) for case in cases],
        {LABELS[m]: [errors[case][m]["mse_missing"] for case in cases] for m in METHODS},
        {LABELS[m]: [errors[case][m]["sem_missing"] for case in cases] for m in METHODS},
    )


def _gallery(outcomes: Outcomes) -> Images:
    """Returns images as in Fig. 6, one row per data set."""
    cases = list(dict.fromkeys(key[:2] for key in outcomes))
    rows = []
    for name, missing in cases:
        found = {m: outcomes[name, missing, m].arrays for m in METHODS}
        first = found["interpolation"]
        rows.append([first["truth"][0], first["y"][0], *(found[m]["mean"][0] for m in METHODS)])
    return Images(
        f"The first test image of {', '.join(f'{SHORT[n]}-{missing}' for n, missing in cases)}",
        ["truth", "observed", *(LABELS[m] for m in METHODS)],
        rows,
    )


def _rotation_claim(errors: Errors) -> Claim:
    details, holds = [], True
    for case in (case for case in errors if case[0] == "mnist-rot"):
        of = errors[case]
        linear = min(_error(of, "subspace-sgd"), _error(of, "subspace-em"))
        beaten = [m for m in NETWORKS if _error(of, m) < linear]
        holds &= set(NETWORKS) - {SIMPLISTIC} <= set(beaten)
        numbers = ", ".join(f"{m} {_error(of, m):.3g}" for m in NETWORKS)
        details.append(f"{case[1]} %: subspace {linear:.3g}; {numbers}")
    text = f"MNIST-rot: networks (except, at most, {SIMPLISTIC}) beat the linear subspace"
    return Claim(text, holds, "; ".join(details))


def _baseline_claim(errors: Errors) -> Claim:
    details, count = [], 0
    for case, of in errors.items():
        best = min((m for m in METHODS if m not in NETWORKS), key=lambda m: _error(of, m))
        worse = [m for m in NETWORKS if m != SIMPLISTIC and _error(of, m) >= _error(of, best)]
        count += not worse
        if worse:
            details.append(f"{_label(case)}: {best} beats {', '.join(worse)}")
    text = f"networks except {SIMPLISTIC} beat every baseline on every data set"
    summary = f"{count} of {len(errors)} data sets"
    return Claim(text, count == len(errors), "; ".join([summary, *details]))


def _aware_claim(errors: Errors) -> Claim:
    best = {case: min(NETWORKS, key=lambda m: _error(of, m)) for case, of in errors.items()}
    aware = [case for case, m in best.items() if m in ("conv-sparse", "conv-fc-sparse")]
    detail = ", ".join(f"{_label(case)}: {m}" for case, m in best.items())
    text = "a sparsity-aware encoder (conv-sparse, conv-fc-sparse) is the best of the variants"
    return Claim(
        text, len(aware) == len(best), f"{len(aware)} of {len(best)} data sets; best are {detail}"
    )


def _filled_claim(errors: Errors) -> Claim:
    won = [
        _label(case)
        for case, of in errors.items()
        if max(_error(of, "conv-mean"), _error(of, "conv-interp"))
        < min(_error(of, "subspace-sgd"), _error(of, "subspace-em"), _error(of, "dictionary"))
    ]
    return Claim(
        "filling by interpolation or mean, then a network, beats the linear models",
        len(won) == len(errors),
        f"{len(won)} of {len(errors)} data sets: {', '.join(won) or 'none'}",
    )


def _subspace_claim(errors: Errors) -> Claim:
    ratio = {
        case: _error(of, "subspace-sgd") / _error(of, "subspace-em")
        for case, of in errors.items()
        if case[0] != "patches"
    }
    return Claim(
        "small data sets and models: SGD and EM fit the linear subspace equally well",
        all(abs(r - 1) < COMPARABLE for r in ratio.values()),
        "SGD / EM: " + ", ".join(f"{_label(case)} {r:.3f}" for case, r in ratio.items()),
    )


def _error(of: Mapping[Method, Mapping[str, Any]], method: Method) -> float:
    return float(of[method]["mse_missing"])
