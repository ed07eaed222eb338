"""Pictures that change between two states in one place; `page.js` moves them."""

from collections.abc import Mapping, Sequence

from mriimpute.report._html import Markup, tag
from mriimpute.report._pictures import Album, Plane

__all__ = ["flicker"]


def flicker(
    album: Album,
    planes: Sequence[Plane],
    sources: Mapping[str, Sequence[str]],
    *,
    before: str,
    after: str,
    width_mm: float,
) -> Markup:
    """Returns the pictures and their controls. Without its script, and on paper, both are shown.

    Args:
        album: Keeps the pictures.
        planes: Where they lie.
        sources: By label, the name of the picture of each plane.
        before: Label of what is shown first.
        after: Label of what takes its place.
        width_mm: Of each picture.
    """
    button = tag("button", "Flicker", type="button", class_="toggle", aria_pressed="false")
    hint = tag("span", "or key ", tag("kbd", "F"), class_="hint")
    auto = tag("label", tag("input", type="checkbox", class_="auto"), " by itself")
    shown = tag("output", before, class_="shown", aria_live="polite")
    sides = {"a": before, "b": after}
    choosers = [_chooser(sources, side, chosen) for side, chosen in sides.items()]
    controls = tag("div", *choosers, button, hint, auto, shown, class_="controls")

    frames = []
    for number, plane in enumerate(planes):
        pictures = [
            album.show(
                sources[label][number],
                plane,
                f"{plane.name} plane: {label}",
                width_mm=width_mm,
                marks=True,
                letters=True,
                class_=f"plane side-{side}",
            )
            for side, label in sides.items()
        ]
        frames.append(tag("figure", *pictures, tag("figcaption", plane.name)))
    return tag("div", controls, tag("div", *frames, class_="frames"), class_="flicker")


def _chooser(sources: Mapping[str, Sequence[str]], side: str, chosen: str) -> Markup:
    options = []
    for label, names in sources.items():
        selected = {"selected": "selected"} if label == chosen else {}
        options.append(tag("option", label, value=" ".join(names), **selected))
    name = "Before" if side == "a" else "After"
    return tag("label", f"{name}: ", tag("select", *options, class_=f"choose-{side}"))
