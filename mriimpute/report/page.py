"""The report that people open: one offline HTML file of an evaluation.

Everything is inside of the file: style, script, pictures, charts. It opens without a network, is
readable without colours, prints, and shows no face: its pictures are those of
`mriimpute.evaluation.panels`, which keeps nothing outside of the brain, and no profile of a head.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from mriimpute.evaluation import MethodSummary, Panel, Summary
from mriimpute.evaluation.definitions import DEFINITIONS, meanings
from mriimpute.evaluation.without_truth import SEEN
from mriimpute.imputation.bids import NOTICE
from mriimpute.provenance import versions
from mriimpute.report import _figures, _scores
from mriimpute.report._html import document, join, pairs, tag, write_html
from mriimpute.report._mosaics import Mosaics, flicker_of
from mriimpute.report._pictures import Album
from mriimpute.report._styles import LineStyle, legend, line_styles

__all__ = ["write_page"]


def write_page(path: Path, summary: Summary) -> None:
    """Writes the page of an evaluation, atomically; the same summary gives the same bytes.

    Args:
        path: Of the page, `REPORT/index.html`.
        summary: What to show.
    """
    write_html(path, _page(summary))


def _page(summary: Summary) -> Markup:
    styles = line_styles(scored.method for scored in summary.methods)
    album = Album()
    sections = {
        "scores": ("Scores", _tables(summary)),
        "subjects": ("Subject by subject", _subjects(summary, styles)),
        "images": ("What was imputed", _images(summary, album)),
        "failure": ("Where it fails", _failure(summary, album)),
        "distance": ("By distance to the nearest acquired slice", _distance(summary, styles)),
        "calibration": ("Is the uncertainty calibrated?", _calibration(summary, styles)),
        "time": ("Time", _time(summary, styles)),
        "definitions": ("What each number means", _definitions(meanings(summary.protocol))),
        "settings": ("Settings and versions", _settings(summary)),
    }
    filled = {name: section for name, section in sections.items() if section[1]}
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, (title, _) in filled.items()]
    methods = len(summary.methods)
    title = f"{methods} method{'s' if methods != 1 else ''} on {summary.scored_subjects}"
    return document(
        f"mriimpute: {title}",
        tag("a", "Skip to the scores", href="#scores", class_="skip"),
        tag(
            "header",
            tag("p", "mriimpute evaluate", class_="kicker"),
            tag("h1", title),
            _lead(summary),
            _warnings(summary),
            tag("p", NOTICE, class_="notice"),
        ),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        album.stored(),
        tag("main", *(_section(name, *section) for name, section in filled.items())),
        tag("footer", tag("p", f"mriimpute {versions()['mriimpute']}. {NOTICE}")),
    )


def _section(name: str, title: str, content: Markup) -> Markup:
    heading = tag("h2", title, id=f"{name}-title")
    return tag("section", heading, content, id=name, aria_labelledby=f"{name}-title")


def _lead(summary: Summary) -> Markup:
    """Returns the finding in a sentence, and what was compared."""
    names = join(*_listed([scored.method for scored in summary.methods]))
    question = f"{summary.protocol.title}, against {summary.protocol.answer}: "
    compared = tag("p", question, names, ".")
    best, baseline = _best(summary), summary.best_interpolator
    if not summary.ranked or not baseline or best is None or best.method == baseline:
        return compared
    gain = best.gain_db
    against = best.comparisons.get("interpolator")
    wins = f", higher in {against.wins} of {against.subjects} subjects" if against else ""
    finding = tag(
        "p",
        tag("b", best.method), " has the highest mean PSNR: ",
        tag("b", f"{gain.mean:+.2f} dB"), f" [{gain.low:+.2f} to {gain.high:+.2f}] against ",
        tag("b", baseline), f", the best interpolator{wins}.",
        class_="finding",
    )  # fmt: skip
    return join(finding, compared)


def _warnings(summary: Summary) -> Markup:
    warnings = []
    if summary.left_out:
        names = ", ".join(summary.left_out)
        warnings.append(f"Left out, as files are missing or cannot be read: {names}.")
    warnings += _failures(summary)
    if not summary.ranked:
        warnings.append("Fewer than five subjects: nothing is ranked, and means have no interval.")
    if summary.split != "test":
        warnings.append(
            f"Scored on the split {summary.split!r}, not on test subjects: that is fair only to "
            "models that have not learnt from these scans."
        )
    if any(scored.method.endswith(SEEN) for scored in summary.methods):
        warnings.append(
            f"Methods whose name ends in {SEEN} have learnt from these very scans, what is hidden "
            "included."
        )
    if not warnings:
        return Markup()
    return tag("ul", *(tag("li", text) for text in warnings), class_="warnings", role="note")


def _failures(summary: Summary) -> list[str]:
    """Returns which method failed where, and what that means for the others."""
    warnings = [
        f"{method} failed on {summary.failures(method)} scans: {', '.join(scans)}."
        + (" It is not compared." if method in summary.not_compared else "")
        for method, scans in summary.failed.items()
    ]
    if summary.scans < summary.scans_tried:
        warnings.append(
            f"Compared on {summary.scans} of {summary.scans_tried} scans, the same for all: "
            "one on which a method that is compared failed counts for none."
        )
    return warnings


def _tables(summary: Summary) -> Markup:
    order = "best mean PSNR first" if summary.ranked else "in the order asked for"
    interval = (
        " In brackets: 95 % bootstrap intervals of the mean over subjects."
        if summary.ranked
        else ""
    )
    note = (
        f"Means over {summary.scored_subjects}, {order}.{interval} Percent are of the data range. "
        "Bold: best of the column, as printed. What each column means stands below, under "
    )
    link = tag("a", "definitions", href="#definitions")
    return join(
        tag("p", note, link, ".", class_="note"),
        _bias(summary),
        _scores.accuracy(summary),
        _scores.differences(summary),
        _scores.uncertainty(summary),
        _scores.structures(summary),
        _scores.volumes(summary),
    )


def _bias(summary: Summary) -> Markup:
    bias = summary.protocol.bias
    if not bias:
        return Markup()
    return tag("p", tag("b", "To know before believing these: "), bias, class_="warnings plain")


def _subjects(summary: Summary, styles: Mapping[str, LineStyle]) -> Markup:
    others = [s for s in summary.methods if s.method != summary.best_interpolator]
    if not summary.best_interpolator or not others:
        return Markup()
    note = (
        "Each marker is a subject; the black diamond below is the mean, its line the interval. A "
        "marker left of the zero line is a subject for whom the method is worse."
    )
    return join(
        tag("p", note, class_="note"),
        _figures.gains(summary, styles),
        _figures.volumes(summary, styles),
    )


def _images(summary: Summary, album: Album) -> Markup:
    if not summary.panels:
        return Markup()
    panels = _in_order(summary, summary.panels)
    mosaics = Mosaics(album, panels)
    baseline, method = summary.best_interpolator, summary.shown_method
    note = (
        f"{mosaics.first.scan}, the first scan: chosen before any score was known. Masked to the "
        f"{summary.protocol.part}. Red lines at the margins: acquired slices. All "
        "images share one window, all errors one scale and all standard deviations another; dB is "
        "of the missing voxels of the plane shown."
    )
    return join(
        tag("p", note, class_="note"),
        mosaics.overview(baseline, method),
        tag("h3", "Before and after, in one place"),
        flicker_of(mosaics, baseline or "truth", method or "truth"),
        tag("h3", "Every method: image, error, standard deviation"),
        mosaics.each(),
    )


def _failure(summary: Summary, album: Album) -> Markup:
    if not summary.worst:
        return Markup()
    panels = _in_order(summary, summary.worst)
    baseline, method = summary.best_interpolator, summary.best_non_interpolator
    mosaics = Mosaics(album, panels)
    scan = mosaics.first.scan
    psnr_db = {row.method: row.psnr_db for row in summary.results if row.scan == scan}
    gain = ""
    if baseline in psnr_db and method in psnr_db:
        gain = f": {psnr_db[method] - psnr_db[baseline]:+.2f} dB over the whole scan"
    note = (
        f"{scan}, the scan where {method} gains least over {baseline}{gain}. "
        "Chosen by that, so it is no typical scan."
    )
    return join(tag("p", note, class_="note"), mosaics.overview(baseline, method, failure=True))


def _distance(summary: Summary, styles: Mapping[str, LineStyle]) -> Markup:
    if not any(scored.distances for scored in summary.methods):
        return Markup()
    charts = _figures.distances(summary, styles)
    return join(legend(styles, "distance"), charts) if "<svg" in charts else charts


def _calibration(summary: Summary, styles: Mapping[str, LineStyle]) -> Markup:
    note = (
        "A calibrated sampler follows the dashed line, and its rank histogram is flat: a U is a "
        "standard deviation that is too small, a hill one that is too large. Sparsification asks "
        "whether the largest stated uncertainty lies where the largest errors are."
    )
    charts = _figures.calibration(summary, styles)
    stating = {s.method: styles[s.method] for s in summary.methods if _states_uncertainty(s)}
    return join(tag("p", note, class_="note"), legend(stating, "calibration"), charts)


def _time(summary: Summary, styles: Mapping[str, LineStyle]) -> Markup:
    note = (
        "Mean and standard deviation of one volume, on the machine of this evaluation, without "
        "reading and scoring. Markers: scans; black diamond: the mean."
    )
    parts = [tag("p", note, class_="note"), _figures.times(summary, styles)]
    fitted = dict.fromkeys(row.method for row in summary.results if row.trace is not None)
    return join(*parts, _fits(summary, list(fitted)) if fitted else "")


def _fits(summary: Summary, methods: Sequence[str]) -> Markup:
    note = (
        "The loss of methods that are fitted to each scan, every scan (faint) and the first: "
        "blue circles are fitted, orange squares held out; rings: the step whose result was "
        "kept, chosen without truth. Of a method that is fitted plane by plane all of these "
        "are means over its planes, where one that has ended counts with its last loss."
    )
    return join(
        tag("h3", "Fitted to the scan itself"),
        tag("p", note, class_="note"),
        tag("div", *(_figures.fits(summary.results, name) for name in methods), class_="charts"),
    )


def _definitions(texts: Mapping[str, str]) -> Markup:
    entries = [
        tag("div", tag("dt", DEFINITIONS[name].title, " ", tag("code", name)), tag("dd", text))
        for name, text in texts.items()
    ]
    return tag("dl", *entries)


def _settings(summary: Summary) -> Markup:
    facts = {
        "scored": f"{summary.scored_subjects}, {summary.scans} scans",
        "split": summary.split,
        **{name.replace("_", " "): str(value) for name, value in summary.settings.items()},
    }
    tables = [
        pairs("What every number depends on", facts),
        pairs("Versions", versions()),
    ]
    if summary.fingerprints:
        tables.append(pairs("Checksum of the weights, or version", summary.fingerprints))
    return tag("div", *tables, class_="pairs")


def _listed(names: Sequence[str]) -> list[Markup]:
    return [
        join(", " if number else "", tag("span", name, class_="method"))
        for number, name in enumerate(names)
    ]


def _best(summary: Summary) -> MethodSummary | None:
    return max(summary.methods, key=lambda s: s.scores["psnr_db"].mean, default=None)


def _in_order(summary: Summary, panels: Mapping[str, Panel]) -> dict[str, Panel]:
    return {s.method: panels[s.method] for s in summary.methods if s.method in panels}


def _states_uncertainty(scored: MethodSummary) -> bool:
    return scored.curves is not None and bool(scored.curves.ranks or scored.curves.removed)
