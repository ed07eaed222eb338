"""What a derived image takes over from its source, and what it never does.

A list of what is copied, not of what is removed: comments, physicians, institutions and private
elements of vendors stay behind because nobody asks for them.
"""

import copy
from collections.abc import Mapping
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mriimpute.errors import VolumeError
from mriimpute.io.container import open_container
from mriimpute.io.dicom.description import known_words
from mriimpute.io.dicom.files import quiet, read_attributes
from mriimpute.io.dicom.planes import Plane, Series

__all__ = ["COPIED", "IDENTITY", "code_item", "shared_header", "source_reference"]

COPIED = [
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "BodyPartExamined",
    "Laterality",
    "PatientPosition",
    "ContrastBolusAgent",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "InversionTime",
    "FlipAngle",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "ImagedNucleus",
    "PhotometricInterpretation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
]

IDENTITY = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "SeriesDescription",
]
"""Whose image it is, on demand. A birth date is not among it: no archive files by it."""

# The standard demands these elements, but most of them may be empty.
DEMANDED: Mapping[str, Any] = {
    "PatientName": "",
    "PatientID": "",
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "PositionReferenceIndicator": "",
    "PatientPosition": "",
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "",
    "RepetitionTime": None,
    "EchoTime": None,
    "EchoTrainLength": None,
    "PhotometricInterpretation": "MONOCHROME2",
}


def shared_header(series: Series, plane: Plane, *, identity: bool) -> Dataset:
    """Returns what all images derived from a series share with it.

    Args:
        series: The source.
        plane: Whose file is read, for what differs between images, such as the window.
        identity: Say whose images they are.

    Raises:
        VolumeError: If the source is gone or belongs to no study.
    """
    wanted = [*COPIED, *(IDENTITY if identity else ("SeriesDescription",))]
    with open_container(series.container) as container:
        source = read_attributes(container.open(plane.file), wanted)
    if not source.get("StudyInstanceUID"):
        raise VolumeError(
            f"{series.container} belongs to no study: it has no study instance UID",
            hint="leave --dicom-out out",
        )
    shared = Dataset()
    with quiet():
        for name in wanted:
            if name in source and source[name].VM:
                shared[name] = copy.deepcopy(source[name])
    if not identity:
        words = known_words(str(shared.get("SeriesDescription", "")))
        shared.SeriesDescription = words
    for name, value in DEMANDED.items():
        if name not in shared:
            setattr(shared, name, value)
    return shared


def source_reference(plane: Plane) -> Dataset:
    """Returns a reference to an image of the source."""
    item = Dataset()
    item.ReferencedSOPClassUID = plane.sop_class
    item.ReferencedSOPInstanceUID = plane.uid
    if plane.sop_class != pydicom.uid.MRImageStorage:
        item.ReferencedFrameNumber = plane.frame + 1
    item.PurposeOfReferenceCodeSequence = [
        code_item(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    return item


def code_item(code: Any) -> Dataset:
    """Returns a coded term as an item of a sequence."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
