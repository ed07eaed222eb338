"""The verdict on an imputed scan as a block of a page."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mriimpute.imputation.measures import MEASURES
from mriimpute.report._html import join, tag

__all__ = ["STYLE", "badge", "verdict_block"]

WORDS = {
    "pass": "Nothing speaks against this result.",
    "look": "Look at this result before you use it.",
    "fail": "Do not use this result.",
    "failed": "There is no result.",
}

STYLE = Markup(
    ".verdict { max-width: 920px; margin: 14px 0; padding: 8px 14px; border-left: 5px solid "
    "currentColor; } "
    ".verdict ul { margin: 4px 0 6px; padding-left: 20px; } "
    ".verdict p { margin: 4px 0; } .verdict details table { margin-top: 6px; } "
    ".badge { display: inline-block; padding: 1px 10px; border-radius: 10px; color: #fff; "
    "font-weight: 650; } "
    ".badge.pass { background: #00734f; } .badge.look { background: #955f00; } "
    ".badge.fail, .badge.failed { background: #b3261e; }"
)


def badge(verdict: str) -> Markup:
    """Returns the word in its colour."""
    return tag("span", verdict, class_=f"badge {verdict}")


def verdict_block(quality: Mapping[str, Any]) -> Markup:
    """Returns the verdict, its reasons, what it does not cover, and all measures to unfold.

    Args:
        quality: "Quality" of a sidecar; empty, if an earlier version wrote it: no block.
    """
    if "verdict" not in quality:
        return Markup()
    status = str(quality["verdict"])
    reasons = [tag("li", str(reason)) for reason in quality["reasons"]]
    title = tag("p", badge(status), " ", tag("b", WORDS.get(status, "")))
    rows = [_row(name, measure) for name, measure in quality["measures"].items()]
    head = tag("tr", *(tag("th", text, scope="col") for text in ("measure", "value", "usual")))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="facts")
    return join(
        tag("style", STYLE),
        tag(
            "div",
            title,
            tag("ul", *reasons),
            tag("p", str(quality["not_covered"])),
            tag("details", tag("summary", "All measures, from the scan's own slices"), table)
            if rows
            else Markup(),
            class_="verdict",
            role="note",
        ),
    )


def _row(name: str, measure: Mapping[str, Any]) -> Markup:
    words = MEASURES[name].meaning if name in MEASURES else name
    unit = f" {measure['unit']}" if measure["unit"] else ""
    value = measure["value"]
    shown = "not measured" if value is None else f"{value:.3g}{unit}"
    low, high = measure["usual"]
    usual = f"from {low:g}" if high is None else f"{low:g} to {high:g}"
    return tag("tr", tag("th", words, scope="row"), tag("td", shown), tag("td", usual))
