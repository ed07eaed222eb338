"""Tests for mriimpute.report.page and what it is made of."""

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mriimpute.evaluation import Estimate, Region, Summary
from mriimpute.evaluation.protocol import SLICES
from mriimpute.report import advice_of, figure, write_page
from mriimpute.report._html import tag
from mriimpute.report._mosaics import grey_window
from mriimpute.report._pictures import DIVERGING, LEVELS, Album, Scale
from mriimpute.report._styles import line_styles

MakeSummary = Callable[..., Summary]
ReadPage = Callable[[Path], Any]

HOSTILE = "<script>alert(1)</script>\"'&<b>"
MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_summary: MakeSummary) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    write_page(path, make_summary(methods=("linear", "ridge", "deep-image-prior")))
    return path


def pixels(reference: str) -> np.ndarray:
    """The palette's indices of a picture in a page."""
    data = base64.b64decode(reference.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
        return np.asarray(image)


def test_page_refers_to_nothing_outside_of_itself(page: Path, read_page: ReadPage) -> None:
    read = read_page(page)

    assert read.references()
    assert all(reference.startswith(("#", "data:image/png")) for reference in read.references())
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {
        n for n, _ in read.elements
    }
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(|https?:", read.source)


def test_the_browser_is_told_to_refuse_the_network(page: Path, read_page: ReadPage) -> None:
    policies = [meta["content"] for meta in read_page(page).named("meta") if "http-equiv" in meta]

    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")


def test_same_summary_gives_the_same_bytes(tmp_path: Path, make_summary: MakeSummary) -> None:
    summary = make_summary()

    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, summary)

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_hostile_names_stay_text(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = make_summary(methods=("linear", HOSTILE), scan=f"sub-0{HOSTILE}")
    summary = dataclasses.replace(summary, left_out=(HOSTILE,), settings={HOSTILE: HOSTILE})

    write_page(tmp_path / "index.html", summary)

    read = read_page(tmp_path / "index.html")
    assert HOSTILE in read.text
    assert len(read.named("script")) == 1
    assert "alert(1)</script>" not in read.source


def test_a_name_is_no_mathematics_and_may_hold_anything_in_a_chart(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    method = "$a_b$ \u4e2d\u6587 \udcff\x01"

    write_page(tmp_path / "index.html", make_summary(methods=("linear", method)))

    read = read_page(tmp_path / "index.html")
    charts = read.source.split("Gain in PSNR of each subject")[1].split("</svg>")[0]
    assert ">$a_b$ \u4e2d\u6587 \\udcff\x01</text>" in charts


def test_every_subject_of_a_chart_is_named_where_the_mouse_rests(page: Path) -> None:
    source = page.read_text(encoding="utf-8")

    chart = source.split("Gain in PSNR of each subject")[1].split("</svg>")[0]
    titles = re.findall(r"<use [^>]*><title>(sub-\d): -?[\d.e-]+</title></use>", chart)
    assert titles == [f"sub-{n}" for n in range(6)] * 2  # of two methods against the first


def test_a_name_that_is_no_utf8_can_be_written(tmp_path: Path, make_summary: MakeSummary) -> None:
    write_page(tmp_path / "index.html", make_summary(scan="sub-0\udcff"))

    assert "sub-0\\udcff" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_what_is_opened_is_closed_and_headings_skip_no_level(
    page: Path, read_page: ReadPage
) -> None:
    read = read_page(page)

    levels = [int(name[1]) for name, _ in read.elements if re.fullmatch("h[1-6]", name)]
    assert read.open == []
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_whatever_is_shown_was_stored_once(page: Path, read_page: ReadPage) -> None:
    read = read_page(page)

    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    shown = [use["href"].removeprefix("#") for use in read.named("use")]
    chosen = [name for option in read.named("option") for name in option["value"].split()]
    links = [a["href"].removeprefix("#") for a in read.named("a")]
    assert len(set(ids)) == len(ids)
    assert {*shown, *chosen, *links} <= set(ids)


def test_every_picture_and_chart_can_be_read_aloud(page: Path, read_page: ReadPage) -> None:
    read = read_page(page)

    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in read.named("svg"))
    assert all(image["alt"] for image in read.named("img"))
    assert all(th["scope"] for th in read.named("th"))
    assert read.named("html")[0]["lang"] == "en"


def test_no_picture_shows_anything_outside_of_the_brain(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = make_summary()
    summary = dataclasses.replace(summary, worst={})
    brain = np.isfinite(summary.panels["linear"].views[0].truth)  # the same in all planes

    write_page(tmp_path / "index.html", summary)

    pictures = [
        pixels(image["href"]) for image in read_page(tmp_path / "index.html").named("image")
    ]
    assert len(pictures) > 6
    for picture in pictures:
        assert (picture[::-1].T[~brain] == LEVELS).all()


def test_a_picture_is_its_values_rounded_to_the_steps_of_the_scale(
    rng: np.random.Generator,
) -> None:
    album, image = Album(), rng.uniform(0, 50, (7, 5)).astype(np.float32)
    image[2, 3] = np.nan

    album.put(image, Scale("gray", 0.0, 50.0), (1.0, 1.0))

    found = re.search(r'href="([^"]+)"', album.stored())
    assert found is not None
    levels = pixels(found[1])[::-1].T.astype(float)
    assert levels[2, 3] == LEVELS
    known = np.isfinite(image)
    assert (
        np.abs(levels[known] * 50 / (LEVELS - 1) - image[known]).max() <= 25 / (LEVELS - 1) + 1e-5
    )


def test_an_error_of_zero_is_white_and_signs_differ_in_colour() -> None:
    album = Album()

    album.put(np.array([[-1.0, 0.0, 1.0]]), DIVERGING(1.0), (1.0, 1.0))

    found = re.search(r"base64,([^\"]+)", album.stored())
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        bright, right, dark = np.asarray(image.convert("RGB"))[:, 0].astype(int)
    assert right.min() > 240
    assert bright[0] > bright[2] + 50
    assert dark[2] > dark[0] + 50


def test_series_are_told_apart_without_colours() -> None:
    styles = line_styles(map(str, range(20)))

    assert len(set(styles.values())) == 20
    shapes = {(style.marker, style.dash) for style in styles.values()}
    assert len(shapes) == 20


def test_the_page_prints_both_sides_of_the_flicker_and_no_table_is_cut(page: Path) -> None:
    style = page.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    printed = style.split("@media print")[1]

    assert ".scripted .side-b, .scripted.after .side-a { visibility: visible; }" in printed
    assert re.search(r"table, [^{]*\{ break-inside: avoid; \}", printed)
    assert ".scroll { overflow: visible; }" in printed
    assert ".note, .key { break-inside: avoid; break-after: avoid; }" in printed


def test_the_page_names_who_was_left_out_and_does_not_rank_few(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = dataclasses.replace(make_summary(subjects=2), left_out=("sub-lost",))

    write_page(tmp_path / "index.html", summary)

    text = read_page(tmp_path / "index.html").text
    assert "sub-lost" in text
    assert "Fewer than five subjects" in text
    assert "has the highest mean PSNR" not in text
    assert "0.40 to" not in text


def test_the_page_names_methods_that_failed_and_ranks_none_on_fewer_scans(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = dataclasses.replace(
        make_summary(subjects=6),
        failed={"ridge": ("sub-8_T1w",), "lost": ("sub-1_T1w", "sub-7_T1w", "sub-8_T1w")},
        scans_tried=7,
    )

    write_page(tmp_path / "index.html", summary)

    text = read_page(tmp_path / "index.html").text
    assert "ridge failed on 1 of 7 scans: sub-8_T1w." in text
    assert "lost failed on 3 of 7 scans: sub-1_T1w, sub-7_T1w, sub-8_T1w. It is not" in text
    assert "Compared on 6 of 7 scans, the same for all" in text
    table = text[text.index("Accuracy of the mean") :]
    assert table.index("failed on") < table.index("1 of 7") < table.index("3 of 7")


def test_the_page_says_what_it_rests_on(page: Path, read_page: ReadPage) -> None:
    text = read_page(page).text

    for phrase in (
        "For research; not a medical device",
        "99.5th percentile of the truth",
        "[+0.40 to +0.60]",
        "<0.001",
        "6/6",
        "0" * 64,
        "coverage90",
        "6 test subjects",
    ):
        assert phrase in text, phrase


def test_where_a_fit_stopped_is_ringed_and_said_with_its_time(
    page: Path, read_page: ReadPage
) -> None:
    read = read_page(page)

    ring = r'<use href="#\w+" x="([\d.]+)" [^>]*><title>result: step 200</title>'
    places = re.findall(ring, read.source)
    assert len(places) == 2  # on the fitted loss, and on the held-out one
    assert places[0] == places[1]
    assert "result of step 200; 0.5 s per volume on average" in read.text


def test_time_of_a_fitted_method_stands_beside_that_of_the_others(
    page: Path, read_page: ReadPage
) -> None:
    charts = read_page(page).source.split("Seconds of one volume, by method")[1].split("</svg>")[0]

    assert all(f">{method}</text>" in charts for method in ("linear", "ridge", "deep-image-prior"))


@pytest.mark.parametrize("other", ["ridge", "dictionary", "pchip"])
def test_page_and_figure_show_the_same_two_methods(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage, other: str
) -> None:
    """The best that is no interpolator, whether it states its uncertainty or not."""
    made = make_summary(methods=("linear", "pchip", "ppca", other) if other != "pchip" else
                        ("linear", "cubic", "pchip"))  # fmt: skip
    psnr_db = dict.fromkeys(("linear", "cubic", "ppca"), 20.0) | {"pchip": 21.0, other: 22.0}
    psnr_db["linear"] = 23.0
    methods = tuple(
        dataclasses.replace(s, scores={**s.scores, "psnr_db": Estimate(mean=psnr_db[s.method])})
        for s in made.methods
    )
    summary = dataclasses.replace(made, methods=methods)

    write_page(tmp_path / "index.html", summary)
    heads = [column.head for column in figure._columns(summary)]

    captions = re.findall(r"<figcaption>([^<]*) [\d.]+ dB</figcaption>",
                          read_page(tmp_path / "index.html").source)  # fmt: skip
    assert captions[:2] == heads[2:4] == ["linear", other]


def test_structures_are_scored_where_there_are_label_maps(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = make_summary()
    region = Region(
        kind="region", label=47, voxels=200, truth=1.0, mean=1.0, low=0.0, high=2.0, std=1.0
    )
    rows = tuple(dataclasses.replace(row, regions=(region,)) for row in summary.results)

    write_page(tmp_path / "plain.html", summary)
    write_page(tmp_path / "labels.html", dataclasses.replace(summary, results=rows))

    assert "Structures of the label maps" not in read_page(tmp_path / "plain.html").text
    assert "carried error / std" in read_page(tmp_path / "labels.html").text


def test_volumes_stand_in_a_table_and_a_chart_with_what_to_measure_them_on(
    page: Path, read_page: ReadPage, make_summary: MakeSummary
) -> None:
    read = read_page(page)

    assert advice_of(make_summary(methods=("linear", "ridge"))) in read.text
    assert "Volumes of tissues and structures" in read.text
    (chart,) = (svg for svg in read.named("svg") if "tissue volumes" in svg.get("aria-label", ""))
    assert chart
    assert "ridge, by draws" in read.source
    assert "linear, by draws" not in read.source


def test_the_bias_of_a_protocol_stands_with_the_numbers(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    summary = make_summary()
    asked = dataclasses.replace(summary.protocol, title="Hidden slices", bias="twice the gap")

    write_page(tmp_path / "index.html", dataclasses.replace(summary, protocol=asked))

    text = read_page(tmp_path / "index.html").text
    assert text.index("Hidden slices") < text.index("twice the gap")
    assert text.index("twice the gap") < text.index("Accuracy of the mean")


def test_a_page_of_interpolators_alone_or_of_no_interpolator_can_be_written(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    alone = make_summary(methods=("linear",))
    none = dataclasses.replace(make_summary(), best_interpolator="", worst={}, references={})

    for name, summary in (("alone", alone), ("none", none)):
        write_page(tmp_path / f"{name}.html", summary)

    assert "states an uncertainty" in read_page(tmp_path / "alone.html").text
    assert "Subject by subject" not in read_page(tmp_path / "none.html").text


def test_without_truth_the_page_says_what_was_hidden_and_names_the_head(
    tmp_path: Path, make_summary: MakeSummary, read_page: ReadPage
) -> None:
    hidden = dataclasses.replace(make_summary(methods=("linear", "ppca@seen")), protocol=SLICES)

    for name, summary in (("truth", make_summary()), ("hidden", hidden)):
        write_page(tmp_path / f"{name}.html", summary)

    truth, without = (read_page(tmp_path / f"{name}.html").text for name in ("truth", "hidden"))
    assert "truth that no method saw" in truth
    assert "truth that no method saw" not in without
    assert "acquired there and then hidden" in without
    assert "Masked to the brain" in truth
    assert "Masked to the head" in without
    assert "have learnt from these very scans" not in truth
    assert "have learnt from these very scans" in without


def test_twelve_methods_on_eighteen_subjects_at_1_mm_stay_small(
    tmp_path: Path, make_summary: MakeSummary
) -> None:
    methods = ("linear", *(f"method-{n}" for n in range(11)))

    write_page(
        tmp_path / "index.html", make_summary(subjects=18, methods=methods, shape=(150, 180))
    )

    assert (tmp_path / "index.html").stat().st_size < MOST_BYTES


def test_text_is_escaped_once_and_attributes_cannot_end_early() -> None:
    written = tag("p", "a < b", tag("b", "&"), title='"><script>')

    assert written == '<p title="&#34;&gt;&lt;script&gt;">a &lt; b<b>&amp;</b></p>'


def test_standard_deviations_have_a_scale_of_their_own(page: Path, read_page: ReadPage) -> None:
    labels = [image["alt"] for image in read_page(page).named("img")]

    assert "colour scale from 0 to 4 standard deviation, % of the data range" in labels
    assert any("error: imputed minus truth" in label and "to 4 " not in label for label in labels)


@pytest.mark.parametrize("offset", [-3000.0, 0.0, 20000.0])
def test_pictures_are_dark_to_bright_wherever_intensities_begin(
    make_summary: MakeSummary, offset: float
) -> None:
    panel = next(iter(make_summary().panels.values()))
    views = tuple(
        dataclasses.replace(view, truth=view.truth + np.float32(offset)) for view in panel.views
    )

    low, high = grey_window(dataclasses.replace(panel, views=views))

    known = np.concatenate([view.truth[np.isfinite(view.truth)] for view in views])
    assert np.mean((known >= low) & (known <= high)) > 0.98
    assert high - low <= np.ptp(known)
