"""`index.html` of a batch: verdict, reasons and a picture of each scan, the worst first.

One file that opens without a network. It shows heads from above, so it is as confidential as the
results beside it, and says so. Pictures of results that have not changed are taken over from the
page that is there.
"""

import base64
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from mriimpute.cohort.foreground import foreground_level
from mriimpute.errors import MriImputeError
from mriimpute.imputation.bids import NOTICE
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.overview import (
    PAGE,
    Row,
    grouped,
    read_quality,
    rows_of,
    write_quality,
)
from mriimpute.imputation.verdict import NOT_COVERED
from mriimpute.io import read_scan
from mriimpute.report._html import document, join, tag, write_html
from mriimpute.report._verdict import STYLE, badge

__all__ = ["write_overviews"]

log = logging.getLogger(__name__)

TITLE = "mriimpute: verdicts of a batch"

CONFIDENTIAL = "This page shows image data of the people scanned: keep it as you keep the scans."

SIDES = "Pictures show an axial plane from above: L, the left of the body, is on their left."

PIXELS = 96
"""Of the longer side of a picture, at least half as many."""

WINDOW = (1.0, 99.0)
"""Percentiles of the foreground around the middle of the head."""

KEPT = re.compile(r'<img src="(data:image/png;base64,[^"]+)" alt="[^"]*" id="r([0-9a-f]{16})"')
"""A picture in an earlier page, and the key of its result."""

COLUMNS = {
    "gain_db": "gain, dB",
    "coverage_90": "90 % cover",
    "slices_error_over_std": "error / std",
    "shrinkage": "shrinkage",
    "slice_spacing_mm": "slices, mm",
}
"""Measures that the page shows; the table has all."""


def write_overviews(jobs: Sequence[Job], problems: Mapping[Job, str]) -> list[Path]:
    """Writes `quality.tsv` and `index.html` of each folder of results, and returns the pages.

    What is there and says the same stays. A folder that holds the results of one scan gets none.
    Several parts of a batch may do this at the same time: whoever comes last writes what all have
    done.

    Args:
        jobs: Of all parts.
        problems: What went wrong with each that ended in this call; empty where nothing did.

    Raises:
        MriImputeError: If they cannot be written.
    """
    written = []
    for root, alike in grouped(jobs).items():
        is_ours = _is_ours(root / PAGE)
        if not is_ours:
            log.warning("%s is no page of this program and stays as it is", root / PAGE)
        while rows := rows_of(root, alike, problems, read_quality(root)):
            is_new_table = write_quality(root, rows)
            is_new_page = is_ours and _write_page(root, rows)
            if is_new_page:
                written.append(root / PAGE)
            if not (is_new_table or is_new_page):
                break
    return list(dict.fromkeys(written))


def _write_page(root: Path, rows: Sequence[Row]) -> bool:
    """Writes the page; tells whether it was another before."""
    path = root / PAGE
    before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    page = _page(root, rows, before)
    if page.encode(errors="backslashreplace").decode() == before:
        return False
    write_html(path, page)
    return True


def _is_ours(path: Path) -> bool:
    """Tells whether a page may be replaced."""
    if not path.exists():
        return True
    start = path.read_bytes()[:4096] if path.is_file() else b""
    return f"<title>{TITLE}</title>".encode() in start


def _page(root: Path, rows: Sequence[Row], before: str) -> Markup:
    """Returns the page of a batch.

    Args:
        root: Folder for all results.
        rows: Of the table.
        before: The page that is there, whose pictures are taken over.
    """
    known = {key: picture for picture, key in KEPT.findall(before)}
    counts = [
        join(badge(verdict), f" {sum(row.verdict == verdict for row in rows)}  ")
        for verdict in ("failed", "fail", "look", "pass")
        if any(row.verdict == verdict for row in rows)
    ]
    head = ("", "scan", "verdict", "reasons", *COLUMNS.values())
    table = tag(
        "table",
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head))),
        tag("tbody", *(_row(root, row, known) for row in rows)),
        class_="overview",
    )
    return document(
        TITLE,
        tag("style", STYLE, _OVERVIEW),
        tag(
            "header",
            tag("p", "mriimpute impute", class_="kicker"),
            tag("h1", f"{len(rows)} scans"),
            tag("p", *counts),
            tag("p", NOT_COVERED),
            tag("p", SIDES),
            tag("p", CONFIDENTIAL, class_="warnings plain", role="note"),
            tag("p", NOTICE, class_="notice"),
        ),
        tag("main", tag("section", tag("div", table, class_="scroll"))),
    )


_OVERVIEW = Markup(
    " .overview td, .overview tbody th { vertical-align: middle; } "
    ".overview th:nth-child(-n+4), .overview td:nth-child(3) { text-align: left; } "
    ".overview img { display: block; height: 96px; background: #000; } "
    ".sides { position: relative; display: inline-block; } "
    ".sides span { position: absolute; top: 40%; font-size: 11px; color: #fff; } "
    ".sides .L { left: 3px; } .sides .R { right: 3px; } "
    ".overview td.reasons { min-width: 280px; text-align: left; white-space: normal; }"
)


def _row(root: Path, row: Row, known: Mapping[str, str]) -> Markup:
    has_result = row.key and row.verdict != "failed"
    picture = known.get(row.key) or _picture(row.mean) if has_result else ""
    image = tag("img", src=picture, alt=f"axial plane of {row.name}", id=f"r{row.key}")
    letters = (tag("span", end, class_=end) for end in "LR")  # as on the page of the scan
    page = row.page.relative_to(root).as_posix()
    is_linked = has_result and row.page.is_file()
    name = (
        tag("a", row.name, href=quote(page, errors="surrogateescape")) if is_linked else row.name
    )
    values = [row.measures.get(column) for column in COLUMNS]
    return tag(
        "tr",
        tag("td", tag("div", image, *letters, class_="sides") if picture else ""),
        tag("th", name, scope="row"),
        tag("td", badge(row.verdict) if row.verdict else "none"),
        tag("td", "; ".join(row.reasons), class_="reasons"),
        *(tag("td", "" if value is None else f"{value:.2f}") for value in values),
    )


def _picture(mean_file: Path) -> str:
    """Returns the middle axial plane of the mean as a small PNG, in the text of a page."""
    from PIL import Image

    try:
        mean = read_scan(mean_file, exact=True)
    except MriImputeError:  # somebody has moved it away
        return ""
    plane, sides_mm = _middle(mean.values), mean.volume.spacing_mm[:2]
    low, high = _window(plane)
    levels = 255 * np.clip((plane - low) / (high - low), 0, 1)
    grey = Image.fromarray(np.rint(levels).astype(np.uint8).T[::-1].copy(), mode="L")
    width, height = (n * mm for n, mm in zip(plane.shape, sides_mm, strict=True))
    scale = PIXELS / max(width, height)
    small = grey.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    file = io.BytesIO()
    small.save(file, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _middle(image: Float[np.ndarray, "i j k"]) -> Float[np.ndarray, "i j"]:
    return image[:, :, image.shape[2] // 2]


def _window(plane: Float[np.ndarray, "i j"]) -> tuple[float, float]:
    """Returns black and white: robust extremes of what is deep inside, not of fat at the skin."""
    i, j = (slice(n // 4, max(n - n // 4, n // 4 + 1)) for n in plane.shape)
    inner = plane[i, j].astype(np.float64)
    low, high = np.percentile(inner, WINDOW).tolist()
    if high <= low:
        return low, low + 1.0
    scaled = ((inner - low) / (high - low)).ravel().astype(np.float32)
    head = inner.ravel()[scaled > foreground_level(scaled)]
    top = float(np.percentile(head, WINDOW[1])) if head.size else high
    black = float(plane.min())
    return black, top if top > black else black + (abs(black) or 1.0)
