"""HTML that cannot be broken by what is written into it: every text is escaped, once.

A page is one file: style and script stand in it, images are data. It opens without a network.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from mriimpute.files import atomic

__all__ = ["document", "join", "pairs", "shipped", "tag", "write_html"]

VOID = {"image", "img", "input", "meta", "path", "use"}
"""Elements that are written without content here."""


def tag(element: str, /, *children: str, **attributes: str | float | int) -> Markup:
    """Returns an element; children that are no `Markup` are escaped.

    Args:
        element: Its name.
        children: Its content.
        attributes: `class_` stands for `class`, `aria_label` for `aria-label`; `viewBox` and
            other names that tell cases apart are kept.

    >>> tag("p", "a < b", class_="note")
    Markup('<p class="note">a &lt; b</p>')
    """
    words = Markup().join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _text(value))
        for key, value in attributes.items()
    )
    content = join(*children)
    if element in VOID and not content:
        return Markup("<{}{}/>").format(element, words)
    return Markup("<{0}{1}>{2}</{0}>").format(element, words, content)


def join(*children: str) -> Markup:
    """Returns the children one after the other; those that are no `Markup` are escaped."""
    return Markup().join(children)


def pairs(title: str, facts: Mapping[str, str]) -> Markup:
    """Returns a table of names and values; without a title it has no caption."""
    caption = (tag("caption", title),) if title else ()
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", str(value)))
        for name, value in facts.items()
    ]
    return tag("table", *caption, tag("tbody", *rows), class_="facts")


def document(title: str, *body: str) -> Markup:
    """Returns a whole page with its style and its script."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # The browser itself then refuses whatever this page might ask a network for.
        tag(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'",
        ),
        tag("title", title),
        tag("style", shipped("page.css")),
    )
    script = tag("script", shipped("page.js"))
    whole = tag("html", head, tag("body", *body, script), lang="en")
    return Markup("<!DOCTYPE html>\n{}\n").format(whole)


def write_html(path: Path, page: Markup) -> None:
    """Writes a page, atomically."""
    with atomic(path) as temporary:
        # A file name that is not UTF-8 holds lone surrogates.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def shipped(name: str) -> Markup:
    """Returns a style or a script of this package."""
    text = resources.files("mriimpute.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this package


def _text(value: str | float | int) -> str:
    return str(value) if isinstance(value, str) else f"{value:.6g}"
