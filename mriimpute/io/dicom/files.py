"""The headers of DICOM files, reduced to what places each image; who the patient is stays unread.

A file is asked for named attributes only, and what pydicom would say about a strange value is
silenced: the message would quote the value, and the value may be a birth date.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pydicom
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from mriimpute.errors import VolumeError
from mriimpute.io.container import Container, open_container
from mriimpute.io.dicom.planes import (
    FUNCTIONAL_GROUPS,
    KINDS,
    PRIVATE_B_VALUES,
    Plane,
    Series,
    planes_of,
)

__all__ = ["file_states", "images_in", "is_dicom", "quiet", "read_attributes"]

MR_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
}

DEFLATED = b"1.2.840.10008.1.2.1.99"

PLACING: list[str | int] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "SeriesNumber",
    "Modality",
    "DerivationDescription",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "ScanningSequence",
    "EchoPlanarPulseSequence",
    *(attribute for attribute, _, _ in KINDS.values()),
    *PRIVATE_B_VALUES,
    *FUNCTIONAL_GROUPS,
]


def file_states(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Returns name, size and time of the files at `path`: they are equal while none changes."""
    paths = sorted(path.iterdir()) if path.is_dir() else [path]
    states = [(file.name, file.stat()) for file in paths if file.is_file()]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


def images_in(path: Path) -> tuple[list[Series], Counter[str]]:
    """Returns the MR series in a folder, zip archive or file, and what else was there.

    Args:
        path: Folders below it are not entered.

    Raises:
        VolumeError: If a DICOM file is damaged: leaving it out would make up a skipped slice.
    """
    by_uid: dict[str, tuple[int, str, list[Plane]]] = {}
    others: Counter[str] = Counter()
    with (
        quiet(),
        open_container(path) as container,
    ):  # values are converted when they are first used
        for name in container.names:
            header = _header(container, name)
            if header is None:
                continue
            try:
                problem = _unsuited(header)
                if problem:
                    others[problem] += 1
                    continue
                uid, number = str(header.SeriesInstanceUID), _number(header, "SeriesNumber", 0.0)
                study = str(header.get("StudyInstanceUID") or "")
                planes = list(planes_of(header, name))
            except Exception as error:
                raise _damaged(container, name) from error
            by_uid.setdefault(uid, (int(number), study, []))[-1].extend(planes)
    series = [
        Series(path, uid, number, tuple(planes), study=study)
        for uid, (number, study, planes) in by_uid.items()
    ]
    return sorted(series, key=lambda s: (s.number, s.uid)), others


def read_attributes(
    file: BufferedIOBase, attributes: Sequence[str | int], *, pixels: bool = False
) -> Any:
    """Returns the named attributes of an open file, which is closed.

    Args:
        file: Of DICOM, with or without the usual preamble.
        attributes: Keywords of the standard, or tags.
        pixels: Read beyond the header.
    """
    with quiet(), file:
        head = file.read(132)
        file.seek(0)
        return pydicom.dcmread(
            file,
            stop_before_pixels=not pixels,
            specific_tags=[Tag(attribute) for attribute in attributes],
            force=head[128:] != b"DICM",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps pydicom from printing values of a header inside the block."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _header(container: Container, name: str) -> Any:
    """Returns the header of a DICOM file, None for another file."""
    with container.open(name, 16384) as file:
        head = file.read()
    if not is_dicom(head):
        return None
    if DEFLATED in head:
        raise VolumeError(
            f"{container.path}: {name} is deflated as a whole, which is not supported",
            hint="convert it to an uncompressed transfer syntax, as with dcmconv +te",
        )
    try:
        return read_attributes(container.open(name), PLACING)
    except VolumeError:
        raise
    except Exception as error:  # a damaged file raises anything, and may name a patient
        raise _damaged(container, name) from error


def is_dicom(head: bytes) -> bool:
    """Tells by its first bytes whether a file is DICOM, with or without the usual preamble.

    Example:
        >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"P6 24 7 15")
        (True, False)
    """
    bare = head[:2] == b"\x08\x00" and head[2:4] in (b"\x00\x00", b"\x05\x00", b"\x08\x00")
    return head[128:132] == b"DICM" or bare


def _unsuited(header: Any) -> str | None:
    """Returns why a file is no MR image, None for one that is."""
    outer = str(header.file_meta.get("MediaStorageSOPClassUID", ""))
    kind = str(header.get("SOPClassUID") or "")
    if kind not in MR_IMAGES:
        if not kind and outer == MediaStorageDirectoryStorage:
            return "listing others"
        known = pydicom.uid.UID(kind).name
        # A file that was cut here is damaged, one of a private kind is not. The value itself is
        # never shown: it may be anything.
        if not kind or (known == kind != outer):
            raise ValueError("the SOP class is cut short")
        return "of an unknown kind" if known == kind else f"of the kind {known}"
    if header.get("SamplesPerPixel", 1) != 1:
        return "in colour"
    # Images of an enhanced file have places of their own, whatever it says of where it came from.
    if MR_IMAGES[kind] == "MR" and "MOSAIC" in (header.get("ImageType") or ()):
        return "with mosaics of slices"
    return None


def _number(header: Any, attribute: str, default: float) -> float:
    given = header.get(attribute)
    return default if given in (None, "") else float(given)


def _damaged(container: Container, name: str) -> VolumeError:
    return VolumeError(
        f"{container.path}: {name} is damaged or cut short",
        hint="copy or export the series again; a slice left out would be made up",
    )
