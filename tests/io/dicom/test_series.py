"""Tests for mriimpute.io.dicom.series."""

import logging
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its documentation calls it so
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from mriimpute.errors import GeometryError, VolumeError
from mriimpute.imputation.sources import session_of
from mriimpute.io import checksum, find_scans, held_otherwise, read_scan, stem, write_image

MakeSeries = Callable[..., Path]


def zipped(folder: Path, path: Path, within: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, f"{within}{file.relative_to(folder)}")
    return path


def itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns what SimpleITK reads: voxels and the affine towards right, anterior, superior."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def stored(path: Path) -> np.ndarray:
    scan = read_scan(path)
    return scan.as_stored(scan.volume.data)


def moved(image: Dataset, mm: tuple[float, float, float]) -> None:
    image.ImagePositionPatient = [
        float(p) + d for p, d in zip(image.ImagePositionPatient, mm, strict=True)
    ]


def test_shuffled_oblique_series_reads_as_simpleitk_reads_it(
    make_series: MakeSeries, voxels: np.ndarray, dicom_affine: np.ndarray
) -> None:
    folder = make_series()

    scan = read_scan(folder)

    seen, affine = itk(folder)
    np.testing.assert_array_equal(scan.as_stored(scan.volume.data), seen.astype(np.float32))
    np.testing.assert_array_equal(seen, voxels)
    np.testing.assert_allclose(scan.stored_affine, affine, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scan.stored_affine, dicom_affine, rtol=0, atol=1e-6)
    assert scan.volume.observed.all()


def test_spacing_comes_from_positions_and_thickness_is_kept_apart(make_series: MakeSeries) -> None:
    scan = read_scan(make_series())

    assert max(scan.volume.spacing_mm) == pytest.approx(6.0)
    assert scan.thickness_mm == 3.0
    assert scan.volume.thickness_mm == 0.0


def test_multiframe_file_folder_and_zip_are_one_scan(
    make_series: MakeSeries, make_enhanced: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_series()
    archive = zipped(folder, tmp_path / "exam.ZIP", "deep/down/")

    scans = [read_scan(path) for path in (folder, archive, make_enhanced())]

    for scan in scans[1:]:
        np.testing.assert_array_equal(scan.volume.data, scans[0].volume.data)
        np.testing.assert_allclose(scan.volume.affine, scans[0].volume.affine, atol=1e-6)
        assert scan.thickness_mm == 3.0
    assert checksum(folder) == checksum(archive)


def test_checksum_knows_content_and_no_file_name(make_series: MakeSeries) -> None:
    first = make_series("a")
    renamed = make_series("b", prefix="other")
    changed = make_series("c", lambda image, _: setattr(image, "EchoTime", 3))

    assert checksum(first) == checksum(renamed) != checksum(changed)


def test_slope_and_intercept_of_every_slice_are_applied(
    make_series: MakeSeries, voxels: np.ndarray
) -> None:
    def edit(image: Dataset, number: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = 1 + number / 4, -number

    data = stored(make_series(edit=edit))

    slices = np.arange(6)
    np.testing.assert_array_equal(data, (voxels * (1 + slices / 4) - slices).astype(np.float32))


@pytest.mark.parametrize("slope", ["0", "-0.0"])
def test_a_slope_of_zero_counts_as_absent_and_is_told(
    make_series: MakeSeries, voxels: np.ndarray, slope: str
) -> None:
    def edit(image: Dataset, number: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = slope, "-3"

    scan = read_scan(make_series(edit=edit))

    np.testing.assert_array_equal(scan.as_stored(scan.volume.data), voxels.astype(np.float32) - 3)
    assert any("the rescale slope is 0" in note for note in scan.warnings)


def test_a_slope_of_zero_beside_others_is_refused_unless_its_slices_are_blank(
    make_series: MakeSeries, voxels: np.ndarray
) -> None:
    def edit(image: Dataset, number: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = (0 if number == 2 else 2), 0

    def blank(image: Dataset, number: int) -> None:
        edit(image, number)
        if number == 2:
            image.PixelData = bytes(len(image.PixelData))

    with pytest.raises(VolumeError, match="1 of 6 slices have a rescale slope of 0"):
        read_scan(make_series(edit=edit))
    assert not stored(make_series("blank", edit=blank))[:, :, 2].any()


def test_slices_that_are_not_there_count_as_missing(
    make_series: MakeSeries, voxels: np.ndarray
) -> None:
    scan = read_scan(make_series(leave_out=(2,)))

    observed = scan.as_stored(scan.volume.observed)
    assert observed.any(axis=(0, 1)).tolist() == [True, True, False, True, True, True]
    data = scan.as_stored(scan.volume.data)
    np.testing.assert_array_equal(data[observed], voxels[observed].astype(np.float32))
    assert any("1 of 6 slices are not there (3)" in note for note in scan.warnings)


def test_tilted_stack_keeps_its_shear(make_series: MakeSeries, dicom_affine: np.ndarray) -> None:
    across = np.diag([-1.0, -1.0, 1.0]) @ dicom_affine[:3, 1] / 1.1

    scan = read_scan(make_series(edit=lambda image, n: moved(image, tuple(across * n))))

    tilted = dicom_affine.copy()
    tilted[:3, 2] += dicom_affine[:3, 1] / 1.1
    np.testing.assert_allclose(scan.stored_affine, tilted, atol=1e-6)
    assert any("tilted" in note for note in scan.warnings)
    assert any("ITK" in note and "--space template" in note for note in scan.warnings)
    assert int(scan.header["qform_code"]) == 0


def test_positions_rounded_to_a_tenth_of_a_mm_give_a_scan_that_itk_opens(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    def rounded(image: Dataset, number: int) -> None:
        image.ImagePositionPatient = [f"{float(v):.1f}" for v in image.ImagePositionPatient]

    scan = read_scan(make_series(edit=rounded))

    write_image(tmp_path / "x.nii", scan.volume.data, like=scan)
    seen = sitk.ReadImage(str(tmp_path / "x.nii"))
    assert seen.GetSize() == scan.stored_shape
    assert any("axes were made perpendicular" in note for note in scan.warnings)
    assert not any("ITK" in note for note in scan.warnings)


def turn(image: Dataset, number: int) -> None:
    if number > 3:
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def smaller(image: Dataset, number: int) -> None:
    if number == 2:
        image.Rows -= 1
        image.PixelData = image.PixelData[: 2 * image.Rows * image.Columns]


def nudge(image: Dataset, number: int) -> None:
    moved(image, (0.0, 0.0, 1.5 if number == 3 else 0.0))


def shift(image: Dataset, number: int) -> None:
    moved(image, tuple(3.0 * (number == 3) * np.array(image.ImageOrientationPatient[:3])))


def double(image: Dataset, number: int) -> None:
    image.ImagePositionPatient = [0, 0, 6.0 * (number // 2)]


def without(*names: str) -> Callable[[Dataset, int], None]:
    def edit(image: Dataset, number: int) -> None:
        for name in names:
            if number == 1:
                delattr(image, name)

    return edit


def flat(image: Dataset, number: int) -> None:
    image.PixelSpacing = [0, 0]


def cut(image: Dataset, number: int) -> None:
    if number == 1:
        image.PixelData = image.PixelData[:-4]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (turn, r"its 6 slices have 2 orientations"),
        (smaller, "different sizes"),
        (nudge, "unevenly spaced"),
        (shift, "shifted against each other by up to"),
        (double, "up to 2 images lie at one place"),
        (without("ImagePositionPatient"), "1 of 6 images lack an image position"),
        (without("ImageOrientationPatient"), "1 of 6 images lack an image orientation"),
        (without("PixelSpacing"), "1 of 6 images lack a pixel spacing"),
        (flat, "not perpendicular, or have no length"),
        (without("PixelData"), "has no pixel data"),
        (cut, "damaged or cut short"),
        (lambda image, n: "drop" if n else None, "single slice"),
    ],
)
def test_no_volume_is_an_error_that_names_the_series_and_no_patient(
    make_series: MakeSeries, edit: Any, message: str
) -> None:
    folder = make_series(edit=edit)

    with pytest.raises(VolumeError, match=message) as caught:
        read_scan(folder)

    assert str(folder) in str(caught.value)
    assert "series 3" in str(caught.value)
    assert "Quillfeather" not in str(caught.value)


def test_a_copied_file_counts_once(make_series: MakeSeries) -> None:
    folder = make_series()
    (folder / "copy of IM2").write_bytes((folder / "IM2").read_bytes())

    assert read_scan(folder).stored_shape == (9, 8, 6)


def test_two_echoes_of_one_series_become_two_scans(
    make_series: MakeSeries, make_enhanced: Callable[..., Path], voxels: np.ndarray
) -> None:
    folder = make_series()
    make_series(
        edit=lambda image, n: image.update(
            {"EchoTime": 12.5, "SOPInstanceUID": f"{image.SOPInstanceUID}.2"}
        ),
        prefix="second",
    )
    multiframe = make_enhanced(echoes=2)

    parts, frames = find_scans(folder), find_scans(multiframe)

    assert [path.name for path in parts] == ["series-003-echo1", "series-003-echo2"]
    assert [stem(path) for path in frames] == [
        "enhanced_series-003-echo1",
        "enhanced_series-003-echo2",
    ]
    np.testing.assert_array_equal(stored(parts[1]), voxels)
    np.testing.assert_array_equal(stored(frames[1]), 2 * voxels.astype(np.float32))
    assert checksum(frames[0]) != checksum(frames[1])
    with pytest.raises(VolumeError, match="holds 2 series"):
        read_scan(folder)
    with pytest.raises(VolumeError, match="series-009 does not exist"):
        read_scan(folder / "series-009")


def test_an_examination_stands_for_its_volumes_only(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mriimpute")
    folder = make_series()
    make_series(
        edit=lambda i, n: (turn(i, n), setattr(i, "SeriesNumber", 1)), series="1.2.1", prefix="loc"
    )
    make_series(edit=lambda i, _: setattr(i, "SOPClassUID", CTImageStorage), prefix="ct")
    make_series(series="1.2.2", prefix="next", edit=lambda i, _: setattr(i, "SeriesNumber", 11))
    make_series(series="1.2.3", prefix="same")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "empty").touch()

    names = [path.name for path in find_scans(folder)]

    assert [re.sub(r"-[0-9a-f]{6}", "-HASH", name) for name in names] == [
        "series-003-HASH",
        "series-003-HASH",
        "series-011",
    ]
    assert len(set(names)) == 3
    assert "series-001 is a localizer and is left out" in caplog.text
    assert "6 files of the kind CT Image Storage" in caplog.text


def test_a_tree_of_exports_stands_for_its_series_in_folders_and_archives(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    make_series("tree/PAT1/1.2.840.55")
    zipped(make_series("other"), tmp_path / "tree" / "b.zip")
    damaged = make_series("tree/PAT2") / "IM2"
    damaged.write_bytes(damaged.read_bytes()[:300])

    scans = find_scans(tmp_path / "tree")

    below = [str(path.relative_to(tmp_path / "tree")) for path in scans]
    assert below == ["PAT1/1.2.840.55", "PAT2", "b.zip"]
    assert [stem(path) for path in scans] == ["1.2.840.55", "PAT2", "b"]
    with pytest.raises(VolumeError, match="IM2 is damaged or cut short"):
        read_scan(scans[1])


def test_slices_of_one_series_in_several_folders_are_told_and_copies_are_not(
    make_series: MakeSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_series("copies/a")
    make_series("copies/b")
    make_series("parts/a", leave_out=(3, 4, 5))
    make_series("parts/b", leave_out=(0, 1, 2))

    copies = find_scans(tmp_path / "copies")
    assert len(copies) == 2
    assert not caplog.text
    parts = find_scans(tmp_path / "parts")
    assert len(parts) == 2
    assert "series 3 lies in 2 places, a, b" in caplog.text


def test_a_dicomdir_stands_for_its_folder(make_series: MakeSeries) -> None:
    folder = make_series()
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)

    scans = find_scans(folder / "DICOMDIR")

    assert scans == [folder]
    assert read_scan(folder).stored_shape == (9, 8, 6)


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_slice_cut_anywhere_is_damaged_and_not_skipped(
    make_series: MakeSeries, kept: float
) -> None:
    folder = make_series()
    content = (folder / "IM2").read_bytes()
    (folder / "IM2").write_bytes(content[: max(140, int(kept * len(content)))])

    with pytest.raises(VolumeError, match=r"damaged or cut short|no pixel data|lack"):
        read_scan(folder)


def test_what_holds_no_mr_says_what_it_holds(make_series: MakeSeries) -> None:
    folder = make_series(edit=lambda image, _: setattr(image, "SOPClassUID", CTImageStorage))

    with pytest.raises(VolumeError, match="no MR series, but 6 files of the kind CT Image"):
        read_scan(folder)


def test_a_folder_of_other_kinds_says_which_and_how_many(make_series: MakeSeries) -> None:
    folder = make_series(edit=lambda image, _: setattr(image, "SOPClassUID", CTImageStorage))
    mosaic = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    make_series(edit=lambda image, _: setattr(image, "ImageType", mosaic), prefix="mosaic")

    with pytest.raises(VolumeError, match="holds no scan") as failure:
        find_scans(folder)

    assert f"DICOM files of the kind CT Image Storage: 6: {folder.name} (6)" in str(failure.value)
    assert f"DICOM files with mosaics of slices: 6: {folder.name} (6)" in str(failure.value)
    assert "other formats" not in str(failure.value)


def test_linked_folders_of_series_are_followed_once(
    make_series: MakeSeries, tmp_path: Path
) -> None:
    folder = make_series()
    study = tmp_path / "study"
    (study / "real").mkdir(parents=True)
    for name in ("linked", "again"):
        (study / name).symlink_to(folder)
    (study / "real" / "up").symlink_to(study)

    assert [path.name for path in find_scans(study)] == ["again"]


def test_phase_is_left_out_beside_magnitude_and_refused_alone(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture
) -> None:
    def turn_into_phase(image: Dataset, number: int) -> None:
        image.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        image.SOPInstanceUID = f"1.2.9.{number}"

    folder = make_series(edit=turn_into_phase, prefix="p")

    alone = find_scans(folder)
    held = held_otherwise(read_scan(alone[0]))
    make_series(
        edit=lambda image, _: setattr(image, "ImageType", ["ORIGINAL", "PRIMARY", "M", "ND"])
    )
    both = find_scans(folder)

    assert (alone, held) == ([folder], "phase, to judge by its header")
    assert [path.name for path in both] == ["series-003-magnitude"]
    assert "series-003-phase holds phase and is left out" in caplog.text


def test_a_small_step_on_a_large_intercept_keeps_every_stored_number_apart(
    make_series: MakeSeries, voxels: np.ndarray
) -> None:
    def rescale(image: Dataset, _: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = "0.0001", "1000000"

    scan = read_scan(make_series(edit=rescale), exact=True)

    assert scan.exact is not None
    numbers = np.rint((scan.as_stored(scan.exact) - 1e6) / 1e-4)
    np.testing.assert_array_equal(numbers, voxels)


def test_mosaics_are_no_slices_but_frames_of_an_enhanced_file_that_says_so_are(
    make_series: MakeSeries, make_enhanced: Callable[..., Path], voxels: np.ndarray
) -> None:
    enhanced = make_enhanced()
    mosaic = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    image = dcmread(enhanced)
    image.ImageType = mosaic
    image.save_as(enhanced)

    np.testing.assert_array_equal(stored(enhanced), voxels)
    with pytest.raises(VolumeError, match="6 files with mosaics of slices"):
        read_scan(make_series(edit=lambda image, _: setattr(image, "ImageType", mosaic)))


def test_run_length_encoded_slices_read_as_plain_ones(
    make_series: MakeSeries, voxels: np.ndarray
) -> None:
    folder = make_series()
    for path in folder.iterdir():
        image = dcmread(path)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(path)

    np.testing.assert_array_equal(stored(folder), voxels)


@pytest.mark.parametrize("kind", ["jpeg", "jpegls", "jpeg2000"])
def test_losslessly_compressed_slices_read_as_plain_ones(
    make_series: MakeSeries, voxels: np.ndarray, kind: str
) -> None:
    import gdcm

    syntaxes = {
        "jpeg": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        "jpegls": gdcm.TransferSyntax.JPEGLSLossless,
        "jpeg2000": gdcm.TransferSyntax.JPEG2000Lossless,
    }
    folder = make_series()
    for path in folder.iterdir():
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), None
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntaxes[kind]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutputAsPixmap())
        writer.SetFileName(str(path))
        assert writer.Write()
    assert dcmread(path).file_meta.TransferSyntaxUID.is_compressed

    np.testing.assert_array_equal(stored(folder), voxels)


def test_a_deflated_file_is_refused_before_it_is_inflated(make_series: MakeSeries) -> None:
    folder = make_series()
    image = dcmread(folder / "IM2")
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(folder / "IM2")

    with pytest.raises(VolumeError, match="deflated as a whole"):
        read_scan(folder)


def test_what_is_wrong_with_a_value_is_never_quoted(
    make_series: MakeSeries, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = make_series()
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content.replace(b"19370914", b"Ottoline"))  # no date at all

    read_scan(folder)

    said = caplog.text + "".join(capfd.readouterr())
    assert "Ottoline" not in said


@pytest.mark.parametrize(
    ("name", "link", "message"),
    [
        ("../IM2", False, "unpacked elsewhere"),
        ("/IM2", False, "unpacked elsewhere"),
        ("a\\..\\..\\IM2", False, "unpacked elsewhere"),
        ("C:/IM2", False, "unpacked elsewhere"),
        ("IM2", True, "symbolic link"),
    ],
)
def test_archives_that_would_reach_elsewhere_are_refused(
    tmp_path: Path, name: str, link: bool, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = (0o120777 if link else 0o100644) << 16
        archive.writestr(member, b"/etc/passwd")

    with pytest.raises(VolumeError, match=message):
        read_scan(tmp_path / "x.zip")


def test_an_archive_that_would_grow_absurdly_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(9):
            archive.writestr(f"{number}", bytes(9 << 20))

    with pytest.raises(VolumeError, match=r"it would grow .*-fold"):
        read_scan(tmp_path / "x.zip")


@pytest.mark.parametrize("damage", ["no zip", "cut", "flipped"])
def test_a_damaged_archive_is_an_error(
    make_series: MakeSeries, tmp_path: Path, damage: str
) -> None:
    path = zipped(make_series(), tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[600:700] = bytes(100)
    path.write_bytes({"no zip": b"PK?", "cut": content[:900], "flipped": content}[damage])

    with pytest.raises(VolumeError, match=re.escape(str(path))):
        read_scan(path)


def test_pipes_and_links_in_a_folder_do_not_stop_reading(make_series: MakeSeries) -> None:
    folder = make_series()
    os.mkfifo(folder / "pipe")
    (folder / "nowhere").symlink_to(folder / "gone")
    target = folder.parent / "store"
    (folder / "IM2").rename(target)
    (folder / "IM2").symlink_to(target)  # as data managers keep large files

    assert read_scan(folder).stored_shape == (9, 8, 6)


def test_an_uneven_stack_is_a_geometry_error(make_series: MakeSeries) -> None:
    with pytest.raises(GeometryError):
        read_scan(make_series(edit=nudge))


def test_a_kind_that_is_rubbish_is_not_quoted(make_series: MakeSeries) -> None:
    folder = make_series(edit=lambda image, _: setattr(image, "SOPClassUID", "1.2.3.19370914"))

    with pytest.raises(VolumeError, match="6 files of an unknown kind") as caught:
        read_scan(folder)

    assert "19370914" not in str(caught.value)


def test_series_of_other_studies_are_no_exam(make_series: MakeSeries) -> None:
    """Two studies in one folder, and one in folders of its own."""

    def of(study: str) -> Callable[[Dataset, int], None]:
        return lambda image, number: setattr(image, "StudyInstanceUID", study)

    for number, study in ((1, "1.2.1"), (2, "1.2.1"), (3, "1.2.2")):
        flat = make_series("flat", of(study), series=f"1.2.3.{number}", prefix=f"S{number}")
        apart = make_series(f"apart/{number}", of(study), series=f"1.2.3.{number}")

    exams = [session_of(path) for path in find_scans(flat)]
    alone = [session_of(path) for path in find_scans(apart.parent)]

    for first, second, other in (exams, alone):
        assert first == second != other
