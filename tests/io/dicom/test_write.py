"""Tests for mriimpute.io.dicom.write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its documentation calls it so
from pydicom import dcmread
from pydicom.dataset import Dataset

from mriimpute.errors import OutputError, VolumeError
from mriimpute.geometry import refined
from mriimpute.io import Scan, find_scans, read_scan
from mriimpute.io.dicom.parametric_map import write_map
from mriimpute.io.dicom.write import remove_series, write_series

MakeSeries = Callable[..., Path]

SECRETS = ("Quillfeather", "MRN7391846", "19370914", "NHS5550123", "ACC8675309", "STU4711",
           "20190822", "Zzyzx", "Castle")  # fmt: skip


def fine(scan: Scan, rng: np.random.Generator, factor: int = 3) -> tuple[np.ndarray, int]:
    """Returns random values between acquired slices, which stay, and the axis of slices."""
    axis = int(np.argmax(scan.volume.spacing_mm))
    shape = list(scan.volume.shape)
    shape[axis] = factor * (shape[axis] - 1) + 1
    data = rng.normal(400, 200, shape).astype(np.float32)
    data[tuple(slice(None, None, factor if a == axis else 1) for a in range(3))] = np.where(
        scan.volume.observed, scan.volume.data, 1.0
    )
    return data, axis


def write(folder: Path, scan: Scan, data: np.ndarray, axis: int, **other: Any) -> Path:
    given: dict[str, Any] = {"content": "mean", "made_by": "test"} | other
    write_series(folder, data, like=scan, refine=(axis, 3), **given)
    return folder


def itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def signed(image: Dataset, number: int) -> None:
    image.RescaleSlope, image.RescaleIntercept = 0.37, -100


def per_slice(image: Dataset, number: int) -> None:
    image.RescaleSlope, image.RescaleIntercept = 1 + number / 7, number


@pytest.mark.parametrize("edit", [lambda image, number: None, signed, per_slice])
def test_simpleitk_reads_the_same_geometry_and_values_to_half_a_step(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path, edit: Any
) -> None:
    scan = read_scan(make_series(edit=edit))
    data, axis = fine(scan, rng)

    folder = write(tmp_path / "out", scan, data, axis)

    seen, affine = itk(folder)
    step = float(dcmread(folder / "0001.dcm").RescaleSlope)
    wanted = refined(scan.stored_affine, scan.stored_axis(axis), 3)
    np.testing.assert_allclose(affine, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(seen, scan.as_stored(data), rtol=0, atol=step / 2 * (1 + 1e-4))
    assert step < np.ptp(data) / 2000


def test_acquired_slices_come_back_bit_for_bit_through_dicom(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series(edit=signed))
    data, axis = fine(scan, rng)

    again = read_back(write(tmp_path / "out", scan, data, axis))

    acquired = tuple(slice(None, None, 3 if a == axis else 1) for a in range(3))
    np.testing.assert_array_equal(again.volume.data[acquired], scan.volume.data)


def read_back(folder: Path) -> Scan:
    """Reads what this package wrote, which it leaves out unless the description goes."""
    for path in folder.iterdir():
        image = dcmread(path)
        del image.DerivationDescription
        image.save_as(path)
    return read_scan(folder)


def test_the_derived_series_belongs_to_the_study_and_says_what_it_is(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    source = make_series()
    scan = read_scan(source)

    folder = write(tmp_path / "out", scan, *fine(scan, rng))

    images = [dcmread(path) for path in sorted(folder.iterdir())]
    before = dcmread(next(source.iterdir()))
    assert len(images) == 16
    assert len({image.SOPInstanceUID for image in images}) == 16
    assert [image.InstanceNumber for image in images] == list(range(1, 17))
    for image in images:
        assert image.StudyInstanceUID == before.StudyInstanceUID
        assert image.FrameOfReferenceUID == before.FrameOfReferenceUID
        assert image.SeriesInstanceUID == images[0].SeriesInstanceUID != before.SeriesInstanceUID
        assert list(image.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert (image.WindowCenter, image.WindowWidth) == (300, 600)
        assert "mriimpute" in image.DerivationDescription
    assert [len(image.SourceImageSequence) for image in images[:4]] == [1, 2, 2, 1]
    positions = {
        dcmread(path).SOPInstanceUID: dcmread(path).ImagePositionPatient
        for path in source.iterdir()
    }
    origin = positions[images[3].SourceImageSequence[0].ReferencedSOPInstanceUID]
    np.testing.assert_allclose(images[3].ImagePositionPatient, origin, atol=1e-6)


def test_no_file_names_the_patient_unless_asked(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series())
    data, axis = fine(scan, rng)

    nameless = write(tmp_path / "nameless", scan, data, axis)
    named = write(tmp_path / "named", scan, data, axis, identity=True)

    for path in nameless.iterdir():
        content = path.read_bytes()
        assert not [word for word in SECRETS if word.encode() in content]
    for path in named.iterdir():
        image = dcmread(path)
        assert image.PatientName == "Quillfeather^Ottoline"
        assert image.PatientID == "MRN7391846"
        assert image.PatientBirthDate == ""
        assert b"19370914" not in path.read_bytes()


def test_same_arguments_give_the_same_bytes_and_others_other_identifiers(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series())
    data, axis = fine(scan, rng)

    folders = [
        write(tmp_path / "a", scan, data, axis),
        write(tmp_path / "b", scan, data, axis),
        write(tmp_path / "c", scan, data, axis, made_by="another model"),
        write(tmp_path / "d", scan, data + np.float32(1), axis),
    ]

    files = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders]
    uids = {str(dcmread(folder / "0001.dcm").SeriesInstanceUID) for folder in folders}
    assert files[0] == files[1]
    assert len(uids) == 3


def test_multiframe_sources_are_referenced_by_frame(
    make_enhanced: Callable[..., Path], rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_enhanced())
    data, axis = fine(scan, rng)

    folder = write(tmp_path / "out", scan, data, axis)

    first = dcmread(folder / "0001.dcm")
    assert first.SourceImageSequence[0].ReferencedFrameNumber == 2  # slice 0 is the second frame
    assert first.ScanningSequence == "RM"
    np.testing.assert_allclose(itk(folder)[0], scan.as_stored(data), atol=1)


def test_slices_that_were_not_there_are_written_too(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series(leave_out=(2,)))
    data, axis = fine(scan, rng)

    folder = write(tmp_path / "out", scan, data, axis)

    image = dcmread(folder / "0007.dcm")
    assert len(list(folder.iterdir())) == 16
    assert len(image.SourceImageSequence) == 2


def test_what_was_derived_is_no_source(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    source = make_series()
    scan = read_scan(source)

    write(source.parent / "exam" / "derived", scan, *fine(scan, rng))

    assert find_scans(source) == [source]
    with pytest.raises(VolumeError, match="16 that mriimpute made"):
        read_scan(source / "derived")


def test_a_folder_that_cannot_be_made_is_an_output_error(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series())
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / "file" / "out", scan, *fine(scan, rng))


def test_a_failure_leaves_the_old_series_and_no_half_one(
    make_series: MakeSeries,
    rng: np.random.Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = read_scan(make_series())
    data, axis = fine(scan, rng)
    folder = write(tmp_path / "out", scan, data, axis)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    left = iter(range(5))
    monkeypatch.setattr(Dataset, "save_as", lambda *args, **kwargs: next(left))

    with pytest.raises((VolumeError, OutputError)):
        write(folder, scan, data + np.float32(1), axis)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_removing_a_series_leaves_other_files_alone(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series())
    folder = write(tmp_path / "out", scan, *fine(scan, rng))
    (folder / "notes.txt").touch()

    remove_series(folder)
    remove_series(tmp_path / "nowhere")

    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_parametric_map_holds_the_very_numbers_at_the_same_place(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    source = make_series()
    scan = read_scan(source)
    data, axis = fine(scan, rng)
    data = np.abs(data)

    for name in ("a", "b"):
        write_map(tmp_path / name, data, like=scan, refine=(axis, 3), made_by="test")

    content = (tmp_path / "a" / "0001.dcm").read_bytes()
    image = dcmread(tmp_path / "a" / "0001.dcm")
    frames = np.frombuffer(image.FloatPixelData, "<f4").reshape(-1, image.Rows, image.Columns)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ refined(
        scan.stored_affine, scan.stored_axis(axis), 3
    )
    assert len(frames) == 16
    for frame, group in zip(frames, image.PerFrameFunctionalGroupsSequence, strict=True):
        position = group.PlanePositionSequence[0].ImagePositionPatient
        i, j, k = (np.linalg.inv(affine) @ [*position, 1])[:3]
        np.testing.assert_allclose([i, j, k - round(k)], 0, atol=1e-4)
        np.testing.assert_array_equal(frame.T, scan.as_stored(data)[:, :, round(k)])
    assert image.StudyInstanceUID == dcmread(next(source.iterdir())).StudyInstanceUID
    assert content == (tmp_path / "b" / "0001.dcm").read_bytes()
    assert not [word for word in SECRETS if word.encode() in content]
