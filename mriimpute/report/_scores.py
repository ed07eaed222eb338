"""The tables of numbers of an evaluation's page."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mriimpute.evaluate import Estimate, MethodSummary, Summary
from mriimpute.evaluate.definitions import DEFINITIONS, Definition
from mriimpute.report._html import Markup, join, tag

__all__ = ["accuracy", "differences", "regions", "uncertainty"]


class Column(NamedTuple):
    """One score: its head, its name and its digits."""

    head: str
    metric: str
    digits: int


ACCURACY = (
    Column("SSIM", "ssim", 4),
    Column("NRMSE", "nrmse", 4),
    Column("MSE", "mse", 5),
    Column("MAE %", "mae_percent", 2),
    Column("HFEN", "hfen", 3),
    Column("gradient PSNR", "gradient_psnr_db", 2),
    Column("PSNR at edges", "psnr_edge_db", 2),
    Column("PSNR off edges", "psnr_flat_db", 2),
    Column("stripes", "stripes", 3),
    Column("tissue Dice", "tissue_dice", 3),
    Column("tissue volume %", "tissue_volume_error_percent", 1),
    Column("s / volume", "seconds", 2),
)
UNCERTAINTY = (
    Column("CRPS %", "crps_percent", 3),
    Column("CRPS ratio", "crps_ratio", 3),
    Column("energy %", "energy_percent", 3),
    Column("NLL std", "nll_std", 3),
    Column("NLL draws", "nll_draws", 3),
    Column("ELBO", "elbo", 3),
    Column("cover 50", "coverage50", 3),
    Column("cover 80", "coverage80", 3),
    Column("cover 90", "coverage90", 3),
    Column("cover 95", "coverage95", 3),
    Column("std 90", "coverage90_std", 3),
    Column("spread / skill", "spread_skill", 2),
    Column("stripes of draws", "stripes_draw", 3),
    Column("rank distance", "rank_distance", 3),
    Column("draw gap dB", "draw_gap_db", 2),
    Column("AUSE", "ause", 3),
    Column("s / draw", "seconds_per_draw", 2),
)
REGIONS = (
    Column("Dice", "structure_dice", 3),
    Column("volume error %", "structure_volume_error_percent", 1),
    Column("error %", "region_error_percent", 2),
    Column("cover 90", "region_coverage90", 3),
    Column("spread / skill", "region_spread_skill", 2),
    Column("error / std", "region_error_stds", 2),
    Column("carried error %", "carried_error_percent", 2),
    Column("carried 90", "carried_coverage90", 3),
    Column("carried s/s", "carried_spread_skill", 2),
    Column("carried error / std", "carried_error_stds", 2),
)
ARROWS = {"higher": "\u2191", "lower": "\u2193"}
ROLES = {
    "interpolator": "the best interpolator",
    "default": "the model that ships",
    "best": "the best method",
}


def accuracy(summary: Summary) -> Markup:
    """Returns what the means are worth, with intervals of PSNR and of the gain.

    Methods that failed too often to be compared stand at the end, without numbers.
    """
    best = summary.best_interpolator
    heads = ["PSNR dB"]
    if best and len(summary.methods) > 1:
        heads.append(f"gain over {best} dB")
        if _compared(summary, "interpolator"):
            heads.append("Holm p")
    failed = ["failed on"] if summary.failed else []
    top = max(round(_mean(s, "psnr_db"), 2) for s in summary.methods)
    first = [
        [
            _with_interval(s.scores["psnr_db"], ".2f", bold=round(_mean(s, "psnr_db"), 2) == top),
            _with_interval(s.gain_db, "+.2f"),
            _p(s, "interpolator"),
        ][: len(heads)]
        + [join(summary.failures(s.method) or "-") for _ in failed]
        for s in summary.methods
    ]
    lost = {m: ["-"] * len(heads) + [summary.failures(m)] for m in summary.not_compared}
    return _table(
        "Accuracy of the mean", summary.methods, ACCURACY, [*heads, *failed], first, lost
    )


def uncertainty(summary: Summary) -> Markup:
    """Returns what stated uncertainties are worth."""
    return _table("Stated uncertainty", summary.methods, UNCERTAINTY)


def regions(summary: Summary) -> Markup:
    """Returns the scores of structures; nothing without label maps."""
    if not any(row.regions for row in summary.results):
        return Markup()
    return _table("Structures of the label maps", summary.methods, REGIONS)


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
            tag("th", standing.method, scope="row"),
            *(cell for role in roles for cell in _comparison(standing, role)),
        )
        for standing in summary.methods
    ]
    head = tag(
        "thead",
        tag("tr", tag("th", "method", rowspan=2, scope="col"), *groups),
        tag("tr", *heads),
    )
    return _scrolled("Differences in PSNR, subject by subject", head, body)


def _compared(summary: Summary, role: str) -> bool:
    return any(role in standing.comparisons for standing in summary.methods)


def _comparison(standing: MethodSummary, role: str) -> list[Markup]:
    found = standing.comparisons.get(role)
    if found is None:
        return [tag("td", "-")] * 4
    return [
        tag("td", _with_interval(found.mean, "+.2f")),
        tag("td", _with_interval(found.median, "+.2f")),
        tag("td", f"{found.wins}/{found.subjects}"),
        tag("td", _p(standing, role)),
    ]


def _p(standing: MethodSummary, role: str) -> Markup:
    found = standing.comparisons.get(role)
    if found is None:
        return join("-")
    return join("< 0.001" if found.p < 0.001 else _number(found.p, ".3f"))


def _table(
    title: str,
    summaries: Sequence[MethodSummary],
    columns: Sequence[Column],
    heads: Sequence[str] = (),
    first: Sequence[Sequence[Markup]] = (),
    lost: Mapping[str, Sequence[str]] | None = None,
) -> Markup:
    shown = [column for column in columns if _earned(summaries, column.metric)]
    if not shown and not heads:
        return Markup()
    head = [tag("th", "method", scope="col"), *(tag("th", text, scope="col") for text in heads)]
    head += [
        tag(
            "th",
            column.head,
            *_good(column),
            scope="col",
            title=_definition(column.metric).meaning(),
        )
        for column in shown
    ]
    best = {column.metric: _best(summaries, column) for column in shown}
    rows = []
    for number, standing in enumerate(summaries):
        cells = [tag("td", cell) for cell in (first[number] if first else ())]
        for column in shown:
            text = _number(_mean(standing, column.metric), f".{column.digits}f")
            cells.append(tag("td", tag("b", text) if number in best[column.metric] else text))
        rows.append(tag("tr", tag("th", standing.method, scope="row"), *cells))
    for method, texts in (lost or {}).items():
        cells = [tag("td", text) for text in (*texts, *("-" for _ in shown))]
        rows.append(tag("tr", tag("th", method, scope="row"), *cells))
    return _scrolled(title, tag("thead", tag("tr", *head)), rows)


def _scrolled(title: str, head: Markup, rows: Sequence[Markup]) -> Markup:
    """Returns a table that a narrow window scrolls sideways, by keyboard, too."""
    table = tag("table", tag("caption", title), head, tag("tbody", *rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=title)


def _definition(metric: str) -> Definition:
    """Returns what a score means; "carried" ones mean the same of other voxels."""
    found = DEFINITIONS.get(metric)
    return found or DEFINITIONS[metric.replace("carried_", "region_")]


def _good(column: Column) -> tuple[Markup, ...]:
    """Returns what is good in a column: an arrow up or down, or the ideal number."""
    better = _definition(column.metric).better
    if not better:
        return ()
    said = f"{better} is better" if better in ARROWS else f"ideally {better}"
    return (tag("small", ARROWS.get(better, better), title=said),)


def _best(summaries: Sequence[MethodSummary], column: Column) -> set[int]:
    """Returns the rows whose printed number is the best of the column; none if it is alone."""
    values = {n: _mean(s, column.metric) for n, s in enumerate(summaries)}
    known = {n: round(value, column.digits) for n, value in values.items() if math.isfinite(value)}
    better = _definition(column.metric).better
    if not better or len(known) < 2:
        return set()
    if better in ARROWS:
        pick = max(known.values()) if better == "higher" else min(known.values())
        return {n for n, value in known.items() if value == pick}
    ideal = float(better)
    near = min(abs(value - ideal) for value in known.values())
    return {n for n, value in known.items() if math.isclose(abs(value - ideal), near)}


def _earned(summaries: Sequence[MethodSummary], metric: str) -> bool:
    return any(math.isfinite(_mean(standing, metric)) for standing in summaries)


def _mean(standing: MethodSummary, metric: str) -> float:
    if metric == "crps_ratio":
        return standing.crps_ratio.mean
    estimate = standing.scores.get(metric)
    return math.nan if estimate is None else estimate.mean


def _with_interval(estimate: Estimate, form: str, *, bold: bool = False) -> Markup:
    text = _number(estimate.mean, form)
    mean = tag("b", text) if bold else text
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return join(mean)
    interval = f"{estimate.low:{form}} to {estimate.high:{form}}"
    return join(mean, " ", tag("small", f"[{interval}]", class_="interval"))


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"
