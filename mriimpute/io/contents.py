"""What an image holds where that is no intensities: phase, a field map, labels, a surface.

Means and neighbours say nothing about such numbers: half way between labels 0 and 3 lies neither
1 nor 2, and half way between phases of pi and -pi lies not 0.
"""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from mriimpute.io.dicom.planes import Series
from mriimpute.io.image_file import without_ending
from mriimpute.io.scan import Scan

__all__ = ["SURFACE", "held_otherwise", "named_otherwise", "typed_otherwise", "warn_of_contents"]

Values = Float[np.ndarray, "i j k"]

log = logging.getLogger(__name__)

PHASE, FIELD_MAP, LABELS = "phase", "a field map", "labels or a mask"
SURFACE = "values of a surface (CIFTI or of one hemisphere)"

NAMES = {
    SURFACE: re.compile(r"(?i).*\.[dp](conn|dconn|label|pconn|scalar|tseries|fan)\w*|[lr]h\..*"),
    PHASE: re.compile(r"(.*_)?(part-phase_.*|phase(diff|[12])?|ph)"),
    FIELD_MAP: re.compile(r"(.*_)?(fieldmap|B0map|B1map|TB1map|RB1map)"),
    LABELS: re.compile(r"(.*_)?(dseg|probseg|seg|segmentation|labels?|mask|defacemask)"),
}
"""By what the name of a file without its ending says: BIDS, dcm2niix, FreeSurfer."""

TYPES = {
    PHASE: {"P", "PHASE", "PHASE MAP", "PHASE_MAP", "VELOCITY MAP", "VELOCITY_MAP"},
    FIELD_MAP: {"B0 MAP", "B0_MAP", "FIELD MAP", "FIELD_MAP", "FIELDMAP", "B1 MAP", "B1_MAP"},
}
"""By the values of DICOM's image type after the second, as vendors write them."""

UNITS = {PHASE: {"rad", "deg"}, FIELD_MAP: {"Hz", "rad/s", "T"}}
"""By the units that a BIDS sidecar states."""

INTENTS = {1002: LABELS, 1003: LABELS} | dict.fromkeys(range(2, 25), "a statistical map")
"""By the intent code of NIfTI."""

LARGEST_LABEL = 2**31
"""Larger numbers are whole in single precision whatever they are."""

SIDE = 160
"""Of the box in the middle of a scan that is looked at, in voxels."""

FULL_CIRCLE = ((-np.pi, np.pi, 0.01), (-4096.0, 4096.0, 6.0))
"""Where phase begins and ends, in radians and as scanners store it, and how near it comes."""

MIN_SAME, MIN_SAME_ALONG = 0.55, 0.2
"""Of neighbours outside of the background, those that are equal: of all, and along every axis."""


def named_otherwise(name: str) -> str | None:
    """Returns what a file holds instead of intensities, as its name says; None if it does not.

    Args:
        name: Of the file; an ending that is one of an image may be left out.

    Example:
        >>> named_otherwise("sub-01_part-phase_T2w.nii.gz")
        'phase'
        >>> named_otherwise("sub-01_T2w.nii.gz") is None
        True
    """
    stem = without_ending(name)
    return next((what for what, pattern in NAMES.items() if pattern.fullmatch(stem)), None)


def typed_otherwise(series: Series) -> str | None:
    """Returns what a DICOM series holds instead of intensities, as its headers say."""
    for plane in series.planes:
        kinds = dict(plane.kinds)
        words = [*kinds.get("image type", "").split("\\")[2:], kinds.get("component", "")]
        if what := _typed(words):
            return what
    return None


def held_otherwise(scan: Scan) -> str | None:
    """Returns what a scan holds instead of intensities, and what says so; None for intensities."""
    if scan.series is not None:
        said = [(typed_otherwise(scan.series), "its header")]
    else:
        intent = INTENTS.get(int(scan.header["intent_code"]))
        said = [
            (named_otherwise(scan.path.name), "its name"),
            (intent, "its header"),
            (_by_sidecar(scan.path), "its sidecar"),
        ]
    for what, source in (*said, (_by_values(scan.values, scan.volume.observed), "its values")):
        if what:
            return f"{what}, to judge by {source}"
    return None


def warn_of_contents(scan: Scan) -> None:
    """Logs what a scan holds, where that is no intensities, for who goes on all the same."""
    if held := held_otherwise(scan):
        log.warning("%s holds no intensities but %s", scan.path.name, held)


def _typed(words: Sequence[str]) -> str | None:
    upper = {str(word).upper() for word in words}
    return next((what for what, types in TYPES.items() if upper & types), None)


def _by_sidecar(path: Path) -> str | None:
    sidecar = path.with_name(f"{without_ending(path.name)}.json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        types, unit = content.get("ImageType") or [], content.get("Units")
    except (AttributeError, OSError, RecursionError, ValueError):
        return None
    by_unit = next((what for what, units in UNITS.items() if str(unit) in units), None)
    return by_unit or (_typed(types[2:]) if isinstance(types, list) else None)


def _by_values(data: Values, observed: Bool[np.ndarray, "i j k"]) -> str | None:
    low = float(np.min(data, where=observed, initial=np.inf))
    high = float(np.max(data, where=observed, initial=-np.inf))
    for start, stop, near in FULL_CIRCLE:
        if abs(low - start) <= near and abs(high - stop) <= near:
            return PHASE
    if low == high or max(-low, high) > LARGEST_LABEL:
        return None
    centre = tuple(slice(max(0, (n - SIDE) // 2), (n + SIDE) // 2 + 1) for n in data.shape)
    data, observed = data[centre], observed[centre]
    values = data[observed]
    if not len(values) or (values != np.rint(values)).any():
        return None
    return LABELS if _is_patchwork(data, observed, values) else None


def _is_patchwork(
    data: Values, observed: Bool[np.ndarray, "i j k"], values: Float[np.ndarray, " n"]
) -> bool:
    """Tells whether whole numbers are alike over regions, as those of a scanner never are."""
    levels, counts = np.unique(values[:: max(1, len(values) // 100_000)], return_counts=True)
    if len(levels) < 3 and len(np.unique(values)) < 3:
        return True
    background = levels[counts.argmax()]
    shares = []
    for axis in range(3):
        x, seen = np.moveaxis(data, axis, 0), np.moveaxis(observed, axis, 0)
        counted = seen[1:] & seen[:-1] & ((x[1:] != background) | (x[:-1] != background))
        same = (x[1:] == x[:-1]) & counted
        shares.append(same.sum() / max(counted.sum(), 1))
    return bool(min(shares) >= MIN_SAME_ALONG and np.mean(shares) >= MIN_SAME)
