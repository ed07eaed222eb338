"""Planes of a scan as pictures of a page, to one scale, with the acquired slices marked.

Every picture is stored in the page once, as a lossless PNG of one byte per voxel, and shown
wherever it is needed. Values are rounded to the 255 steps of their colour scale; nothing else is
done to them.

Axes: u, v = the axes of a plane; v points upwards.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from mriimpute.report._html import join, tag

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "Album",
    "Plane",
    "Scale",
    "flicker",
    "palette",
    "scale_bar",
]

LEVELS = 255  # of a colour scale; the one left over is blank
MARKER_MM = 3.0  # length of the marker of a slice
BAR_MM = 20.0


class Scale(NamedTuple):
    """What colours mean: a map of matplotlib, its ends, and the colour of what is blank."""

    colours: str
    low: float
    high: float
    blank: tuple[int, int, int] = (0, 0, 0)


def DIVERGING(limit: float) -> Scale:  # noqa: N802 - a family of constants
    """Returns the scale of errors: blue too dark, red too bright, white right."""
    return Scale("RdBu_r", -limit, limit, (190, 190, 190))


def SEQUENTIAL(high: float) -> Scale:  # noqa: N802
    """Returns the scale of standard deviations, in order for colour-blind eyes and on paper."""
    return Scale("cividis", 0.0, high, (190, 190, 190))


class Plane(NamedTuple):
    """Where a picture lies.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        spacing_mm: Between voxels along u and v.
        ends: Anatomical letters at the low and high end of u, then of v.
        across: Axis that crosses the acquired slices, 0 or 1; -1: none does.
        slices: Where they cross it, in voxels.
    """

    name: str
    spacing_mm: tuple[float, float]
    ends: tuple[str, str, str, str]
    across: int
    slices: tuple[int, ...]


class Album:
    """The pictures of a page: each is put in once and shown any number of times."""

    def __init__(self) -> None:
        self._stored: dict[str, Markup] = {}
        self._size_mm: dict[str, tuple[float, float]] = {}

    def put(
        self, image: Float[np.ndarray, "u v"], scale: Scale, spacing_mm: tuple[float, float]
    ) -> str:
        """Stores a picture and returns its name."""
        name = f"p{len(self._stored)}"
        size = image.shape[0] * spacing_mm[0], image.shape[1] * spacing_mm[1]
        self._size_mm[name] = size
        self._stored[name] = tag(
            "image", id=name, width=size[0], height=size[1], preserveAspectRatio="none",
            href=_data(_png(image, scale)),
        )  # fmt: skip
        return name

    def show(
        self,
        name: str,
        plane: Plane,
        description: str,
        *,
        width_mm: float,
        slices: bool = False,
        sides: bool = False,
        class_: str = "plane",
    ) -> Markup:
        """Returns a picture.

        Args:
            name: Of the picture.
            plane: Where it lies.
            description: Read aloud instead of it.
            width_mm: What is shown; beside a narrower plane is black, so that planes of one
                width are drawn to one scale.
            slices: Show where the acquired slices cross it.
            sides: Show the letters of the sides of the body, and a scale bar.
            class_: For the style.
        """
        width, height = self._size_mm[name]
        return tag(
            "svg",
            tag("use", href=f"#{name}"),
            _slice_markers(plane, width, height) if slices else Markup(),
            _sides(plane, width, height) if sides else Markup(),
            viewBox=f"{(width - width_mm) / 2:.5g} 0 {width_mm:.5g} {height:.5g}",
            role="img",
            aria_label=description,
            class_=class_,
        )

    def stored(self) -> Markup:
        """Returns all pictures, to stand in the page before they are shown."""
        inside = tag("defs", *self._stored.values())
        return tag("svg", inside, width=0, height=0, aria_hidden="true", class_="store")


def flicker(
    album: Album,
    planes: Sequence[Plane],
    sources: Mapping[str, Sequence[str]],
    *,
    before: str,
    after: str,
    width_mm: float,
) -> Markup:
    """Returns pictures that change between two states in one place, and controls for it.

    `page.js` changes them. Without it, and on paper, both states are shown.

    Args:
        album: Keeps the pictures.
        planes: Where they lie.
        sources: By label, the name of the picture of each plane.
        before: Label of the state that is shown first.
        after: Label of the other one.
        width_mm: Of each picture.
    """
    sides = {"a": before, "b": after}
    figures = []
    for number, plane in enumerate(planes):
        pictures = [
            album.show(
                sources[label][number],
                plane,
                f"{plane.name} plane: {label}",
                width_mm=width_mm,
                slices=True,
                sides=True,
                class_=f"plane side-{side}",
            )
            for side, label in sides.items()
        ]
        figures.append(tag("figure", *pictures, tag("figcaption", plane.name)))
    frames = tag("div", *figures, class_="frames")
    return tag("div", _controls(sources, before, after), frames, class_="flicker")


def scale_bar(scale: Scale, label: str) -> Markup:
    """Returns a colour scale with its ends and its unit."""
    ramp = np.linspace(scale.low, scale.high, LEVELS)[:, None]
    digits = 2 - math.floor(math.log10(scale.high - scale.low))
    places = (scale.low, (scale.low + scale.high) / 2, scale.high)
    # Rounded to a hundredth of the scale; the sum makes 0 of -0.
    low, middle, high = (f"{round(place, max(digits, 0)) + 0.0:.6g}" for place in places)
    image = tag(
        "img", src=_data(_png(ramp, scale)), alt=f"colour scale from {low} to {high} {label}"
    )  # fmt: skip
    ends = [tag("span", text) for text in (low, middle, high)]
    return tag("div", tag("span", label), image, tag("div", *ends), class_="scale")


def _controls(sources: Mapping[str, Sequence[str]], before: str, after: str) -> Markup:
    return tag(
        "div",
        _chooser(sources, "a", before),
        _chooser(sources, "b", after),
        tag("button", "Flicker", type="button", class_="toggle", aria_pressed="false"),
        tag("span", "or key ", tag("kbd", "F"), class_="hint"),
        tag("label", tag("input", type="checkbox", class_="auto"), " by itself"),
        tag("output", before, class_="shown", aria_live="polite"),
        class_="controls",
    )


def _chooser(sources: Mapping[str, Sequence[str]], side: str, chosen: str) -> Markup:
    options = []
    for label, names in sources.items():
        selected = {"selected": "selected"} if label == chosen else {}
        options.append(tag("option", label, value=" ".join(names), **selected))
    name = "Before" if side == "a" else "After"
    return tag("label", f"{name}: ", tag("select", *options, class_=f"choose-{side}"))


def _png(image: Float[np.ndarray, "u v"], scale: Scale) -> bytes:
    from PIL import Image

    fraction = (image - scale.low) / (scale.high - scale.low)
    level = np.rint(np.clip(np.nan_to_num(fraction), 0.0, 1.0) * (LEVELS - 1)).astype(np.uint8)
    level[~np.isfinite(image)] = LEVELS
    picture = Image.fromarray(np.ascontiguousarray(level.T[::-1]), mode="P")
    picture.putpalette(palette(scale).tobytes())
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


def palette(scale: Scale) -> UInt8[np.ndarray, "256 3"]:
    """Returns red, green and blue of each level of a scale, and last of what is blank."""
    from matplotlib import colormaps

    colours = colormaps[scale.colours](np.linspace(0, 1, LEVELS))[:, :3]
    return np.concatenate(
        [np.rint(255 * colours).astype(np.uint8), np.array([scale.blank], np.uint8)]
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _slice_markers(plane: Plane, width: float, height: float) -> Markup:
    """Returns a stroke at both margins for each acquired slice that crosses the plane."""
    if plane.across < 0:
        return Markup()
    strokes = []
    for place in plane.slices:
        if plane.across == 0:
            x = (place + 0.5) * plane.spacing_mm[0]
            strokes += [f"M{x:g} 0v{MARKER_MM}", f"M{x:g} {height:g}v-{MARKER_MM}"]
        else:
            y = height - (place + 0.5) * plane.spacing_mm[1]
            strokes += [f"M0 {y:g}h{MARKER_MM}", f"M{width:g} {y:g}h-{MARKER_MM}"]
    return tag("path", d="".join(strokes), class_="slices")


def _sides(plane: Plane, width: float, height: float) -> Markup:
    left, right, bottom, top = plane.ends
    letters = [
        (left, 5, height / 2 + 3, "start"),
        (right, width - 5, height / 2 + 3, "end"),
        (bottom, width / 2, height - 5, "middle"),
        (top, width / 2, 11, "middle"),
    ]
    texts = [tag("text", letter, x=x, y=y, text_anchor=anchor) for letter, x, y, anchor in letters]
    bar = tag("path", d=f"M5 {height - 4:g}h{BAR_MM:g}", class_="bar")
    return join(*texts, bar)
