"""Finding scans: a file, a folder of files, a BIDS tree, DICOM series in folders or archives."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from mriimpute.errors import VolumeError
from mriimpute.io.dicom.planes import Series
from mriimpute.io.dicom.series import container_of, holds_dicom, is_archive, series_in
from mriimpute.io.image_file import ENDINGS, has_ending

__all__ = ["ENDINGS", "find_scans", "has_ending", "is_label", "stem", "subject"]

log = logging.getLogger(__name__)

SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2star", "inplaneT1", "inplaneT2")


def find_scans(source: Path) -> list[Path]:
    """Returns the scans that `source` stands for, sorted by name.

    A file stands for itself. A BIDS tree (a folder with `sub-*` folders) stands for its
    anatomical scans, another folder for the images in it; derivatives (`desc-`), masks and label
    maps are left out. A folder without any of these stands for the DICOM series in it and below,
    a zip archive for those in it. What cannot be read stands for itself: reading will tell why.

    Raises:
        VolumeError: If `source` does not exist or holds no scan.
    """
    if not container_of(source).exists():
        raise VolumeError(f"{source} does not exist", hint="check the path")
    if source.name.upper() == "DICOMDIR":
        return find_scans(source.parent)
    if not source.is_dir():
        return [*_series(source)] or [source]

    scans = sorted(_images(source)) or _series_below(source)
    if not scans:
        raise VolumeError(
            f"{source} holds no scan",
            hint=f"put files ending in {ENDINGS}, or DICOM series of MR, there",
        )
    return scans


def _images(folder: Path) -> Iterator[Path]:
    subjects = [path for path in folder.glob("sub-*") if path.is_dir()]
    endings = tuple(f"_{suffix}" for suffix in SUFFIXES) if subjects else ("",)
    below = (path for subject in subjects for path in subject.rglob("*"))
    for path in below if subjects else folder.iterdir():
        if (
            has_ending(path)
            and stem(path).endswith(endings)
            and "_desc-" not in path.name
            and not is_label(path)
            and path.name[0] != "."
        ):
            yield path


def _series_below(folder: Path) -> list[Path]:
    """Returns the DICOM series in a folder, in folders below it and in archives there."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    archives = [path for place in folders for path in place.iterdir() if is_archive(path)]
    series: dict[Path, Series | None] = {}
    for place in sorted([*folders, *archives]):
        series |= _series(place)
    _warn_of_scattered(series)
    return list(series)


def _series(place: Path) -> Mapping[Path, Series | None]:
    """Returns the series in a folder, archive or file; None: `place` itself, which is damaged."""
    try:
        return series_in(place) if holds_dicom(place) else {}
    except VolumeError:
        return {place: None}


def _warn_of_scattered(by_address: Mapping[Path, Series | None]) -> None:
    """Warns where slices of one series lie in several places, each of which is a scan here."""
    by_uid: defaultdict[str, dict[Path, Series]] = defaultdict(dict)
    for series in filter(None, by_address.values()):
        by_uid[series.uid].setdefault(series.container, series)
    for parts in by_uid.values():
        images = [frozenset(plane.uid for plane in series.planes) for series in parts.values()]
        if len(set(images)) > 1:  # else they are copies
            log.warning(
                "series %d lies in %d places, %s: each is taken for a scan of its own",
                next(iter(parts.values())).number,
                len(parts),
                ", ".join(place.name for place in parts),
            )


def is_label(path: Path) -> bool:
    """Tells whether a file is a label map or a mask by its name."""
    return stem(path).endswith(("_dseg", "_mask"))


def stem(path: Path) -> str:
    """Returns the file name without its image ending, which may be in capitals.

    That of a folder is its name, that of one of several series begins with the name of what
    holds it.

    Example:
        >>> stem(Path("scan.v2.nii.gz"))
        'scan.v2'
    """
    if (container := container_of(path)) != path:
        return f"{stem(container)}_{path.name}"
    for ending in ENDINGS:
        if has_ending(path, (ending,)):
            return path.name[: -len(ending)]
    return path.name if path.is_dir() else path.stem  # series UIDs hold dots


def subject(path: Path) -> str:
    """Returns the BIDS subject label (`sub-01`) of a file, or its stem where there is none.

    Example:
        >>> subject(Path("sub-01_ses-2_T1w.nii.gz")), subject(Path("head.nii"))
        ('sub-01', 'head')
    """
    first = stem(path).split("_")[0]
    return first if first.startswith("sub-") else stem(path)
