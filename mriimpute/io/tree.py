"""Finding scans: a file, a folder of files, a BIDS tree, DICOM series in folders or archives."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mriimpute.errors import VolumeError
from mriimpute.files import located
from mriimpute.io.contents import named_otherwise, typed_otherwise
from mriimpute.io.dicom.addresses import (
    container_of,
    holds_dicom,
    is_archive,
    others_in,
    series_in,
)
from mriimpute.io.dicom.planes import Series
from mriimpute.io.image_file import ENDINGS, has_ending, listed_endings, without_ending

__all__ = [
    "ENDINGS",
    "SUFFIXES",
    "find_scans",
    "has_ending",
    "is_label",
    "stem",
    "subject",
]

log = logging.getLogger(__name__)

SUFFIXES = (
    *("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio"),
    *("T2star", "FLASH", "PD"),  # of earlier versions
    *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat"),
    *("UNIT1", "T1rho", "MWFmap", "MTVmap", "Chimap", "S0map", "M0map"),
    *("MESE", "MEGRE", "VFA", "IRT1", "MP2RAGE", "MPM", "MTS", "MTR"),
)
"""All that BIDS 1.10 calls anatomical, but masks."""

DICOM_ENDINGS = (".dcm", ".ima", ".zip")

OTHER_ENDINGS = (
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".img.gz", ".mnc", ".par", ".rec"),
    *(".gii", *DICOM_ENDINGS),
)
"""Of images that are not looked for, or not beside files of NIfTI."""

ORDINARY = ("other kinds than anatomical", "derivatives (desc-)")
"""Why images are left out of nearly every BIDS tree: no warning."""

OTHER, FOLDERS = "other formats", "folders with images, not entered"

MAX_NAMED = 3

LeftOut = defaultdict[str, list[str]]
"""What is left out, by the reason."""


def find_scans(source: Path) -> list[Path]:
    """Returns the scans that `source` stands for, sorted by name.

    A file stands for itself. A BIDS tree (a folder with `sub-*` folders) stands for its
    anatomical scans, another folder for the images in it; derivatives (`desc-`), phase, field
    maps, masks and label maps are left out, with a word. A folder without any of these stands for
    the DICOM series in it and below, a zip archive for those in it. Links are followed. What
    cannot be read stands for itself: reading will tell why.

    Raises:
        VolumeError: If `source` does not exist or holds no scan.
    """
    if not container_of(source).exists():
        raise VolumeError(f"{source} does not exist", hint="check the path")
    if source.name.upper() == "DICOMDIR":
        return find_scans(source.parent)
    left_out: LeftOut = defaultdict(list)
    if not source.is_dir():
        return [*_series(source, left_out)] or [source]

    scans = sorted(_images(source, left_out))
    if not scans:
        _forget_dicom(left_out)
        scans = _series_below(source, left_out)
    if not scans:
        others = f"; it holds {_listed(left_out)}" if left_out else ""
        raise VolumeError(
            f"{source} holds no scan{others}",
            hint=f"put files ending in {listed_endings()}, or DICOM series of MR, there",
        )
    usual = {reason: names for reason, names in left_out.items() if reason in ORDINARY}
    unusual = {reason: names for reason, names in left_out.items() if reason not in ORDINARY}
    if usual:
        log.info("%s: left out: %s", source.name, _listed(usual))
    if unusual:
        log.warning("%s: left out: %s", source.name, _listed(unusual))
    return scans


def _listed(left_out: Mapping[str, Sequence[str]]) -> str:
    """Returns reasons, each with how many were left out for it, and the names of some."""
    parts = []
    for reason, names in left_out.items():
        counts = Counter(names)
        some = [f"{name} ({n})" if n > 1 else name for name, n in [*counts.items()][:MAX_NAMED]]
        more = ["..."] if len(counts) > MAX_NAMED else []
        parts.append(f"{reason}: {len(names)}: {', '.join([*some, *more])}")
    return "; ".join(parts)


def _images(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    subjects = [path for path in sorted(folder.glob("sub-*")) if path.is_dir()]
    if subjects:
        files = [path for subject in subjects for path in _walk(subject, left_out)]
    else:
        files = list(folder.iterdir())
    for path in files:
        if path.name[0] == "." or path.is_dir():
            continue
        if not has_ending(path):
            _note_other(path, left_out)
        elif reason := _reason(path, is_bids=bool(subjects)):
            name = stem(path).rpartition("_")[2] if reason == ORDINARY[0] else path.name
            left_out[reason].append(name)
        elif not is_observed(path):
            yield path
    if subjects:
        stray = [path.name for path in sorted(folder.iterdir()) if has_ending(path)]
        left_out["images outside of sub-*"] += stray
    else:
        _note_folders(files, left_out)
    for reason in [reason for reason, names in left_out.items() if not names]:
        del left_out[reason]


def _reason(path: Path, *, is_bids: bool) -> str | None:
    """Returns why an image in a folder is none of its scans; None if it is one."""
    if is_observed(path):
        return None
    if "_desc-" in path.name:
        return ORDINARY[1]
    if held := named_otherwise(path.name):
        return held
    if is_bids and not stem(path).endswith(tuple(f"_{suffix}" for suffix in SUFFIXES)):
        return "suffixes that BIDS does not know" if path.parent.name == "anat" else ORDINARY[0]
    return None


def _note_other(path: Path, left_out: LeftOut) -> None:
    if ending := next((end for end in OTHER_ENDINGS if has_ending(path, (end,))), None):
        left_out[OTHER].append(f"*{ending}")


def _forget_dicom(left_out: LeftOut) -> None:
    """Takes back what was noted of DICOM and of folders: without other images, both count."""
    others = [n for n in left_out.pop(OTHER, []) if not has_ending(Path(n), DICOM_ENDINGS)]
    left_out.pop(FOLDERS, None)
    if others:
        left_out[OTHER] = others


def _note_folders(paths: Iterable[Path], left_out: LeftOut) -> None:
    """Notes the folders in a folder of images: they are not entered."""
    for path in sorted(paths):
        if path.is_dir() and path.name[0] != "." and _holds_images(path):
            left_out[FOLDERS].append(path.name)


def _holds_images(folder: Path) -> bool:
    try:
        names = [path for path in folder.iterdir() if path.name[0] != "."]
    except OSError:
        return False
    return any(has_ending(path, (*ENDINGS, *OTHER_ENDINGS)) for path in names)


def _walk(folder: Path, left_out: LeftOut, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yields all that lies in a folder and below it, links followed, but none that leads up."""
    above = (*above, folder.resolve())
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        left_out["folders that may not be read"].append(folder.name)
        return
    for path in paths:
        yield path
        if path.is_symlink() and not path.exists():
            if not has_ending(path):  # an image stands for itself: reading tells
                left_out["links that lead nowhere"].append(path.name)
        elif path.is_dir():
            target = path.resolve()
            if any(up.is_relative_to(target) for up in above):
                left_out["links that lead back up"].append(path.name)
            else:
                yield from _walk(path, left_out, above)


def _series_below(folder: Path, left_out: LeftOut) -> list[Path]:
    """Returns the DICOM series in a folder, in folders below it and in archives there."""
    below = [folder, *_walk(folder, left_out)]
    places: dict[Path, Path] = {}
    for path in sorted((p for p in below if p.is_dir() or is_archive(p)), key=_linked_last):
        places.setdefault(path.resolve(), path)  # one place may be reached in several ways
    series: dict[Path, Series | None] = {}
    for place in sorted(places.values()):
        series |= _series(place, left_out)
    _warn_of_scattered(series)
    return list(series)


def _linked_last(path: Path) -> tuple[bool, Path]:
    return path.resolve() != located(path), path


def _series(place: Path, left_out: LeftOut) -> Mapping[Path, Series | None]:
    """Returns the series in a folder, archive or file; None: `place` itself, which is damaged."""
    try:
        if not holds_dicom(place):
            return {}
        found = series_in(place)
        for what, count in () if found else others_in(place).items():
            left_out[f"DICOM files {what}"] += [place.name] * count
    except VolumeError:
        return {place: None}
    held = {path: typed_otherwise(series) if series else None for path, series in found.items()}
    kept = {path: found[path] for path, what in held.items() if not what}
    if not kept:
        return found
    for path in found.keys() - kept.keys():
        log.warning(
            "%s/%s holds %s and is left out; by itself it is imputed with --force",
            path.parent.name,
            path.name,
            held[path],
        )
    return kept


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


def is_observed(path: Path) -> bool:
    """Tells whether an image marks the acquired voxels of another one, by its name."""
    return "_desc-observed" in path.name


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
    if has_ending(path):
        return without_ending(path.name)
    return path.name if path.is_dir() else path.stem  # series UIDs hold dots


def subject(path: Path) -> str:
    """Returns the BIDS subject label (`sub-01`) of a file, or its stem where there is none.

    Example:
        >>> subject(Path("sub-01_ses-2_T1w.nii.gz")), subject(Path("head.nii"))
        ('sub-01', 'head')
    """
    first = stem(path).split("_")[0]
    return first if first.startswith("sub-") else stem(path)
