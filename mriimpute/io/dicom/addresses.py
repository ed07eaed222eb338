"""What MR series a folder, zip archive or multi-frame file holds, and how each is addressed.

A container with one series is addressed by its own path, one of several series as
`CONTAINER/series-NNN`, which is no file: NNN is the series number. Volumes that come in one series
have their echo, type or time behind it, as in `series-003-echo1`. Nobody's name is in an address.
"""

import functools
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mriimpute.errors import VolumeError
from mriimpute.io.container import open_container
from mriimpute.io.dicom.files import file_states, images_in, is_dicom
from mriimpute.io.dicom.planes import Series
from mriimpute.io.dicom.split import Part, sequence_of, split_by_position

__all__ = [
    "container_of",
    "holds_dicom",
    "is_archive",
    "one_series",
    "others_in",
    "series_in",
    "study_of",
]

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"series-\d{3,}(-[0-9a-f]{6})?(-[a-z]+\d*)*")


def container_of(path: Path) -> Path:
    """Returns the file or folder on disk behind a path that may address one of its series."""
    is_address = ADDRESS.fullmatch(path.name) and not path.exists()
    return path.parent if is_address else path


def is_archive(path: Path) -> bool:
    """Tells whether a path is that of a zip archive."""
    return path.name.lower().endswith(".zip") and path.is_file()


def holds_dicom(path: Path) -> bool:
    """Tells whether a path is a zip archive, a DICOM file, a folder with one, or a series."""
    place = container_of(path)
    if is_archive(place):
        return True
    if not place.exists() or (place.is_file() and place.name.lower().endswith((".nii", ".gz"))):
        return False
    with open_container(place) as container:
        return any(is_dicom(container.open(name, 132).read()) for name in container.names)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What MR series a container holds.

    Attributes:
        volumes: By address.
        sequences: Series of which nobody wants every volume imputed, and what they are.
        scans: Addresses of what the container stands for.
        others: How many files of what else are there.
    """

    volumes: dict[Path, Series]
    sequences: dict[Path, str]
    scans: tuple[Path, ...]
    others: Counter[str]


def series_in(container: Path) -> dict[Path, Series | None]:
    """Returns the MR series in a folder, zip archive or file by their addresses.

    What surely is no volume is left out where something else is there, and so is what this
    package wrote. None is a series that is no volume: reading tells why.

    Raises:
        VolumeError: If a file is damaged, or an archive dangerous.
    """
    contents = _contents(container, file_states(container))
    return {address: contents.volumes.get(address) for address in contents.scans}


def others_in(container: Path) -> Mapping[str, int]:
    """Returns how many files of what other kinds than MR a folder, archive or file holds.

    Raises:
        VolumeError: If a file is damaged, or an archive dangerous.
    """
    return _contents(container, file_states(container)).others


def one_series(path: Path) -> Series:
    """Returns the planes of the series at a path or address.

    Raises:
        VolumeError: If there is none, there are several, or it is a sequence of volumes.
    """
    container = container_of(path)
    there = _contents(container, file_states(container))
    if path in there.volumes:
        return there.volumes[path]
    if path in there.sequences:
        some = [address for address, each in there.volumes.items() if each.part]
        raise VolumeError(
            f"{path} is {there.sequences[path]}", hint=f"pass one volume of it, such as {some[0]}"
        )
    if not there.volumes:
        raise VolumeError(
            f"{container} holds no MR series"
            + (f", but {_in_words(there.others)}" if there.others else ""),
            hint="pass a folder or a zip archive with the images of an MR series",
        )
    names = ", ".join(address.name for address in there.scans)
    if path == container:
        raise VolumeError(
            f"{path} holds {len(there.scans)} series", hint=f"pass one: {path}/ and one of {names}"
        )
    raise VolumeError(f"{path} does not exist", hint=f"pass {container}, which holds {names}")


def study_of(path: Path) -> str:
    """Returns the UID of the study that a series belongs to; empty where nothing says so.

    Args:
        path: Or address of a series; what cannot be read says nothing.
    """
    container = container_of(path)
    try:
        volumes = _contents(container, file_states(container)).volumes
    except (OSError, VolumeError):
        return ""
    return volumes[path].study if path in volumes else ""


@functools.lru_cache(maxsize=16)
def _contents(container: Path, state: object) -> _Contents:
    series, others = images_in(container)
    for derived in [s for s in series if all(plane.is_ours for plane in s.planes)]:
        series.remove(derived)
        others["made by mriimpute"] += len(derived.planes)
    if others and series:
        log.info("%s: left out: %s", container.name, _in_words(others))

    numbers = Counter(each.number for each in series)
    volumes, sequences, objections = {}, {}, {}
    for each in series:
        name = _name(each, is_only=numbers[each.number] == 1)
        parts = split_by_position(each.planes)
        by_address = {container / f"{name}-{part.name}".rstrip("-"): part for part in parts}
        for address, part in by_address.items():
            volumes[address] = replace(each, planes=part.planes, part=part.name, kinds=part.kinds)
        if what := sequence_of(parts):
            sequences[container / name] = objections[container / name] = what
        else:
            objections |= {address: _objection(part) for address, part in by_address.items()}
    scans = _unobjected(objections)
    if len(scans) == 1 and (only := volumes.get(scans[0])) and not only.part:
        volumes, scans = {container: only}, (container,)
    elif len(series) == 1 and sequences:
        sequences[container], scans = sequences[scans[0]], (container,)
    return _Contents(volumes, sequences, scans, others)


def _in_words(others: Counter[str]) -> str:
    return ", ".join(f"{n} file{'s' if n > 1 else ''} {what}" for what, n in others.items())


def _name(series: Series, *, is_only: bool) -> str:
    """Returns what a series is called; more than its number where that does not tell it."""
    name = f"series-{max(series.number, 0):03d}"
    if is_only and series.number >= 0:
        return name
    return f"{name}-{hashlib.sha256(series.uid.encode()).hexdigest()[:6]}"


def _objection(part: Part) -> str:
    """Returns why images are surely no volume, empty where they may be one."""
    directions = {tuple(np.round(plane.directions, 2)) for plane in part.planes}
    slices = len(part.planes)
    if len(directions) > 1:
        return "a localizer"
    if part.is_cut:
        return f"incomplete ({slices} of {slices + part.absent} slices)"
    return "a single slice" if slices < 2 else ""


def _unobjected(objections: Mapping[Path, str]) -> tuple[Path, ...]:
    """Leaves out what surely is no volume, such as a localizer, where something else is left."""
    kept = tuple(path for path, why in objections.items() if not why)
    if not kept:
        return tuple(objections)
    for path, why in objections.items():
        if why:
            log.warning("%s/%s is %s and is left out", path.parent.name, path.name, why)
    return kept
