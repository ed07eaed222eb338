"""Which images of a series are one volume: echoes, time points, magnitude and phase come in one.

Images at one place differ in an attribute that the images of one volume share. An attribute that
changes from slice to slice tells images at one place apart, too, but makes no stacks: of all sets
of attributes, the smallest one wins whose parts are evenly spaced, with no more parts than needed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mriimpute.errors import GeometryError
from mriimpute.io.dicom.planes import Plane
from mriimpute.io.dicom.stack import SAME_MM, to_stack
from mriimpute.io.dicom.volume_names import NAMES, Labels, by_number, volume_names

__all__ = ["Part", "sequence_of", "split_by_position"]

MAX_ATTRIBUTES = 3
"""That tell parts apart, unless it takes all."""

MIN_TIME_POINTS = 6
"""From which on a series is a time series; one by echo-planar imaging always is."""

TIMES = ("time", "trigger time", "acquisition")

DIFFUSION = ("b value", "gradient", "private b value")


@dataclass(frozen=True, slots=True)
class Part:
    """Images of which no two lie at one place.

    Attributes:
        planes: In no order.
        kinds: What tells them from those of other parts; empty where there are no others.
        name: What they are called, such as "echo1-phase"; empty where there are no others.
        absent: How many places of another part they have no image at.
        is_cut: Among these are places before all of theirs, or behind them.
    """

    planes: tuple[Plane, ...]
    kinds: tuple[tuple[str, str], ...] = ()
    name: str = ""
    absent: int = 0
    is_cut: bool = False


def split_by_position(planes: Sequence[Plane]) -> list[Part]:
    """Returns the images, parted so that no two in one part lie at one place.

    Copies of one image count once. Where nothing in the headers tells images at one place apart,
    they stay together.
    """
    distinct = list({(plane.uid, plane.frame): plane for plane in planes}.values())
    places = _places(distinct)
    crowded = max(Counter(places).values())
    if crowded == 1:
        return [Part(tuple(distinct))]
    names, groups = _best(distinct, places, crowded)
    if not groups:
        return [Part(tuple(distinct))]
    called = volume_names(names, list(groups))
    extents = {frozenset(places[n] for n in group) for group in groups.values()}
    along = {places[n]: _along_normal(plane) for n, plane in enumerate(distinct)}
    return [
        Part(
            tuple(distinct[n] for n in groups[key]),
            tuple(zip(names, key, strict=True)),
            called[key],
            *_absent(frozenset(places[n] for n in groups[key]), extents, along),
        )
        for key in sorted(groups, key=by_number)
    ]


def sequence_of(parts: Sequence[Part]) -> str | None:
    """Returns what a series is of which nobody wants every volume imputed; None for another one.

    Args:
        parts: Of the series.
    """
    incomplete = sum(part.absent > 0 for part in parts)
    rest = f", {incomplete} of them incomplete" if incomplete else ""
    kinds = [dict(part.planes[0].kinds) for part in parts]
    if any(len({kind.get(name) for kind in kinds}) > 1 for name in DIFFUSION):
        return f"a diffusion series of {len(parts)} volumes{rest}"
    apart = [dict(part.kinds) for part in parts]
    times = len({tuple(each.get(name, "") for name in TIMES) for each in apart})
    is_epi = any("epi" in kind for kind in kinds)
    if times >= (2 if is_epi else MIN_TIME_POINTS):
        return f"a time series of {times} volumes{rest}"
    return None


def _places(planes: Sequence[Plane]) -> list[object]:
    """Returns where each image lies: equal for those of one orientation at one place."""
    if any(not plane.position or not plane.directions for plane in planes):
        return list(range(len(planes)))
    return [
        (
            tuple(np.round(np.asarray(plane.position) / SAME_MM / 2).tolist()),
            tuple(np.round(np.asarray(plane.directions), 2).tolist()),
        )
        for plane in planes
    ]


def _best(
    planes: Sequence[Plane], places: Sequence[object], crowded: int
) -> tuple[Labels, dict[Labels, list[int]]]:
    """Returns the attributes that tell volumes apart, and the images of each; none if none do.

    Args:
        planes: All images.
        places: Of each.
        crowded: The most images at one place: there are as many volumes.
    """
    best: tuple[tuple[int, int, int], Labels, dict[Labels, list[int]]] | None = None
    for names in _candidates(planes):
        groups = defaultdict(list)
        for n, plane in enumerate(planes):
            kinds = dict(plane.kinds)
            groups[tuple(kinds.get(name, "") for name in names)].append(n)
        if any(len({places[n] for n in group}) < len(group) for group in groups.values()):
            continue
        astray = sum(
            len(group) for group in groups.values() if not _is_stack([planes[n] for n in group])
        )
        cost = (astray, len(groups) - crowded, len(names))
        if best is None or cost < best[0]:
            best = cost, names, dict(groups)
        if cost[:2] == (0, 0):
            break
    return ((), {}) if best is None else best[1:]


def _candidates(planes: Sequence[Plane]) -> Iterator[Labels]:
    """Yields sets of attributes that differ between images, the smallest ones first."""
    values: dict[tuple[int, ...], str] = {}  # attributes that say the same count once
    kinds = [dict(plane.kinds) for plane in planes]
    for name in NAMES:
        ranks: dict[str, int] = {}
        labels = tuple(ranks.setdefault(kind.get(name, ""), len(ranks)) for kind in kinds)
        if len(ranks) > 1:
            values.setdefault(labels, name)
    names = tuple(values.values())
    for size in range(1, min(len(names), MAX_ATTRIBUTES) + 1):
        yield from combinations(names, size)
    if len(names) > MAX_ATTRIBUTES:
        yield names


def _is_stack(planes: Sequence[Plane]) -> bool:
    try:
        to_stack(planes, "")
    except GeometryError:
        return False
    return True


def _absent(
    mine: frozenset[object], extents: Iterable[frozenset[object]], along: Mapping[object, float]
) -> tuple[int, bool]:
    """Returns how many places of a larger part a part lacks, and whether at one of its ends.

    Args:
        mine: Where the part has images.
        extents: Where each part has some.
        along: Position of each place along the normal, in mm.
    """
    larger = [other for other in extents if mine < other]
    if not larger:
        return 0, False
    lacking = [along[place] for place in max(larger, key=len) - mine]
    inside = [along[place] for place in mine]
    return len(lacking), min(lacking) < min(inside) or max(lacking) > max(inside)


def _along_normal(plane: Plane) -> float:
    normal = np.cross(plane.directions[:3], plane.directions[3:])
    return float(np.asarray(plane.position) @ normal)
