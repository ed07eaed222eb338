"""Other scans of the same head that helped, as a block of a page."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mriimpute.imputation.companions import gained_in_words
from mriimpute.report._html import tag

__all__ = ["companions_block"]

COLUMNS = ("companion", "moved", "turned", "saw of the scan", "alone it")


def companions_block(quality: Mapping[str, Any]) -> Markup:
    """Returns how companions were aligned and what each gained, and which were ignored, and why.

    Args:
        quality: "Quality" of a sidecar; without companions there is no block.
    """
    used, ignored = (quality.get(name, []) for name in ("companions", "companions_ignored"))
    if not used and not ignored:
        return Markup()
    together = gained_in_words(quality.get("companions_gain_db", 0.0))
    lead = f"What other scans of this head told. All of them: {together}." if used else ""
    if used and (reach := quality.get("companions_reach", 1.0)) < 1:
        lead += f" Between slices they say {100 * reach:.0f} % of what they say on hidden lines."
    believed = quality.get("companions_believed")
    if used and believed is not None:
        lead += (
            f" By acquired slices that were left out, {100 * believed:.0f} % of it was believed."
        )
    head = tag("tr", *(tag("th", text, scope="col") for text in COLUMNS))
    table = tag("table", tag("thead", head), tag("tbody", *map(_row, used)), class_="facts")
    left_out = [tag("li", f"{one['name']} was ignored: {one['reason']}") for one in ignored]
    return tag(
        "div",
        tag("p", lead) if lead else Markup(),
        table if used else Markup(),
        tag("ul", *left_out) if left_out else Markup(),
        class_="companions",
    )


def _row(one: Mapping[str, Any]) -> Markup:
    cells = (
        f"{one['moved_mm']:.1f} mm",
        f"{one['turned_deg']:.1f} degrees",
        f"{100 * one['seen_share']:.0f} %",
        gained_in_words(one["gain_db"]),
    )
    return tag("tr", tag("th", one["name"], scope="row"), *(tag("td", cell) for cell in cells))
