"""Scans as other tools leave them, made byte by byte where nibabel would repair them.

DICOM series name a patient in every way that hospitals do, to show that nothing comes through.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

Field = tuple[int, str, tuple[float, ...]]


@pytest.fixture
def affine() -> np.ndarray:
    """Oblique, 0.9 x 1.1 x 6 mm."""
    axes = np.array([[0.936, -0.342, 0.087], [0.321, 0.929, 0.186], [-0.144, -0.147, 0.979]])
    q, r = np.linalg.qr(axes)
    oblique = np.eye(4)
    oblique[:3, :3] = q * np.sign(np.diag(r)) * (0.9, 1.1, 6.0)
    oblique[:3, 3] = (-31.5, 12.25, 7.0)
    return oblique


@pytest.fixture
def plain(affine: np.ndarray, rng: np.random.Generator, tmp_path: Path) -> Path:
    """An ordinary scan: int16, 6 x 5 x 4 voxels, oblique, both forms set."""
    image = nib.Nifti1Image(rng.integers(-900, 900, (6, 5, 4)).astype(np.int16), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "plain.nii")
    return tmp_path / "plain.nii"


@pytest.fixture
def variant(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that copies the ordinary scan with other header bytes."""

    def make(*fields: Field) -> Path:
        content = bytearray(plain.read_bytes())
        for offset, form, values in fields:
            content[offset : offset + struct.calcsize(form)] = struct.pack(form, *values)
        path = tmp_path / "variant.nii"
        path.write_bytes(bytes(content))
        return path

    return make


SECRETS = {
    "PatientName": "Quillfeather^Ottoline",
    "PatientID": "MRN7391846",
    "PatientBirthDate": "19370914",
    "OtherPatientIDs": "NHS5550123",
    "AccessionNumber": "ACC8675309",
    "StudyID": "STU4711",
    "StudyDate": "20190822",
    "ReferringPhysicianName": "Zzyzx^Doctor",
    "InstitutionName": "Castle Clinic",
    "StudyDescription": "head of Quillfeather",
    "SeriesDescription": "T1 Quillfeather",
    "PatientComments": "Quillfeather again",
}
SERIES, STUDY = "1.2.826.0.1.3680043.9.1", "1.2.826.0.1.3680043.9.2"


def header(number: int, series: str = SERIES) -> Dataset:
    """Returns what every image of a series says."""
    image = Dataset()
    for name, value in SECRETS.items():
        setattr(image, name, value)
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = f"{series}.{number + 1}"
    image.SeriesInstanceUID, image.StudyInstanceUID = series, STUDY
    image.FrameOfReferenceUID = f"{STUDY}.1"
    image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 3, 99 - number
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.WindowCenter, image.WindowWidth = 300, 600
    image.EchoTime = 2.5
    image.SliceThickness = 3  # the slices lie further apart
    return image


def saved(image: Dataset, path: Path) -> Path:
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def lps(affine: np.ndarray) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def place(affine: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns directions and pixel spacing; the columns of `affine` are across, down, along."""
    lengths = np.linalg.norm(affine[:3, :2], axis=0)
    directions = (lps(affine)[:3, :2] / lengths).T.ravel()
    return [round(v, 12) for v in directions.tolist()], [float(lengths[1]), float(lengths[0])]


@pytest.fixture
def voxels(rng: np.random.Generator) -> np.ndarray:
    """Columns, rows, slices."""
    return rng.integers(0, 900, (9, 8, 6)).astype(np.uint16)


@pytest.fixture
def dicom_affine(affine: np.ndarray) -> np.ndarray:
    """Right-handed in DICOM: x across, y down, slices along their normal."""
    turned = affine.copy()
    turned[:3, 0] *= -1
    turned[:3, 1] *= -1
    return turned


MakeSeries = Callable[..., Path]


@pytest.fixture
def make_series(voxels: np.ndarray, dicom_affine: np.ndarray, tmp_path: Path) -> MakeSeries:
    """Returns a function that writes a classic series, its files in no order."""

    def make(
        folder: str = "exam",
        edit: Callable[[Dataset, int], Any] = lambda image, number: None,
        *,
        leave_out: tuple[int, ...] = (),
        series: str = SERIES,
        prefix: str = "IM",
    ) -> Path:
        directions, spacing = place(dicom_affine)
        for number in range(voxels.shape[2]):
            if number in leave_out:
                continue
            image = header(number, series)
            position = lps(dicom_affine) @ (0, 0, number, 1)
            image.ImagePositionPatient = [round(v, 9) for v in position[:3].tolist()]
            image.ImageOrientationPatient, image.PixelSpacing = directions, spacing
            image.Columns, image.Rows = voxels.shape[:2]
            image.PixelData = np.ascontiguousarray(voxels[:, :, number].T).tobytes()
            if edit(image, number) != "drop":
                saved(image, tmp_path / folder / f"{prefix}{(number * 5 + 2) % 7}")
        return tmp_path / folder

    return make


@pytest.fixture
def make_enhanced(
    voxels: np.ndarray, dicom_affine: np.ndarray, tmp_path: Path
) -> Callable[..., Path]:
    """Returns a function that writes the same as one multi-frame file, frames in no order."""

    def item(**values: Any) -> list[Dataset]:
        one = Dataset()
        for name, value in values.items():
            setattr(one, name, value)
        return [one]

    def make(name: str = "enhanced.dcm", echoes: int = 1) -> Path:
        directions, spacing = place(dicom_affine)
        image = header(0)
        for gone in ("EchoTime", "SliceThickness"):
            delattr(image, gone)
        image.SOPClassUID = EnhancedMRImageStorage
        image.Columns, image.Rows = voxels.shape[:2]
        order = [(n, echo) for n in (3, 0, 5, 1, 4, 2) for echo in range(echoes)]
        image.NumberOfFrames = len(order)
        image.SharedFunctionalGroupsSequence = item(
            PlaneOrientationSequence=item(ImageOrientationPatient=directions),
            PixelMeasuresSequence=item(PixelSpacing=spacing, SliceThickness=3),
        )
        image.PerFrameFunctionalGroupsSequence = [
            item(
                PlanePositionSequence=item(
                    ImagePositionPatient=[
                        round(v, 9) for v in (lps(dicom_affine) @ (0, 0, n, 1))[:3].tolist()
                    ]
                ),
                MREchoSequence=item(EffectiveEchoTime=10.0 * (echo + 1)),
                PixelValueTransformationSequence=item(
                    RescaleSlope=echo + 1, RescaleIntercept=0, RescaleType="US"
                ),
            )[0]
            for n, echo in order
        ]
        image.PixelData = np.stack([voxels[:, :, n].T for n, _ in order]).tobytes()
        return saved(image, tmp_path / name)

    return make
