"""A figure of matplotlib as SVG that stands inside of a page: small, and no clash of names.

Text stays text. What matplotlib writes for files alone goes: name spaces, fonts and a style sheet
(`page.css` has what is needed of them), and the names of groups, which are alike in all figures.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from mriimpute.report._html import tag

__all__ = ["Tooltips", "inline_svg"]

Tooltips = dict[str, Sequence[str]]
"""By the `gid` of an artist: a text for it, or one for each of its markers."""

THEMED = {
    **{"#444444": "axis", "#dddddd": "grid", "#888888": "faint", "#000000": "black"},
    **{"#0072b2": "series-blue", "#009e73": "series-green"},
    **{"#8c6d1f": "series-brown", "#5b2a86": "series-violet"},
}
"""Colours that `page.css` changes with the theme of the system; all others are seen on both."""

DROPPED = {"clipPath", "clip-path", "metadata", "style"}
COLOUR = re.compile("#[0-9a-f]{6}")
NUMBER = re.compile(r"-?\d+\.\d+")


def inline_svg(
    figure: Any,
    title: str,
    *,
    tooltips: Tooltips | None = None,
    labels: Mapping[str, str] | None = None,
    ornament: bool = False,
) -> Markup:
    """Returns a figure as an element in which a point is as long as a pixel.

    Args:
        figure: Of matplotlib. Nothing of it is clipped.
        title: Read aloud instead of it; no other figure of a page has the same.
        tooltips: What is shown where the mouse rests.
        labels: By the `gid` of a text, what is written instead of it. So no name from outside
            passes through matplotlib, which takes dollars for mathematics.
        ornament: It is not read aloud.
    """
    from matplotlib import rc_context

    file = io.BytesIO()
    # The salt makes the names of its markers differ from those of every other figure.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": ascii(title)}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(file.getvalue())  # noqa: S314 - it was made here
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        gid = group.get("id", "")
        if labels and gid in labels:
            group[0].text = labels[gid]
        if tooltips and gid in tooltips:
            _add_tooltips(group, tooltips[gid])
    width, height = 72 * figure.get_size_inches()
    spoken = {"aria_hidden": "true"} if ornament else {"role": "img", "aria_label": title}
    size = {"viewBox": root.get("viewBox", ""), "width": width, "height": height}
    return tag("svg", *map(_element, root), class_="chart", **size, **spoken)


def _add_tooltips(group: ET.Element, texts: Sequence[str]) -> None:
    markers = [element for element in group.iter() if _local(element.tag) == "use"]
    for owner, text in zip(markers if len(markers) == len(texts) else [group], texts, strict=True):
        title = ET.Element("title")
        title.text = text
        owner.insert(0, title)


def _element(element: ET.Element) -> Markup:
    name = _local(element.tag)
    if name in DROPPED:
        return Markup()
    children = Markup().join(map(_element, element))
    attributes = _attributes(element)
    if name == "g":
        attributes.pop("id", None)
    if (name == "defs" and not children) or (name == "g" and not attributes and len(element) < 2):
        return children
    return tag(name, (element.text or "").strip(), children, **attributes)


def _attributes(element: ET.Element) -> dict[str, str]:
    attributes = {
        _local(key): _compact(value) for key, value in element.items() if key not in DROPPED
    }
    rules = [rule.strip() for rule in element.get("style", "").split(";")]
    style = ";".join(rule.replace(": ", ":") for rule in rules if not rule.startswith("font"))
    style = COLOUR.sub(_themed, style)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    return attributes | ({"style": style} if style else {})


def _themed(colour: re.Match[str]) -> str:
    name = THEMED.get(colour[0])
    return f"var(--{name})" if name else colour[0]


def _local(name: str) -> str:
    """Returns a name without its name space."""
    return name.rpartition("}")[2]


def _compact(value: str) -> str:
    """Returns an attribute in one line, its numbers with two digits after the point."""
    rounded = NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(rounded.split())
