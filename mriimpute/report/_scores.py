"""The tables of numbers of an evaluation's page."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from mriimpute.evaluation import Estimate, MethodSummary, Summary
from mriimpute.evaluation.columns import ACCURACY, STRUCTURES, UNCERTAINTY, VOLUMES
from mriimpute.evaluation.definitions import DEFINITIONS, Definition
from mriimpute.report._html import join, tag
from mriimpute.report.table import NO_NUMBER, advice_of, mean_of, number, p_value

__all__ = ["accuracy", "differences", "structures", "uncertainty", "volumes"]

ARROWS = {"higher": "\u2191", "lower": "\u2193"}
ROLES = {
    "interpolator": "the best interpolator",
    "default": "the model that ships",
    "best": "the best method",
}
PSNR, GAIN = DEFINITIONS["psnr_db"].form(), DEFINITIONS["gain_db"].form(sign=True)


def accuracy(summary: Summary) -> Markup:
    """Returns what the means are worth, with intervals of PSNR and of the gain.

    Methods that failed too often to be compared stand at the end, without numbers.
    """
    baseline = summary.best_interpolator
    heads = [DEFINITIONS["psnr_db"].column]
    if baseline and len(summary.methods) > 1:
        heads.append(f"gain over {baseline} dB")
        if _compared(summary, "interpolator"):
            heads.append("Holm p")
    best = max(_rounded(scored, "psnr_db") for scored in summary.methods)
    first = {
        s.method: [
            _with_interval(s.scores["psnr_db"], PSNR, bold=_rounded(s, "psnr_db") == best),
            _with_interval(s.gain_db, GAIN),
            join(p_value(s.comparisons.get("interpolator"))),
        ][: len(heads)]
        for s in summary.methods
    }
    first |= {method: [join(NO_NUMBER)] * len(heads) for method in summary.not_compared}
    if summary.failed:
        heads.append("failed on")
        first = {m: [*cells, join(summary.failures(m) or NO_NUMBER)] for m, cells in first.items()}
    return _table("Accuracy of the mean", summary.methods, ACCURACY, heads, first)


def uncertainty(summary: Summary) -> Markup:
    """Returns what stated uncertainties are worth."""
    return _table("Stated uncertainty", summary.methods, UNCERTAINTY)


def structures(summary: Summary) -> Markup:
    """Returns the scores of structures; nothing without label maps."""
    if not any(row.regions for row in summary.results):
        return Markup()
    return _table("Structures of the label maps", summary.methods, STRUCTURES)


def volumes(summary: Summary) -> Markup:
    """Returns volumes in the mean and by draws, and which to measure where that is known."""
    table = _table("Volumes of tissues and structures", summary.methods, VOLUMES)
    advice = advice_of(summary)
    return join(tag("p", advice, class_="note") if advice else "", table)


def differences(summary: Summary) -> Markup:
    """Returns each method against three others, subject by subject, with Holm's p."""
    references = summary.references
    roles = [role for role in ROLES if role in references and _compared(summary, role)]
    if references.get("best") in (references.get("default"), references.get("interpolator")):
        roles = [role for role in roles if role != "best"]
    if not roles:
        return Markup()
    groups = [
        tag("th", f"against {references[role]} ({ROLES[role]})", colspan=4, scope="colgroup")
        for role in roles
    ]
    heads = [
        tag("th", head, scope="col") for _ in roles for head in ("mean dB", "median", "wins", "p")
    ]
    body = [
        tag(
            "tr",
            tag("th", scored.method, scope="row"),
            *(cell for role in roles for cell in _comparison(scored, role)),
        )
        for scored in summary.methods
    ]
    head = tag(
        "thead",
        tag("tr", tag("th", "method", rowspan=2, scope="col"), *groups),
        tag("tr", *heads),
    )
    return _scrolled("Differences in PSNR, subject by subject", head, body)


def _compared(summary: Summary, role: str) -> bool:
    return any(role in scored.comparisons for scored in summary.methods)


def _comparison(scored: MethodSummary, role: str) -> list[Markup]:
    comparison = scored.comparisons.get(role)
    if comparison is None:
        return [tag("td", NO_NUMBER)] * 4
    return [
        tag("td", _with_interval(comparison.mean, GAIN)),
        tag("td", _with_interval(comparison.median, GAIN)),
        tag("td", f"{comparison.wins}/{comparison.subjects}"),
        tag("td", p_value(comparison)),
    ]


def _table(
    title: str,
    summaries: Sequence[MethodSummary],
    metrics: Sequence[str],
    heads: Sequence[str] = (),
    first: Mapping[str, Sequence[Markup]] | None = None,
) -> Markup:
    """Returns a table of scores, a row per method.

    Args:
        title: Above it.
        summaries: Of the methods.
        metrics: The columns; one without any number is left out.
        heads: Of the columns that stand before these.
        first: Their cells, by method; methods that are not compared come last, and have no scores.
    """
    shown = [m for m in metrics if any(math.isfinite(mean_of(s, m)) for s in summaries)]
    if not shown and not heads:
        return Markup()
    head = [tag("th", text, scope="col") for text in ("method", *heads)]
    head += [_head(DEFINITIONS[metric]) for metric in shown]
    columns = {metric: _column(summaries, metric) for metric in shown}
    first = first or {scored.method: () for scored in summaries}
    rows = [
        tag(
            "tr",
            tag("th", method, scope="row"),
            *(tag("td", cell) for cell in cells),
            *(tag("td", column.get(method, NO_NUMBER)) for column in columns.values()),
        )
        for method, cells in first.items()
    ]
    return _scrolled(title, tag("thead", tag("tr", *head)), rows)


def _head(definition: Definition) -> Markup:
    """Returns the head of a column with what is good in it: an arrow, or the ideal number."""
    better = definition.better
    note = f"{better} is better" if better in ARROWS else f"ideally {better}"
    good = (tag("small", ARROWS.get(better, better), title=note),) if better else ()
    meaning = DEFINITIONS[definition.alike or definition.name].meaning()
    return tag("th", definition.column, *good, scope="col", title=meaning)


def _column(summaries: Sequence[MethodSummary], metric: str) -> dict[str, str]:
    """Returns the cells of a column by method, the best ones bold; none if a number is alone."""
    form = DEFINITIONS[metric].form()
    texts = {s.method: number(mean_of(s, metric), form) for s in summaries}
    known = {s.method: _rounded(s, metric) for s in summaries if math.isfinite(mean_of(s, metric))}
    best = _best(known, DEFINITIONS[metric]) if len(known) > 1 else set()
    return {m: tag("b", text) if m in best else text for m, text in texts.items()}


def _best(values: Mapping[str, float], definition: Definition) -> set[str]:
    """Returns the methods whose printed number is the best."""
    match definition.better:
        case "":
            return set()
        case "higher" | "lower":
            pick = max if definition.better == "higher" else min
            return {m for m, value in values.items() if value == pick(values.values())}
    distances = {m: abs(value - float(definition.better)) for m, value in values.items()}
    nearest = min(distances.values())
    return {m for m, distance in distances.items() if math.isclose(distance, nearest)}


def _scrolled(title: str, head: Markup, rows: Sequence[Markup]) -> Markup:
    """Returns a table that a narrow window scrolls sideways, by keyboard, too."""
    table = tag("table", tag("caption", title), head, tag("tbody", *rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=title)


def _rounded(scored: MethodSummary, metric: str) -> float:
    """Returns the mean of a score as it is printed."""
    return round(mean_of(scored, metric), DEFINITIONS[metric].digits)


def _with_interval(estimate: Estimate, form: str, *, bold: bool = False) -> Markup:
    text = number(estimate.mean, form)
    mean = tag("b", text) if bold else join(text)
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return mean
    interval = f"{estimate.low:{form}} to {estimate.high:{form}}"
    return join(mean, " ", tag("small", f"[{interval}]", class_="interval"))
