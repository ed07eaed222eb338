"""Tests for mriimpute.io.dicom.write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its documentation calls it so
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_windowing

from mriimpute.cohort.target_grid import upsample
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


def scaled(slope: float, *, by_slice: bool) -> Callable[[Dataset, int], None]:
    def edit(image: Dataset, number: int) -> None:
        image.RescaleSlope = f"{slope * (1 + by_slice * number / 7):.8g}"
        image.RescaleIntercept = 0

    return edit


@pytest.mark.parametrize("by_slice", [False, True])
@pytest.mark.parametrize("slope", [1e-9, 1e-8, 1e-6, 1e-4, 0.0123, 1.0, -2.0, 1e3])
def test_steps_follow_the_data_and_the_window_shows_them(
    make_series: MakeSeries, tmp_path: Path, slope: float, by_slice: bool
) -> None:
    scan = read_scan(make_series(edit=scaled(slope, by_slice=by_slice)))
    axis = int(np.argmax(scan.volume.spacing_mm))
    data = upsample(scan.volume, axis, 3).data
    data = np.where(np.isnan(data), np.nanmean(data), data).astype(np.float32)

    folder = write(tmp_path / "out", scan, data, axis)
    again = read_back(folder)

    extent = float(np.ptp(scan.volume.data))
    image = dcmread(folder / "0001.dcm")
    step = float(image.RescaleSlope)
    assert step < extent / 4096
    np.testing.assert_allclose(again.volume.data, data, rtol=1e-6, atol=step * 0.5001)
    np.testing.assert_allclose(itk(folder)[0], scan.as_stored(data), rtol=1e-6, atol=step * 0.5001)
    shown = apply_windowing(apply_modality_lut(image.pixel_array, image), image)
    assert len(np.unique(shown)) > 30  # of 72 random pixels


def test_imputed_intensities_out_of_range_cost_acquired_ones_no_step(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series())
    data, axis = fine(scan, rng)
    data[tuple(1 if n == axis else 0 for n in range(3))] = 3000.0

    image = dcmread(write(tmp_path / "out", scan, data, axis) / "0001.dcm")

    assert float(image.RescaleSlope) <= np.ptp(scan.volume.data) / 4096


def test_a_std_far_below_one_is_not_written_as_zero(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series(edit=scaled(1e-9, by_slice=False)))
    data, axis = fine(scan, rng)
    std = np.abs(data - data.mean()) * np.float32(1e-3)

    again = read_back(write(tmp_path / "out", scan, std, axis, content="std"))
    write_map(tmp_path / "map", std, like=scan, refine=(axis, 3), made_by="test")

    np.testing.assert_allclose(again.volume.data, std, rtol=1e-6, atol=np.ptp(std) / 65535)
    assert len(list((tmp_path / "map").iterdir())) == 1


@pytest.mark.parametrize(
    ("centre", "width", "function", "kept"),
    [
        (300, 600, None, True),
        ([300, 40], [600, 80], None, True),
        (0, 0, None, False),
        (300, 0.5, None, False),
        (300, [600, 80], None, False),
        (300, -600, None, False),
        (-5000, 600, None, False),  # beside all intensities
        (4e6, 9e6, None, False),  # intensities fill nothing of it
        (300, 600, "SIGMOID", True),
    ],
)
def test_a_window_is_copied_only_if_it_is_one_and_shows_the_data(
    make_series: MakeSeries,
    rng: np.random.Generator,
    tmp_path: Path,
    centre: Any,
    width: Any,
    function: str | None,
    kept: bool,
) -> None:
    def edit(image: Dataset, number: int) -> None:
        image.WindowCenter, image.WindowWidth = centre, width
        if function:
            image.VOILUTFunction = function

    scan = read_scan(make_series(edit=edit))

    image = dcmread(write(tmp_path / "out", scan, *fine(scan, rng)) / "0001.dcm")

    assert (image.WindowWidth == width and image.WindowCenter == centre) == kept
    assert image.get("VOILUTFunction") == (function if kept else None)
    assert np.min(image.WindowWidth) >= 1
    shown = apply_windowing(apply_modality_lut(image.pixel_array, image), image)
    assert len(np.unique(shown)) > 30


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


def test_every_image_says_whether_its_slice_was_acquired_and_the_series_what_it_is(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series(leave_out=(2,)))
    scan.volume.observed[tuple(0 if n == 0 else slice(None) for n in range(3))] = False
    data, axis = fine(scan, rng)
    assert scan.stored_axis(axis) == 2

    folder = write(tmp_path / "out", scan, data, axis)
    write_map(tmp_path / "map", np.abs(data), like=scan, refine=(axis, 3), made_by="test")

    images = [dcmread(path) for path in sorted(folder.iterdir())]
    acquired = [n for n in range(16) if n % 3 == 0 and n != 6]
    assert [n for n in range(16) if "PARTLY" in images[n].ImageComments] == acquired
    assert {image.ImageType[4] for image in images} == {"IMPUTED"}
    assert all("never measured" in images[n].ImageComments for n in (1, 2, 6, 7))
    assert {image.SeriesDescription for image in images} == {"T1 imputed mean"}
    frames = dcmread(tmp_path / "map" / "0001.dcm").PerFrameFunctionalGroupsSequence
    comments = [frame.FrameContentSequence[0].FrameComments for frame in frames]
    assert sum("PARTLY" in comment for comment in comments) == len(acquired)


def test_acquired_images_are_told_from_imputed_ones(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path
) -> None:
    scan = read_scan(make_series(leave_out=(2,)))

    folder = write(tmp_path / "out", scan, *fine(scan, rng), identity=True)

    images = [dcmread(path) for path in sorted(folder.iterdir())]
    kinds = ["ACQUIRED" if n % 3 == 0 and n != 6 else "IMPUTED" for n in range(16)]
    assert [image.ImageType[4] for image in images] == kinds
    assert [image.ImageComments.split()[0] for image in images] == kinds
    assert images[0].SeriesDescription == "T1 Quillfeather imputed mean"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("AX T2_FLAIR 5mm", "AX T2 FLAIR 5mm imputed mean"),
        ("Anna Huber 14.09.1937 t1_mprage_sag_p2_iso", "t1 mprage sag p2 iso imputed mean"),
        ("19370914", "series 3 imputed mean"),
        ("", "series 3 imputed mean"),
        ("T1 " * 21, ("T1 " * 17)[:51].strip() + " imputed mean"),
    ],
)
def test_the_series_is_called_like_its_source_in_words_that_name_nobody(
    make_series: MakeSeries, rng: np.random.Generator, tmp_path: Path, said: str, written: str
) -> None:
    scan = read_scan(make_series(edit=lambda i, _: setattr(i, "SeriesDescription", said)))

    folder = write(tmp_path / "out", scan, *fine(scan, rng))

    assert dcmread(folder / "0001.dcm").SeriesDescription == written


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
    with pytest.raises(VolumeError, match="16 files made by mriimpute"):
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
