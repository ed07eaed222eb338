"""The viewer of a scan's page: NiiVue, and the volumes that it shows, inside of the page.

A volume becomes levels of one byte, 0 at the dark end of its scale and 255 at the bright end. What
is stored is what the volumes before it do not say: where the levels in between lie on a straight
line, the second difference along the refined axis is 0, and a draw differs little from the mean.
With levels x in the order of NIfTI files, i fastest, and all sums modulo 256,

    r = x - reference,    then for each lag:    r[n] <- r[n] - r[n - lag] for n >= lag,

which `viewer.js` takes back before it gives NiiVue what it takes. So no voxel is stored less
exactly, in about half of the bytes. Where a page would grow too large, draws after the first are
left out; where that is not enough, voxels are averaged in twos, then in fours, across the refined
axis. Acquired slices stay slices.

Axes: i, j, k = right, anterior, superior.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from mriimpute.report._html import join, shipped, tag
from mriimpute.report._pictures import Scale, palette, scale_bar
from mriimpute.report._scan_pictures import UNITS, Image, Pictures

__all__ = ["viewer"]

LEVELS = 255
STD_LEVELS = 63  # more colours nobody sees, and they would double its bytes
HEADROOM = 1.5
"""White of the volumes over white of the pictures: so far can a window be opened."""

AVERAGED = (1, 2, 4)
COLOURS = 9  # of the map of standard deviations that NiiVue is told
LABELS = {"linear": "interpolated", "mean": "mean"}
FIRST_DRAW = "draw 1"

Levels = UInt8[np.ndarray, "i j k"]


class Stored(NamedTuple):
    """A volume as it stands in the page: its name, the one it is relative to, lags, base64."""

    name: str
    reference: str
    lags: tuple[int, ...]
    text: str


def viewer(pictures: Pictures, draws: Iterable[Image], most_bytes: int) -> Markup:
    """Returns the viewer and all that it needs, or a sentence where that would be too large.

    Args:
        pictures: Whose window, scales and box of the head it shares.
        draws: Some draws; each is looked at once.
        most_bytes: That it may add to the page.
    """
    volumes = _levels(pictures, draws)
    least = sum(not name.startswith("draw") or name == FIRST_DRAW for name in volumes)
    library = _library()
    axis = pictures.result.axis
    for step in AVERAGED:
        steps = tuple(1 if n == axis else step for n in range(3))
        stored = _stored({name: _averaged(x, steps) for name, x in volumes.items()}, axis)
        for count in range(len(stored), least - 1, -1):
            if len(library) + sum(len(volume.text) for volume in stored[:count]) <= most_bytes:
                return _section(pictures, stored[:count], steps, library)
    return tag("p", "This scan is too large for the viewer.", class_="note")


def _levels(pictures: Pictures, draws: Iterable[Image]) -> dict[str, Levels]:
    """Returns the volumes inside of the head's box, the smoothest first."""
    images, grey = pictures.result.images, _grey(pictures)
    first = {name: images[name] for name in LABELS if name in images}
    volumes = {name: _quantised(image[pictures.box], grey) for name, image in first.items()}
    if "std" in images:
        volumes["std"] = _quantised(images["std"][pictures.box], pictures.std_scale, STD_LEVELS)
    for number, draw in enumerate(draws, 1):
        volumes[f"draw {number}"] = _quantised(draw[pictures.box], grey)
    return volumes


def _grey(pictures: Pictures) -> Scale:
    low, high = pictures.window.low, pictures.window.high
    return Scale("gray", low, low + HEADROOM * (high - low))


def _quantised(image: Image, scale: Scale, levels: int = LEVELS) -> Levels:
    fraction = (image - scale.low) / (scale.high - scale.low)
    return np.rint(levels * np.clip(np.nan_to_num(fraction), 0.0, 1.0)).astype(np.uint8)


def _averaged(levels: Levels, steps: tuple[int, ...]) -> UInt8[np.ndarray, "u v w"]:
    """Returns means over blocks of so many voxels; what is left over at the far ends goes."""
    if max(steps) == 1:
        return levels
    blocks = [max(n // step, 1) for n, step in zip(levels.shape, steps, strict=True)]
    sides = [min(step, n) for n, step in zip(levels.shape, steps, strict=True)]
    kept = levels[tuple(slice(b * s) for b, s in zip(blocks, sides, strict=True))]
    split = kept.reshape([n for pair in zip(blocks, sides, strict=True) for n in pair])
    return np.rint(split.mean(axis=(1, 3, 5), dtype=np.float32)).astype(np.uint8)


def _stored(volumes: Mapping[str, Levels], axis: int) -> list[Stored]:
    stored = []
    smooth = ""  # the volume that the next one is relative to
    for name, levels in volumes.items():
        flat = levels.ravel(order="F")
        between = int(np.prod(levels.shape[:axis])) if axis >= 0 else flat.size // levels.shape[2]
        # The standard deviation is 0 at each acquired slice: it is smooth in the plane only.
        reference = "" if name == "std" else smooth
        lags = () if reference else (1,) if name == "std" else (between, between)
        residual = flat - volumes[reference].ravel(order="F") if reference else flat
        for lag in lags:
            residual = np.concatenate([residual[:lag], residual[lag:] - residual[:-lag]])
        packed = gzip.compress(residual.tobytes(), 6, mtime=0)
        stored.append(Stored(name, reference, lags, base64.b64encode(packed).decode("ascii")))
        if name in LABELS:
            smooth = name
    return stored


def _section(
    pictures: Pictures, stored: list[Stored], steps: tuple[int, ...], library: str
) -> Markup:
    scripts = [
        _data(volume.text, "volume", name=volume.name, reference=volume.reference,
              lags=" ".join(map(str, volume.lags)))
        for volume in stored
    ]  # fmt: skip
    names = [volume.name for volume in stored if volume.name != "std"]
    with_std = any(volume.name == "std" for volume in stored)
    facts = _facts(pictures, steps)
    (width, height), (narrow, tall) = _sides(facts)
    screen = tag(
        "div",
        tag("canvas", tabindex="0", aria_label="Three planes of the chosen volume", role="img"),
        class_="screen",
        style=f"--wide: {width:.4g} / {height:.4g}; --narrow: {narrow:.4g} / {tall:.4g}",
    )
    return tag(
        "div",
        _notes(pictures, steps, facts, sum(name.startswith("draw") for name in names)),
        tag("div", _controls(names, pictures, with_std=with_std), screen, class_="stage"),
        _data(library, "library"),
        *scripts,
        tag("script", shipped("viewer.js")),
        class_="viewer",
        data_state="absent",
        data_facts=json.dumps(facts),
    )


def _facts(pictures: Pictures, steps: tuple[int, ...]) -> dict[str, Any]:
    """Returns what `viewer.js` must know of the volumes."""
    result, box, grey = pictures.result, pictures.box, pictures.in_units(_grey(pictures))
    axis = result.axis
    sizes = [max((s.stop - s.start) // n, 1) for s, n in zip(box, steps, strict=True)]
    spacing = [n * mm for n, mm in zip(steps, result.volume.spacing_mm, strict=True)]
    acquired = np.flatnonzero(pictures.acquired()[box[axis]]).tolist() if axis >= 0 else []
    colours = palette(pictures.std_scale)[np.linspace(0, LEVELS - 1, COLOURS).astype(int)]
    return {
        "shape": sizes,
        "spacing": [round(mm, 6) for mm in spacing],
        "first": [s.start for s in box],
        "steps": list(steps),
        "axis": axis,
        "acquired": acquired,
        "low": grey.low,
        "high": grey.high,
        "white": LEVELS / HEADROOM,
        "std": pictures.std_in_units.high,
        "stdLevels": STD_LEVELS,
        "colours": colours.T.tolist(),
    }


def _sides(facts: Mapping[str, Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns width and height, in mm, of three planes in a row and of three in a column."""
    x, y, z = (n * mm for n, mm in zip(facts["shape"], facts["spacing"], strict=True))
    return (2 * x + y, max(y, z)), (max(x, y), y + 2 * z)


def _notes(
    pictures: Pictures, steps: tuple[int, ...], facts: Mapping[str, Any], draws: int
) -> Markup:
    text = (
        "Click or drag to go to a place, scroll through the slices, drag with the right button to "
        "change the window. All volumes are inside of this page."
    )
    written = pictures.result.record["settings"]["request"]["samples"]
    if draws < written:
        text += f" It shows the first {draws} of {written} draws."
    if max(steps) > 1:
        size = " x ".join(f"{mm:.2g}" for mm in facts["spacing"])
        text += (
            f" To keep this page small, it shows means over {max(steps)} voxels in each direction "
            f"of the acquired slices ({size} mm); the pictures below and the files have all."
        )
    missing = "This browser has no WebGL 2 or runs no scripts: the pictures below show the scan."
    return join(
        tag("p", text, class_="note"),
        tag("p", missing, class_="note missing"),
        tag("p", "Loading ...", class_="note loading", role="status"),
    )


def _controls(names: list[str], pictures: Pictures, *, with_std: bool) -> Markup:
    choices = [
        tag("label", tag("input", type="radio", name="volume", value=name), LABELS.get(name, name))
        for name in names
    ]
    if "linear" in names:
        choices.append(
            tag("span", "key ", tag("kbd", "F"), ": interpolated and back", class_="hint")
        )
    if pictures.result.axis >= 0:
        marks = tag("input", type="checkbox", class_="marks", checked="checked")
        choices.append(tag("label", marks, "acquired slices in red"))
    window = [tag("label", f"{end} ", _slider(end, LEVELS)) for end in ("black", "white")]
    reset = tag("button", "Reset", type="button", class_="reset")
    rows = [choices, [*window, reset, tag("output", class_="window")]]
    if with_std:
        overlay = tag("input", type="checkbox", class_="std")
        bar = scale_bar(pictures.std_in_units, UNITS)
        strength = tag("label", "strength ", _slider("strength", 100))
        rows.append([tag("label", overlay, "standard deviation"), strength, bar])
    place = tag("output", class_="place", aria_live="off")
    return join(*(tag("div", *row, class_="controls") for row in rows), place)


def _slider(name: str, high: int) -> Markup:
    return tag("input", type="range", class_=name, min=0, max=high, value=high // 2)


def _data(text: str, kind: str, **attributes: str) -> Markup:
    """Returns text that a page holds and no browser runs."""
    named = {f"data_{key}": value for key, value in attributes.items()}
    return tag("script", Markup(text), type="application/octet-stream", class_=kind, **named)  # noqa: S704


def _library() -> str:
    file = resources.files("mriimpute.report").joinpath("niivue/niivue.umd.js.gz")
    return base64.b64encode(file.read_bytes()).decode("ascii")
