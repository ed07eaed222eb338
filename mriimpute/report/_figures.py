"""The charts of an evaluation: gain by subject, scores by distance, calibration, fitting, time."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from mriimpute.evaluation import MethodSummary, Result, Summary
from mriimpute.evaluation.columns import BY_DISTANCE
from mriimpute.evaluation.definitions import DEFINITIONS
from mriimpute.report._charts import Frame, Series, dot_rows, histogram, line_chart
from mriimpute.report._html import join, tag
from mriimpute.report._styles import LineStyle

__all__ = ["calibration", "distances", "fits", "gains", "times", "volumes"]

LEVELS = (50, 80, 90, 95)
VOLUME_ROWS = {"tissue_volume_error_percent": "", "tissue_volume_draws_percent": ", by draws"}
FITTED = LineStyle("#0072B2", "o")
HELD_OUT = LineStyle("#D55E00", "s", (4, 1.6))

ROUNDING = 0.005
"""By so little spacings differ that read the same."""

Styles = Mapping[str, LineStyle]


def gains(summary: Summary, styles: Styles) -> Markup:
    """Returns each subject's gain over the best interpolator as a dot, by method."""
    baseline = summary.best_interpolator
    baseline_db = _per_subject(summary.results, baseline, "psnr_db")
    rows, means = {}, {}
    for scored in summary.methods:
        if scored.method == baseline:
            continue
        psnr_db = _per_subject(summary.results, scored.method, "psnr_db")
        rows[scored.method] = [(name, psnr_db[name] - baseline_db[name]) for name in psnr_db]
        gain = scored.gain_db
        means[scored.method] = (gain.mean, gain.low, gain.high)
    frame = Frame(
        title="Gain in PSNR of each subject by method",
        x_label=f"PSNR minus that of {baseline}, dB",
    )
    return dot_rows(rows, frame, styles, means=means, zero=0.0)


def volumes(summary: Summary, styles: Styles) -> Markup:
    """Returns each subject's error of tissue volumes, in the mean and by draws; or nothing."""
    rows, means, of_rows = {}, {}, {}
    for scored in summary.methods:
        for metric, ending in VOLUME_ROWS.items():
            found = _per_subject(summary.results, scored.method, metric)
            if not all(map(math.isfinite, found.values())):
                continue
            name, mean = f"{scored.method}{ending}", scored.scores[metric]
            rows[name], of_rows[name] = list(found.items()), styles[scored.method]
            means[name] = (mean.mean, mean.low, mean.high)
    if not rows:
        return Markup()
    frame = Frame(
        title="Error of tissue volumes of each subject, in the mean and by draws",
        x_label="error of tissue volumes, % of volume",
    )
    return dot_rows(rows, frame, of_rows, means=means, zero=0.0)


def distances(summary: Summary, styles: Styles) -> Markup:
    """Returns scores against the distance to the nearest acquired slice."""
    mm: dict[int, list[float]] = {}
    for row in summary.results:
        for b in row.bins:
            if b.kind == "distance":
                mm.setdefault(b.steps, []).append(b.mm)
    alike = all(math.isclose(min(of), max(of), rel_tol=ROUNDING) for of in mm.values())
    if len(mm) < 2:
        (of,) = mm.values()
        far = f"{min(of):.3g}" if alike else f"{min(of):.3g} to {max(of):.3g}"
        only = f"All missing voxels lie {far} mm from the nearest acquired slice."
        if not alike:
            only += " Scans differ in spacing."
        return tag("p", f"{only} There is one distance, and nothing to draw.", class_="note")
    # Where scans differ in spacing, a mean over them has a distance in voxels and none in mm.
    far_of = {steps: of[-1] if alike else float(steps) for steps, of in mm.items()}
    unit = "mm" if alike else "voxels"
    charts = [
        _by_distance(metric, summary.methods, far_of, unit, styles) for metric in BY_DISTANCE
    ]
    return tag("div", *charts, class_="charts")


def calibration(summary: Summary, styles: Styles) -> Markup:
    """Returns coverage against what was stated, sparsification, and rank histograms."""
    stating = [s for s in summary.methods if s.curves is not None or _covers(s)]
    if not stating:
        return tag("p", "No method here states an uncertainty.", class_="note")
    charts = [
        _coverage(stating, styles, "", "intervals of the draws"),
        _coverage(stating, styles, "_std", "mean +- z std"),
        _sparsification(stating, styles),
    ]
    histograms = [
        _figure(_ranks(s.method, s.curves.ranks, styles), s.method)
        for s in stating
        if s.curves and s.curves.ranks
    ]
    grid = tag("div", *charts, class_="charts")
    if not histograms:
        return grid
    heading = tag("h3", "Where the truth ranks among the draws")
    return join(grid, heading, tag("div", *histograms, class_="charts small"))


def fits(rows: Sequence[Result], method: str) -> Markup:
    """Returns how the loss of a method that is fitted to each scan fell, and where it stopped."""
    traced = [(row, row.trace) for row in rows if row.method == method and row.trace is not None]
    series, rings = [], []
    for row, trace in reversed(traced):  # the first scan last: it is drawn above the others
        first = row is traced[0][0]
        for losses, style, kind in (
            (trace.fitted, FITTED, "fitted"),
            (trace.held_out, HELD_OUT, "held out"),
        ):
            steps = [float(trace.every * (n + 1)) for n in range(len(losses))]
            series.append(Series(f"{row.scan}, {kind}", steps, losses, style, faint=not first))
            if losses and first:
                n = min(range(len(losses)), key=lambda n: abs(steps[n] - trace.stopped_at))
                rings.append((f"result: step {trace.stopped_at}", steps[n], losses[n]))
    frame = Frame(
        title=f"Loss of {method} while it is fitted to a scan",
        x_label="steps",
        y_label="loss",
        y_scale="log",
    )
    stops = sorted(trace.stopped_at for _, trace in traced)
    span = f"{stops[0]}" if stops[0] == stops[-1] else f"{stops[0]} to {stops[-1]}"
    seconds = sum(row.seconds for row, _ in traced) / len(traced)
    caption = f"{method}: result of step {span}; {seconds:.3g} s per volume on average"
    return _figure(line_chart(series, frame, rings=rings), caption)


def times(summary: Summary, styles: Styles) -> Markup:
    """Returns the seconds of one volume, scan by scan."""
    rows = {
        s.method: [(row.scan, row.seconds) for row in summary.results if row.method == s.method]
        for s in summary.methods
    }
    means = {s.method: (s.scores["seconds"].mean, math.nan, math.nan) for s in summary.methods}
    frame = Frame(
        title="Seconds of one volume, by method", x_label="seconds per volume", x_scale="log"
    )
    return dot_rows(rows, frame, styles, means=means)


def _by_distance(
    metric: str,
    summaries: Sequence[MethodSummary],
    far: Mapping[int, float],
    unit: str,
    styles: Styles,
) -> Markup:
    definition = DEFINITIONS[metric]
    label = ", ".join(filter(None, (definition.title, definition.unit)))
    series = [
        Series(
            scored.method,
            [far[steps] for steps in scored.distances],
            [scores[metric].mean for scores in scored.distances.values()],
            styles[scored.method],
        )
        for scored in summaries
    ]
    if not _any_number(series):
        return Markup()
    ideal = definition.ideal
    frame = Frame(
        title=f"{label}, by distance to the nearest acquired slice",
        x_label=f"distance to the nearest acquired slice, {unit}",
        y_label=label,
        x_ticks=tuple(sorted(far.values())),
    )
    ends = [] if ideal is None else [(min(far.values()), ideal), (max(far.values()), ideal)]
    return _figure(line_chart(series, frame, ideal=ends), label)


def _coverage(stating: Sequence[MethodSummary], styles: Styles, suffix: str, label: str) -> Markup:
    stated = [level / 100 for level in LEVELS]
    series = [
        Series(
            s.method,
            stated,
            [s.scores[f"coverage{level}{suffix}"].mean for level in LEVELS],
            styles[s.method],
        )
        for s in stating
    ]
    if not _any_number(series):
        return Markup()
    frame = Frame(
        title=f"Fraction of voxels covered against the fraction stated, {label}",
        x_label="stated",
        y_label="covered",
        x_limits=(0.45, 1.0),
    )
    diagonal = [(0.5, 0.5), (0.95, 0.95)]
    return _figure(line_chart(series, frame, ideal=diagonal), f"Coverage, {label}")


def _sparsification(stating: Sequence[MethodSummary], styles: Styles) -> Markup:
    series = []
    for s in stating:
        if s.curves is None or not s.curves.removed:
            continue
        style, removed = styles[s.method], s.curves.removed
        series.append(Series(s.method, removed, s.curves.remaining, style))
        # What no uncertainty can beat; it belongs to the method, so it has its colour.
        series.append(Series(f"{s.method}, oracle", removed, s.curves.oracle, style, faint=True))
    if not _any_number(series):
        return Markup()
    frame = Frame(
        title="Error of what is left when the most uncertain voxels are removed",
        x_label="fraction of voxels removed, most uncertain first",
        y_label="RMSE of the rest / of all",
    )
    return _figure(line_chart(series, frame), "Sparsification (thin: largest errors first)")


def _ranks(method: str, ranks: Sequence[float], styles: Styles) -> Markup:
    frame = Frame(
        title=f"Rank of the truth among the draws of {method}",
        x_label=f"rank of the truth among {len(ranks) - 1} draws",
        y_label="fraction of voxels",
    )
    return histogram(ranks, frame, styles[method].colour, level=1 / len(ranks))


def _covers(scored: MethodSummary) -> bool:
    names = [f"coverage{level}{suffix}" for level in LEVELS for suffix in ("", "_std")]
    return any(math.isfinite(scored.scores[name].mean) for name in names)


def _figure(chart: Markup, caption: str) -> Markup:
    return tag("figure", chart, tag("figcaption", caption))


def _any_number(series: Sequence[Series]) -> bool:
    return any(math.isfinite(y) for line in series for y in line.y)


def _per_subject(rows: Sequence[Result], method: str, metric: str) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.method == method:
            scores.setdefault(row.subject, []).append(getattr(row, metric))
    return {subject: sum(values) / len(values) for subject, values in scores.items()}
