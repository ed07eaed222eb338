"""A standard deviation as a DICOM Parametric Map: one file, float32 as it is.

Exact where a series of 16-bit images rounds, and with a unit, but fewer viewers open it.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from mriimpute import __version__
from mriimpute.io.dicom.files import quiet
from mriimpute.io.dicom.write import derived_images, replacing, save_image
from mriimpute.io.scan import Scan

__all__ = ["write_map"]


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
    import highdicom as hd  # takes a second

    first = images[0]
    series = generate_uid(entropy_srcs=[str(first.SeriesInstanceUID), "map"])
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="std",
        lut_explanation="predictive standard deviation, in units of the images",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, float(frames.max()) or 1.0),
        slope=1.0,
        intercept=0.0,
    )
    window = hd.VOILUTTransformation(
        window_center=float(first.WindowCenter),
        window_width=float(first.WindowWidth),
        voi_lut_function=first.get("VOILUTFunction"),
    )
    content = hd.pm.ParametricMap(
        images,
        frames,
        series_instance_uid=series,
        series_number=int(first.SeriesNumber) + 1,
        sop_instance_uid=generate_uid(entropy_srcs=[series]),
        instance_number=1,
        manufacturer=first.Manufacturer,
        manufacturer_model_name=first.ManufacturerModelName,
        software_versions=__version__,
        device_serial_number="none",
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        content_label="STD",
        content_description=first.SeriesDescription,
    )
    content.SeriesDescription = first.SeriesDescription
    comments = {tuple(image.ImagePositionPatient): image.ImageComments for image in images}
    for frame in content.PerFrameFunctionalGroupsSequence:
        place = tuple(frame.PlanePositionSequence[0].ImagePositionPatient)
        frame.FrameContentSequence[0].FrameComments = comments[place]
    return _timeless(content, series)


def _timeless(content: Dataset, series: str) -> Dataset:
    """Removes what differs between two runs: the clock and a random identifier."""
    content.ContentDate = content.ContentTime = ""
    for name in ("InstanceCreationDate", "InstanceCreationTime", "ContributingEquipmentSequence"):
        if name in content:
            delattr(content, name)
    dimensions = generate_uid(entropy_srcs=[series, "dimensions"])
    for sequence in (content.DimensionOrganizationSequence, content.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = dimensions
    return content
