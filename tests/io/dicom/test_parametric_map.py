"""Tests for mriimpute.io.dicom.parametric_map: element for element the map of highdicom."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mriimpute import __version__
from mriimpute.io import read_scan
from mriimpute.io.dicom.files import quiet
from mriimpute.io.dicom.parametric_map import write_map
from mriimpute.io.dicom.write import derived_images

MakeSeries = Callable[..., Path]

CLOCK = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ContentDate",
    "ContentTime",
    "ContributingEquipmentSequence",
)


def by_highdicom(images: list[Dataset], frames: np.ndarray, ours: Dataset) -> Dataset:
    """Returns its map of the same frames, given the identifiers that it would draw at random."""
    first = images[0]
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="std",
        lut_explanation="predictive standard deviation, in units of the images",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, float(frames.max())),
        slope=1.0,
        intercept=0.0,
    )
    window = hd.VOILUTTransformation(
        window_center=float(first.WindowCenter),
        window_width=float(first.WindowWidth),
        voi_lut_function=first.get("VOILUTFunction"),
    )
    content: Dataset = hd.pm.ParametricMap(
        images,
        frames,
        series_instance_uid=ours.SeriesInstanceUID,
        series_number=int(first.SeriesNumber) + 1,
        sop_instance_uid=ours.SOPInstanceUID,
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
    (organization,) = ours.DimensionOrganizationSequence
    for item in (content.DimensionOrganizationSequence[0], content.DimensionIndexSequence[0]):
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
    comments = {tuple(image.ImagePositionPatient): image.ImageComments for image in images}
    for frame in content.PerFrameFunctionalGroupsSequence:
        place = tuple(frame.PlanePositionSequence[0].ImagePositionPatient)
        frame.FrameContentSequence[0].FrameComments = comments[place]
    return content


def mirrored(image: Dataset, number: int) -> None:
    """Rows run upwards: the normal points the other way."""
    directions = image.ImageOrientationPatient
    image.ImageOrientationPatient = [*directions[:3], *(-x for x in directions[3:])]


def plain(image: Dataset, number: int) -> None:
    """The series as it is."""


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("edit", [plain, mirrored])
def test_it_is_that_of_highdicom_but_for_the_clock(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path, identity: bool, edit: Any
) -> None:
    scan = read_scan(make_series(edit=edit))
    axis = int(np.argmax(scan.volume.spacing_mm))
    shape = tuple(2 * n - 1 if a == axis else n for a, n in enumerate(scan.volume.shape))
    std = np.abs(rng.normal(40, 20, shape)).astype(np.float32)

    write_map(
        tmp_path / "map", std, like=scan, refine=(axis, 2), made_by="test", identity=identity
    )

    ours = dcmread(tmp_path / "map" / "0001.dcm")
    images = list(
        derived_images(
            std, like=scan, refine=(axis, 2), content="std", made_by="test", identity=identity
        )
    )
    frames = np.ascontiguousarray(scan.as_stored(std).transpose(2, 1, 0))
    with quiet():
        theirs = by_highdicom(images, frames, ours)
        theirs.save_as(tmp_path / "theirs.dcm")
        theirs = dcmread(tmp_path / "theirs.dcm")
    for name in CLOCK:
        for content in (ours, theirs):
            content.pop(name, None)
    assert ours.to_json_dict() == theirs.to_json_dict()
