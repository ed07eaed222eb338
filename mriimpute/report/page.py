"""The report that people open: one offline HTML file of an evaluation.

Everything is inside of the file: style, script, pictures, charts. It opens without a network, is
readable without colours, prints, and shows no face: its pictures are those of
`mriimpute.evaluate.panels`, which keeps nothing outside of the brain, and no profile of a head.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mriimpute.evaluate import MethodSummary, Panel, Summary
from mriimpute.evaluate.definitions import DEFINITIONS, meanings
from mriimpute.evaluate.without_truth import SEEN
from mriimpute.impute.bids import NOTICE
from mriimpute.provenance import versions
from mriimpute.report import _figures, _scores
from mriimpute.report._chart import key_of
from mriimpute.report._html import Markup, document, join, pairs, tag, write_html
from mriimpute.report._mosaics import Mosaics, flicker_of
from mriimpute.report._pictures import Album
from mriimpute.report._styles import Look, looks_of

__all__ = ["write_page"]


def write_page(path: Path, summary: Summary) -> None:
    """Writes the page of an evaluation, atomically; the same summary gives the same bytes.

    Args:
        path: Of the page, `REPORT/index.html`.
        summary: What to show.
    """
    write_html(path, _page(summary))


def _page(summary: Summary) -> Markup:
    looks = looks_of(standing.method for standing in summary.methods)
    album = Album()
    sections = {
        "scores": ("Scores", _tables(summary)),
        "subjects": ("Subject by subject", _subjects(summary, looks)),
        "images": ("What was imputed", _images(summary, album)),
        "failure": ("Where it fails", _failure(summary, album)),
        "distance": ("By distance to the nearest acquired slice", _distance(summary, looks)),
        "calibration": ("Is the uncertainty honest?", _calibration(summary, looks)),
        "time": ("Time", _time(summary, looks)),
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
    names = join(*_listed([standing.method for standing in summary.methods]))
    scored = f"{summary.protocol.title}, against {summary.protocol.answer}: "
    compared = tag("p", scored, names, ".")
    best, plain = _best(summary), summary.best_interpolator
    if not summary.ranked or not plain or best is None or best.method == plain:
        return compared
    gain = best.gain_db
    found = best.comparisons.get("interpolator")
    wins = f", higher in {found.wins} of {found.subjects} subjects" if found else ""
    finding = tag(
        "p",
        tag("b", best.method), " has the highest mean PSNR: ",
        tag("b", f"{gain.mean:+.2f} dB"), f" [{gain.low:+.2f} to {gain.high:+.2f}] against ",
        tag("b", plain), f", the best interpolator{wins}.",
        class_="finding",
    )  # fmt: skip
    return join(finding, compared)


def _warnings(summary: Summary) -> Markup:
    said = []
    if summary.left_out:
        names = ", ".join(summary.left_out)
        said.append(f"Left out, as files are missing or cannot be read: {names}.")
    said += _failures(summary)
    if not summary.ranked:
        said.append("Fewer than five subjects: nothing is ranked, and means have no interval.")
    if summary.split != "test":
        said.append(
            f"Scored on the split {summary.split!r}, not on test subjects: that is fair only to "
            "models that have not learnt from these scans."
        )
    if any(standing.method.endswith(SEEN) for standing in summary.methods):
        said.append(
            f"Methods whose name ends in {SEEN} have learnt from these very scans, what is hidden "
            "included."
        )
    if not said:
        return Markup()
    return tag("ul", *(tag("li", text) for text in said), class_="warnings", role="note")


def _failures(summary: Summary) -> list[str]:
    """Returns which method failed where, and what that means for the others."""
    said = [
        f"{method} failed on {summary.failures(method)} scans: {', '.join(scans)}."
        + (" It is not compared." if method in summary.not_compared else "")
        for method, scans in summary.failed.items()
    ]
    if summary.scans < summary.scans_tried:
        said.append(
            f"Compared on {summary.scans} of {summary.scans_tried} scans, the same for all: "
            "one on which a method that is compared failed counts for none."
        )
    return said


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
        _scores.regions(summary),
    )


def _bias(summary: Summary) -> Markup:
    bias = summary.protocol.bias
    if not bias:
        return Markup()
    return tag("p", tag("b", "To know before believing these: "), bias, class_="warnings plain")


def _subjects(summary: Summary, looks: Mapping[str, Look]) -> Markup:
    others = [s for s in summary.methods if s.method != summary.best_interpolator]
    if not summary.best_interpolator or not others:
        return Markup()
    note = (
        "Each mark is a subject; the black diamond below is the mean, its line the interval. A "
        "mark left of the zero line is a subject for scored_subjects the method is worse."
    )
    return join(tag("p", note, class_="note"), _figures.gains(summary, looks))


def _images(summary: Summary, album: Album) -> Markup:
    if not summary.panels:
        return Markup()
    panels = _in_order(summary, summary.panels)
    mosaics = Mosaics(album, panels)
    plain, ours = summary.best_interpolator, summary.shown_method
    before, after = (plain or "truth"), (ours or "truth")
    note = (
        f"{mosaics.first.scan}, the first scan: chosen before any score was known. Masked to the "
        f"{summary.protocol.part}. Red marks at the margins: acquired slices. All "
        "images share one window, all errors one scale; dB is of the missing voxels of the plane "
        "shown."
    )
    return join(
        tag("p", note, class_="note"),
        mosaics.overview(plain, ours),
        tag("h3", "Before and after, in one place"),
        flicker_of(mosaics, before, after),
        tag("h3", "Every method: image, error, standard deviation"),
        mosaics.each(),
    )


def _failure(summary: Summary, album: Album) -> Markup:
    if not summary.worst:
        return Markup()
    panels = _in_order(summary, summary.worst)
    plain, ours = summary.best_interpolator, summary.best_non_interpolator
    mosaics = Mosaics(album, panels)
    scan = mosaics.first.scan
    psnr_db = {row.method: row.psnr_db for row in summary.results if row.scan == scan}
    gain = ""
    if plain in psnr_db and ours in psnr_db:
        gain = f": {psnr_db[ours] - psnr_db[plain]:+.2f} dB over the whole scan"
    note = (
        f"{scan}, the scan where {ours} gains least over {plain}{gain}. "
        "Chosen by that, so it is no typical scan."
    )
    return join(tag("p", note, class_="note"), mosaics.overview(plain, ours, failure=True))


def _distance(summary: Summary, looks: Mapping[str, Look]) -> Markup:
    if not any(standing.distances for standing in summary.methods):
        return Markup()
    charts = _figures.distances(summary, looks)
    return join(key_of(looks), charts) if "<svg" in charts else charts


def _calibration(summary: Summary, looks: Mapping[str, Look]) -> Markup:
    note = (
        "An honest sampler follows the dashed line, its rank histogram is flat: a U tells of too "
        "little spread, a hill of too much. Sparsification asks whether the largest stated "
        "uncertainty lies where the largest errors are."
    )
    charts = _figures.calibration(summary, looks)
    stating = {s.method: looks[s.method] for s in summary.methods if _states(s)}
    return join(tag("p", note, class_="note"), key_of(stating) if stating else "", charts)


def _time(summary: Summary, looks: Mapping[str, Look]) -> Markup:
    note = (
        "Mean and standard deviation of one volume, on the machine of this evaluation, without "
        "reading and scoring. Marks: scans; black diamond: the mean."
    )
    parts = [tag("p", note, class_="note"), _figures.times(summary, looks)]
    fitted = dict.fromkeys(row.method for row in summary.results if row.trace is not None)
    if fitted:
        said = (
            "The loss of methods that are fitted to each scan, every scan (faint) and the first: "
            "blue circles are fitted, orange squares held out; rings: the step whose result was "
            "kept, chosen without truth. Of a method that is fitted plane by plane all of these "
            "are means over its planes, where one that has ended counts with its last loss."
        )
        figures = [_figures.fits(summary.results, method) for method in fitted]
        parts += [
            tag("h3", "Fitted to the scan itself"),
            tag("p", said, class_="note"),
            tag("div", *figures, class_="charts"),
        ]
    return join(*parts)


def _definitions(texts: Mapping[str, str]) -> Markup:
    entries = [
        tag("div", tag("dt", _title(name), " ", tag("code", name)), tag("dd", text))
        for name, text in texts.items()
    ]
    return tag("dl", *entries)


def _title(name: str) -> str:
    return DEFINITIONS[name].title if name in DEFINITIONS else name


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


def _states(standing: MethodSummary) -> bool:
    return standing.curves is not None and bool(standing.curves.ranks or standing.curves.removed)
