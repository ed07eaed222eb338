"""DICOM out: an imputed volume as a derived MR series in the study of its source.

Intensities become 16-bit integers, see `integers`. Acquired and imputed slices say what they are.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from mriimpute import __version__
from mriimpute.errors import VolumeError
from mriimpute.files import replacing
from mriimpute.geometry import plane_distance_mm, refined
from mriimpute.io.dicom.description import Origin, comment, series_description
from mriimpute.io.dicom.files import quiet
from mriimpute.io.dicom.header import code_item, shared_header, source_reference
from mriimpute.io.dicom.integers import Integers, as_integers, decimal, decimals, set_window
from mriimpute.io.dicom.planes import DERIVED_BY, Plane, Series
from mriimpute.io.dicom.stack import LPS_TO_RAS, to_stack
from mriimpute.io.scan import Scan

__all__ = [
    "CONTENTS",
    "Content",
    "derived_images",
    "remove_series",
    "save_image",
    "write_series",
]

Content = Literal["mean", "std"]
CONTENTS: tuple[Content, ...] = get_args(Content)

DESCRIPTIONS: dict[Content, str] = {
    "mean": "imputed mean",
    "std": "imputed standard deviation",
}


def write_series(
    folder: Path,
    data: Float32[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int],
    content: Content,
    made_by: str,
    identity: bool = False,
) -> None:
    """Writes a volume as one MR image for each slice, all or none.

    The same arguments give the same bytes and unique identifiers; other ones, other identifiers.
    Neither a name nor a birth date is written, and of the source's description only words of the
    trade; the study, the frame of reference and the source images are named by their unique
    identifiers.

    Args:
        folder: Is replaced; the files in it are `0001.dcm`, `0002.dcm` ...
        data: On the scan's canonical grid, refined.
        like: Read from a DICOM series.
        refine: Canonical axis and the number of voxels for each one along it.
        content: What `data` is.
        made_by: Everything that decided the result, in words.
        identity: Copy name and number of the patient, and what names the study.

    Raises:
        OutputError: If the files cannot be written.
        VolumeError: If the source is gone or belongs to no study.
    """
    images = derived_images(
        data, like=like, refine=refine, content=content, made_by=made_by, identity=identity
    )
    with replacing(folder) as temporary:
        for number, image in enumerate(images, start=1):
            save_image(image, temporary / f"{number:04d}.dcm")


def derived_images(
    data: Float32[np.ndarray, "i j k"],
    *,
    like: Scan,
    refine: tuple[int, int],
    content: Content,
    made_by: str,
    identity: bool,
) -> Iterator[Dataset]:
    """Yields what `write_series` writes, slice by slice."""
    if like.series is None:
        raise ValueError("like must have been read from DICOM")
    stack = to_stack(like.series.planes, str(like.path))
    axis = like.stored_axis(refine[0])
    affine = LPS_TO_RAS @ refined(stack.affine, axis, refine[1])
    stored = as_integers(like.as_stored(data))
    if content == "mean":
        extent = float(np.ptp(like.volume.data[like.volume.observed]))
        stored = as_integers(like.as_stored(data), stack.planes, extent=extent)

    middle = stack.planes[len(stack.planes) // 2]
    shared = shared_header(like.series, middle, identity=identity)
    _describe(shared, content, like.series)
    _place(shared, affine, stored)
    set_window(shared, data, keep=content == "mean")
    entropy = [made_by, sha256(stored.numbers.tobytes()).hexdigest(), content, __version__]
    shared.SeriesInstanceUID = generate_uid(entropy_srcs=[like.series.uid, *entropy])
    if "FrameOfReferenceUID" not in shared:
        shared.FrameOfReferenceUID = generate_uid(entropy_srcs=[like.series.uid, "frame"])

    slots = [slot * (refine[1] if axis == 2 else 1) for slot in stack.slots]
    origins = _origins(like.as_stored(like.volume.observed), slots, stack.slots)
    for index in range(stored.numbers.shape[2]):
        image = _image(shared, stored, affine, index)
        origin = origins.get(index, "imputed")
        what = "ACQUIRED" if origin == "acquired" else "IMPUTED"
        image.ImageType = ["DERIVED", "SECONDARY", "OTHER", content.upper(), what]
        image.ImageComments = comment(origin, DESCRIPTIONS[content])
        sources = _sources_at(slots, stack.planes, index)
        image.SourceImageSequence = [source_reference(plane) for plane in sources]
        yield image


def remove_series(folder: Path) -> None:
    """Removes what `write_series` wrote, and nothing else."""
    with suppress(OSError):
        for path in folder.glob("[0-9]*.dcm"):
            path.unlink()
        folder.rmdir()


def _origins(
    observed: Bool[np.ndarray, "i j k"], fine: Sequence[int], coarse: Sequence[int]
) -> dict[int, Origin]:
    """Returns what of the slices was acquired that the source has an image of.

    Args:
        observed: Along the axes of the file, before refinement.
        fine: Index of each image of the source among the derived ones.
        coarse: Index of each in `observed`.
    """
    origins: dict[int, Origin] = {}
    for index, slot in zip(fine, coarse, strict=True):
        acquired = observed[:, :, slot]
        if acquired.any():
            origins[index] = "acquired" if acquired.all() else "partly imputed"
    return origins


def _describe(image: Dataset, content: Content, series: Series) -> None:
    number = max(series.number, 0)
    source = str(image.get("SeriesDescription", ""))
    image.SOPClassUID = MRImageStorage
    image.Modality = "MR"
    image.SeriesDescription = series_description(
        source, number, series.part, DESCRIPTIONS[content]
    )
    image.SeriesNumber = 100 * number + (1 if content == "mean" else 2)
    image.Manufacturer = "mriimpute"
    image.ManufacturerModelName = "mriimpute"
    image.SoftwareVersions = __version__
    image.BurnedInAnnotation = "NO"
    image.DerivationDescription = (
        f"{DERIVED_BY} {__version__}: {DESCRIPTIONS[content]} of slices not acquired, from all "
        "those acquired. For research; not a medical device."
    )
    image.DerivationCodeSequence = [code_item(codes.DCM.SpatialResampling)]
    image.AcquisitionNumber = None


def _place(image: Dataset, lps: Float64[np.ndarray, "4 4"], stored: Integers) -> None:
    """Sets what all slices share: their grid and how numbers are stored."""
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :2] / lengths[:2]
    columns, rows, _ = stored.numbers.shape
    image.Rows, image.Columns = rows, columns
    image.PixelSpacing = decimals((lengths[1], lengths[0]))
    # Along the normal: slices that are tilted against their stack lie closer than their centres.
    distance = plane_distance_mm(lps, 2)
    image.SliceThickness = image.SpacingBetweenSlices = decimal(distance)
    image.ImageOrientationPatient = decimals(directions.T.ravel())
    image.SamplesPerPixel = 1
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = int(stored.numbers.dtype == np.int16)
    image.RescaleSlope = decimal(stored.slope)
    image.RescaleIntercept = decimal(stored.intercept)
    image.RescaleType = image.get("RescaleType") or "US"


def _image(
    shared: Dataset, stored: Integers, lps: Float64[np.ndarray, "4 4"], index: int
) -> Dataset:
    image = Dataset()
    image.update(shared)
    position = lps[:3, 3] + index * lps[:3, 2]
    normal = np.cross(lps[:3, 0], lps[:3, 1])
    image.SOPInstanceUID = generate_uid(entropy_srcs=[str(shared.SeriesInstanceUID), str(index)])
    image.InstanceNumber = index + 1
    image.ImagePositionPatient = decimals(position)
    image.SliceLocation = decimal(position @ normal / np.linalg.norm(normal))
    image.PixelData = np.ascontiguousarray(stored.numbers[:, :, index].T).tobytes()
    return image


def _sources_at(slots: Sequence[int], planes: Sequence[Plane], index: int) -> Sequence[Plane]:
    """Returns the acquired slice at an index, or those before and behind it."""
    after = bisect_right(slots, index)
    if after and slots[after - 1] == index:
        return planes[after - 1 : after]
    return planes[max(after - 1, 0) : after + 1]


def save_image(image: Dataset, path: Path) -> None:
    """Writes an image to a file."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    try:
        with quiet():
            image.save_as(path, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:  # a value copied from the source that cannot be written
        raise VolumeError(
            "the source has values that no DICOM file can hold", hint="leave --dicom-out out"
        ) from error
