"""One image of a DICOM series: what its header says of where it lies, wherever it says so.

Classic files hold one image each, whose attributes stand at the top; enhanced ones hold many,
whose attributes stand in groups: those of the frame, or those that all frames share.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

__all__ = ["DERIVED_BY", "FUNCTIONAL_GROUPS", "Plane", "Series", "planes_of"]

DERIVED_BY = "mriimpute"
"""How the description of a derivation by this package begins."""

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

TIMING = "MRTimingAndRelatedParametersSequence"

# By which images at one place may differ: what enhanced files call it, where they keep it.
KINDS = {
    "echo time": ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    "component": (
        "ComplexImageComponent",
        "MRImageFrameTypeSequence",
        "ComplexImageComponent",
    ),
    "image type": ("ImageType", "MRImageFrameTypeSequence", "FrameType"),
    "inversion time": ("InversionTime", "MRModifierSequence", "InversionTimes"),
    "b value": ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    "gradient": (
        "DiffusionGradientOrientation",
        "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence",
    ),
    "flip angle": ("FlipAngle", TIMING, "FlipAngle"),
    "repetition time": ("RepetitionTime", TIMING, "RepetitionTime"),
    "time": ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    "trigger time": (
        "TriggerTime",
        "CardiacSynchronizationSequence",
        "NominalCardiacTriggerDelayTime",
    ),
    "acquisition": ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    "stack": ("StackID", "FrameContentSequence", "StackID"),
    "sequence": ("SequenceName", "", ""),
}

PRIVATE_B_VALUES = (0x0019100C, 0x20011003, 0x00431039)
"""Where scanners of Siemens, Philips and GE keep the strength of diffusion weighting."""

B_VALUE_NAME = re.compile(r"_b\d+")
"""In the name of a pulse sequence of Siemens: the strength of diffusion weighting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One image of a series. Lengths in mm, directions towards left, posterior, superior.

    Attributes:
        file: Name in its container.
        frame: Index in its file.
        uid: Of the instance, which is a whole file.
        sop_class: Of the instance.
        position: Centre of the first voxel; empty where the header says nothing.
        directions: Along a row, then down a column; empty where the header says nothing.
        spacing_mm: Between rows, between columns.
        shape: Rows and columns.
        thickness_mm: Of the slice; 0 where the header says nothing.
        slope: Intensity = slope * stored number + intercept.
        intercept: See `slope`.
        lacks_slope: The header's slope is 0 or no number, and 1 is taken.
        kinds: What may tell images at one place apart.
        is_ours: This package made it.
    """

    file: str
    frame: int
    uid: str
    sop_class: str
    position: tuple[float, ...]
    directions: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, int]
    thickness_mm: float
    slope: float
    intercept: float
    lacks_slope: bool
    kinds: tuple[tuple[str, str], ...]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Series:
    """Images that one acquisition delivered together.

    Attributes:
        container: The folder, zip archive or file that holds them.
        uid: Series instance UID.
        number: Series number, 0 where the header gives none.
        planes: In no order.
        part: What its images are called among others of the acquisition, such as "echo1"; empty
            where there are no others.
        kinds: What tells them apart: attribute and value.
        study: Study instance UID; empty where the header gives none.
    """

    container: Path
    uid: str
    number: int
    planes: tuple[Plane, ...]
    part: str = ""
    kinds: tuple[tuple[str, str], ...] = ()
    study: str = ""


def planes_of(header: Any, name: str) -> Iterator[Plane]:
    """Yields the images of a file, of which only the header was read.

    Args:
        header: A pydicom dataset with the attributes that place an image.
        name: Of the file in its container.
    """
    shared, frames = (header.get(group) for group in FUNCTIONAL_GROUPS)
    for frame, frame_group in enumerate(frames if frames is not None else [None]):
        groups = [
            group for group in (frame_group, shared[0] if shared else None) if group is not None
        ]

        def value(attribute: str, sequence: str, inside: str, groups: Any = groups) -> Any:
            """Returns an attribute of this frame, of all frames, or of a classic image."""
            for group in groups:
                for item in group.get(sequence) or ():
                    if item.get(inside) is not None:
                        return item.get(inside)
            return header.get(attribute)

        yield _plane(header, name, frame, value)


def _plane(header: Any, name: str, frame: int, value: Any) -> Plane:
    def numbers(attribute: str, sequence: str, count: int) -> tuple[float, ...]:
        raw = value(attribute, sequence, attribute)
        listed = [float(v) for v in ([] if raw is None or raw == "" else _as_list(raw))]
        usable = len(listed) == count and all(map(math.isfinite, listed))
        return tuple(listed) if usable else ()

    measures, scaling = "PixelMeasuresSequence", "PixelValueTransformationSequence"
    slope = (numbers("RescaleSlope", scaling, 1) or (0.0,))[0]
    says_slope = value("RescaleSlope", scaling, "RescaleSlope") not in (None, "")
    kinds = [(what, value(*where)) for what, where in KINDS.items()]
    return Plane(
        file=name,
        frame=frame,
        uid=str(header.SOPInstanceUID),
        sop_class=str(header.SOPClassUID),
        position=numbers("ImagePositionPatient", "PlanePositionSequence", 3),
        directions=numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6),
        spacing_mm=numbers("PixelSpacing", measures, 2),
        shape=(int(header.Rows), int(header.Columns)),
        thickness_mm=(numbers("SliceThickness", measures, 1) or (0.0,))[0],
        slope=slope or 1.0,
        intercept=(numbers("RescaleIntercept", scaling, 1) or (0.0,))[0],
        lacks_slope=says_slope and slope == 0,
        kinds=(
            *((what, _text(raw)) for what, raw in kinds if raw not in (None, "")),
            *_of_vendors(header),
        ),
        is_ours=str(header.get("DerivationDescription") or "").startswith(DERIVED_BY),
    )


def _of_vendors(header: Any) -> Iterator[tuple[str, str]]:
    """Yields what vendors say of diffusion, and whether an image is by echo-planar imaging."""
    weights = [header[tag].value for tag in PRIVATE_B_VALUES if tag in header]
    name = B_VALUE_NAME.search(str(header.get("SequenceName") or ""))
    if weights or name:
        weight = _as_list(weights[0])[0] if weights else header.SequenceName
        yield "private b value", str(weight)
    techniques = _as_list(header.get("ScanningSequence") or "")
    if "EP" in techniques or header.get("EchoPlanarPulseSequence") == "YES":
        yield "epi", "yes"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | MultiValue) else [value]


def _text(value: Any) -> str:
    if isinstance(value, Sequence):  # of gradients: one item with a direction
        value = value[0].get("DiffusionGradientOrientation", "") if value else ""
    return "\\".join(str(part) for part in _as_list(value))
