"""A standard deviation as a DICOM Parametric Map: one file, float32 as it is.

Exact where a series of 16-bit images rounds, and with a unit, but fewer viewers open it. Laid out
as by highdicom, element for element (`tests/io/dicom/test_parametric_map.py`).

References:
    DICOM PS3.3, A.75 (Parametric Map IOD), C.7.6.16 (functional groups), C.7.6.17 (dimensions).
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import ParametricMapStorage, generate_uid

from mriimpute.files import replacing
from mriimpute.io.dicom.files import quiet
from mriimpute.io.dicom.header import IDENTITY, code_item
from mriimpute.io.dicom.write import derived_images, save_image
from mriimpute.io.scan import Scan

__all__ = ["write_map"]

COPIED = [
    "SpecificCharacterSet",
    "PatientBirthDate",
    "ReferringPhysicianName",
    *IDENTITY,
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
]
"""From the images of the series, which say of a person what they may."""

FRAME_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]

MAX_TILT = 1e-3
"""1 - cos of the angle between normal and stack up to which frames make a 3D volume."""


def write_map(
    folder: Path,
    std: Float32[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int],
    made_by: str,
    identity: bool = False,
) -> None:
    """Writes a standard deviation as a Parametric Map that refers to its series of images.

    Args:
        folder: Is replaced; the file in it is `0001.dcm`.
        std: On the scan's canonical grid, refined; in units of the scan.
        like: Read from a DICOM series.
        refine: Canonical axis and the number of voxels for each one along it.
        made_by: Everything that decided the result, in words.
        identity: Copy name and number of the patient, and what names the study.

    Raises:
        OutputError: If the file cannot be written.
        VolumeError: If the source is gone or belongs to no study.
    """
    images = []
    for image in derived_images(
        std, like=like, refine=refine, content="std", made_by=made_by, identity=identity
    ):
        del image.PixelData
        images.append(image)
    frames = np.ascontiguousarray(like.as_stored(std).transpose(2, 1, 0))
    with replacing(folder) as temporary, quiet():
        save_image(_map(images, frames), temporary / "0001.dcm")


def _map(images: list[Dataset], frames: Float32[np.ndarray, "k j i"]) -> Dataset:
    """Returns the map of frames that lie where images of a series do."""
    first = images[0]
    series = generate_uid(entropy_srcs=[str(first.SeriesInstanceUID), "map"])
    content = _part(first, *COPIED)
    content.SOPClassUID = ParametricMapStorage
    content.SOPInstanceUID = generate_uid(entropy_srcs=[series])
    content.SeriesInstanceUID = series
    content.SeriesNumber = int(first.SeriesNumber) + 1
    content.InstanceNumber = 1
    content.Modality = "OT"
    content.DeviceSerialNumber = "none"
    content.ContentDate = content.ContentTime = ""  # the clock would make two runs differ
    content.ContentQualification = "RESEARCH"
    content.ContentLabel = "STD"
    content.ContentDescription = first.SeriesDescription
    content.ImageType = FRAME_TYPE
    content.PixelPresentation = "MONOCHROME"
    content.PresentationLUTShape = "IDENTITY"
    content.RecognizableVisualFeatures = "YES"
    content.LossyImageCompression = first.get("LossyImageCompression", "00")
    content.AcquisitionContextSequence = []
    content.SourceImageSequence = [_reference(image) for image in images]
    content.ReferencedSeriesSequence = [
        _item(
            SeriesInstanceUID=first.SeriesInstanceUID,
            ReferencedInstanceSequence=content.SourceImageSequence,
        )
    ]
    _set_frames(content, images, frames)
    return content


def _set_frames(
    content: Dataset, images: list[Dataset], frames: Float32[np.ndarray, "k j i"]
) -> None:
    """Sets frames, against the normal of their rows and columns, and where each lies."""
    rows, columns = np.reshape(images[0].ImageOrientationPatient, (2, 3)).astype(float)
    normal = np.cross(rows, columns)
    places = np.array([image.ImagePositionPatient for image in images], float)
    order = np.argsort(-places @ normal)
    step = places[order[-1]] - places[order[0]]
    if len(images) > 1 and abs(step @ normal) > (1 - MAX_TILT) * np.linalg.norm(step):
        content.DimensionOrganizationType = "3D"

    organization = generate_uid(entropy_srcs=[str(content.SeriesInstanceUID), "dimensions"])
    content.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    content.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=Tag("ImagePositionPatient"),
            FunctionalGroupPointer=Tag("PlanePositionSequence"),
            DimensionDescriptionLabel="Image Position Patient",
        )
    ]
    content.SharedFunctionalGroupsSequence = [_shared(images[0], float(frames.max()))]
    content.PerFrameFunctionalGroupsSequence = [
        _frame(images[index], number) for number, index in enumerate(order, start=1)
    ]
    content.NumberOfFrames = len(images)
    content.BitsAllocated = 32
    content.FloatPixelData = frames[order].astype("<f4").tobytes()


def _shared(first: Dataset, largest: float) -> Dataset:
    """Returns the functional groups of all frames: grid, window, unit."""
    mapping = _item(
        LUTExplanation="predictive standard deviation, in units of the images",
        LUTLabel="std",
        MeasurementUnitsCodeSequence=[code_item(codes.UCUM.NoUnits)],
        DoubleFloatRealWorldValueFirstValueMapped=0.0,
        DoubleFloatRealWorldValueLastValueMapped=largest or 1.0,
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1.0,
    )
    identity = _item(RescaleIntercept=0.0, RescaleSlope=1.0, RescaleType="US")
    sizes = _part(first, "SliceThickness", "SpacingBetweenSlices", "PixelSpacing")
    window = _part(first, "WindowCenter", "WindowWidth", "VOILUTFunction")
    return _item(
        PlaneOrientationSequence=[_part(first, "ImageOrientationPatient")],
        PixelMeasuresSequence=[sizes],
        FrameVOILUTSequence=[window],
        PixelValueTransformationSequence=[identity],
        ParametricMapFrameTypeSequence=[_item(FrameType=FRAME_TYPE)],
        RealWorldValueMappingSequence=[mapping],
    )


def _frame(image: Dataset, number: int) -> Dataset:
    """Returns the functional groups of one frame: place, comment, the image it belongs to."""
    source = _reference(image)
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [
        code_item(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    derivation = _item(
        SourceImageSequence=[source],
        DerivationCodeSequence=[code_item(codes.DCM.UnspecifiedMethodOfCalculation)],
    )
    return _item(
        DerivationImageSequence=[derivation],
        FrameContentSequence=[
            _item(DimensionIndexValues=[number], FrameComments=image.ImageComments)
        ],
        PlanePositionSequence=[_part(image, "ImagePositionPatient")],
    )


def _reference(image: Dataset) -> Dataset:
    return _item(
        ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
    )


def _item(**elements: Any) -> Dataset:
    """Returns a dataset of elements by keyword."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _part(image: Dataset, *keywords: str) -> Dataset:
    """Returns those elements of an image that it has."""
    part = Dataset()
    for keyword in keywords:
        if keyword in image:
            part[keyword] = image[keyword]
    return part
