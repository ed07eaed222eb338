"""The charts of an evaluation: gain by subject, scores by distance, calibration, fitting, time."""

import math
from collections.abc import Mapping, Sequence

from mriimpute.evaluate import MethodSummary, Result, Summary
from mriimpute.report._chart import Frame, Series, bars, curves, strips
from mriimpute.report._html import Markup, join, tag
from mriimpute.report._styles import Look

__all__ = ["calibration", "distances", "fits", "gains", "times"]

LEVELS = (50, 80, 90, 95)
BY_DISTANCE = (
    ("psnr_db", "PSNR, dB", None),
    ("crps_percent", "CRPS, % of the data range", None),
    ("coverage90", "share covered by 90 % intervals", 0.9),
)
HELD_OUT = Look("#D55E00", "square", "7 3")
FITTED = Look("#0072B2", "circle", "")

Looks = Mapping[str, Look]


def gains(summary: Summary, looks: Looks) -> Markup:
    """Returns each subject's gain over the best interpolator as a dot, by method."""
    reference = _per_subject(summary.results, summary.best_interpolator, "psnr_db")
    rows: dict[str, list[tuple[str, float]]] = {}
    means = {}
    for standing in summary.methods:
        if standing.method == summary.best_interpolator:
            continue
        own = _per_subject(summary.results, standing.method, "psnr_db")
        rows[standing.method] = [(name, own[name] - reference[name]) for name in own]
        gain = standing.gain_db
        means[standing.method] = (gain.mean, gain.low, gain.high)
    frame = Frame(
        title="Gain in PSNR of each subject by method",
        x_label=f"PSNR minus that of {summary.best_interpolator}, dB",
    )
    return strips(rows, frame, looks, means=means, zero=0.0)


def distances(summary: Summary, looks: Looks) -> Markup:
    """Returns scores against the distance to the nearest acquired slice."""
    mm = {b.steps: b.mm for row in summary.results for b in row.bins if b.kind == "distance"}
    if len(mm) < 2:
        only = f"All missing voxels lie {min(mm.values()):.3g} mm from the nearest acquired slice."
        return tag("p", f"{only} There is one distance, and nothing to draw.", class_="note")
    charts = []
    for metric, label, ideal in BY_DISTANCE:
        series = [
            Series(
                standing.method,
                [mm[steps] for steps in standing.distances],
                [scores[metric].mean for scores in standing.distances.values()],
                looks[standing.method],
            )
            for standing in summary.methods
        ]
        if not _any_number(series):
            continue
        ends = [(min(mm.values()), ideal), (max(mm.values()), ideal)] if ideal else []
        frame = Frame(
            title=f"{label}, by distance to the nearest acquired slice",
            x_label="distance to the nearest acquired slice, mm",
            y_label=label,
            x_ticks=tuple(sorted(mm.values())),
        )
        charts.append(_figure(curves(series, frame, ideal=ends), label))
    return tag("div", *charts, class_="charts")


def calibration(summary: Summary, looks: Looks) -> Markup:
    """Returns coverage against what was stated, sparsification, and rank histograms."""
    stating = [s for s in summary.methods if s.curves is not None or _covers(s)]
    if not stating:
        return tag("p", "No method here states an uncertainty.", class_="note")
    parts = []
    for end, of in (("", "draws"), ("_std", "std")):
        chart = _coverage(stating, looks, end, of)
        if chart:
            parts.append(chart)
    sorting = _sparsification(stating, looks)
    if sorting:
        parts.append(sorting)
    histograms = [
        _figure(_histogram(s, looks), s.method) for s in stating if s.curves and s.curves.ranks
    ]
    grids = [tag("div", *parts, class_="charts")]
    if histograms:
        grids += [
            tag("h3", "Where the truth ranks among the draws"),
            tag("div", *histograms, class_="charts small"),
        ]
    return join(*grids)


def fits(rows: Sequence[Result], method: str) -> Markup:
    """Returns how the loss of a method that is fitted to each scan fell, and where it stopped."""
    traced = [row for row in rows if row.method == method and row.trace is not None]
    series, marked = [], {}
    # The first scan last: it is drawn above the others.
    for row in reversed(traced):
        trace = row.trace
        if trace is None:
            continue
        first = row is traced[0]
        for losses, look, what in (
            (trace.fitted, FITTED, "fitted"),
            (trace.held_out, HELD_OUT, "held out"),
        ):
            steps = [float(trace.every * (n + 1)) for n in range(len(losses))]
            series.append(Series(f"{row.scan}, {what}", steps, losses, look, faint=not first))
            if losses and first:
                n = min(range(len(losses)), key=lambda n: abs(steps[n] - trace.stopped_at))
                marked[what] = (steps[n], losses[n])
    frame = Frame(
        title=f"Loss of {method} while it is fitted to a scan",
        x_label="steps",
        y_label="loss",
        log_y=True,
    )
    return _figure(curves(series, frame, marked=marked), f"{method}: {_stops(traced)}")


def times(summary: Summary, looks: Looks) -> Markup:
    """Returns the seconds of one volume, scan by scan."""
    rows = {
        s.method: [(row.scan, row.seconds) for row in summary.results if row.method == s.method]
        for s in summary.methods
    }
    means = {s.method: (s.scores["seconds"].mean, math.nan, math.nan) for s in summary.methods}
    frame = Frame(
        title="Seconds of one volume, by method", x_label="seconds per volume", log_x=True
    )
    return strips(rows, frame, looks, means=means)


def _coverage(stating: Sequence[MethodSummary], looks: Looks, end: str, of: str) -> Markup:
    series = [
        Series(
            s.method,
            [level / 100 for level in LEVELS],
            [s.scores[f"coverage{level}{end}"].mean for level in LEVELS],
            looks[s.method],
        )
        for s in stating
    ]
    if not _any_number(series):
        return Markup()
    label = "intervals of the draws" if of == "draws" else "mean +- z std"
    frame = Frame(
        title=f"Share of voxels covered against the share stated, {label}",
        x_label="stated",
        y_label="covered",
        x=(0.45, 1.0),
    )
    return _figure(curves(series, frame, ideal=[(0.5, 0.5), (0.95, 0.95)]), f"Coverage, {label}")


def _sparsification(stating: Sequence[MethodSummary], looks: Looks) -> Markup:
    series = []
    for s in stating:
        if s.curves is None or not s.curves.removed:
            continue
        series.append(Series(s.method, s.curves.removed, s.curves.remaining, looks[s.method]))
        # What no uncertainty can beat; it belongs to the method, so it has its colour.
        oracle = looks[s.method]._replace(dash="1 3")
        series.append(
            Series(f"{s.method}, oracle", s.curves.removed, s.curves.oracle, oracle, faint=True)
        )
    if not _any_number(series):
        return Markup()
    frame = Frame(
        title="Error of what is left when the most uncertain voxels are removed",
        x_label="share of voxels removed, most uncertain first",
        y_label="RMSE of the rest / of all",
    )
    return _figure(curves(series, frame), "Sparsification (thin: largest errors first)")


def _histogram(standing: MethodSummary, looks: Looks) -> Markup:
    ranks = standing.curves.ranks if standing.curves else ()
    frame = Frame(
        title=f"Rank of the truth among the draws of {standing.method}",
        x_label=f"rank of the truth among {len(ranks) - 1} draws",
        y_label="share of voxels",
    )
    return bars(ranks, frame, looks[standing.method], level=1 / len(ranks))


def _covers(standing: MethodSummary) -> bool:
    return any(
        math.isfinite(standing.scores[f"coverage{level}{end}"].mean)
        for level in LEVELS
        for end in ("", "_std")
        if f"coverage{level}{end}" in standing.scores
    )


def _stops(traced: Sequence[Result]) -> str:
    stops = sorted(row.trace.stopped_at for row in traced if row.trace is not None)
    seconds = [row.seconds for row in traced]
    span = f"{stops[0]}" if stops[0] == stops[-1] else f"{stops[0]} to {stops[-1]}"
    return f"result of step {span}; {sum(seconds) / len(seconds):.3g} s per volume on average"


def _figure(chart: Markup, caption: str) -> Markup:
    return tag("figure", chart, tag("figcaption", caption))


def _any_number(series: Sequence[Series]) -> bool:
    return any(math.isfinite(y) for one in series for y in one.y)


def _per_subject(rows: Sequence[Result], method: str, metric: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.method == method:
            found.setdefault(row.subject, []).append(getattr(row, metric))
    return {subject: sum(values) / len(values) for subject, values in found.items()}
