"""Tests for mriimpute.io.nifti."""

import gzip
import itertools
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mriimpute.errors import GeometryError, OutputError, VolumeError
from mriimpute.geometry import rotation, spacing_mm, transform
from mriimpute.io import Form, read_scan, write_grid, write_image

# Offsets of the fields of a NIfTI-1 header, from its specification.
DIM, DATATYPE, PIXDIM, SLOPE, UNITS, QFORM_CODE, SFORM_CODE = 40, 70, 76, 112, 123, 252, 254
SROW_X, QUATERN_B = 280, 256

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation((10.0, -20.0, 5.0)) @ np.diag([1.0, 1.0, 6.0])
OBLIQUE[:3, 3] = [-90.0, 12.5, 3.0]

Variant = Callable[..., Path]
ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)), dtype=float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([1, -1], repeat=3)
]


def written(path: Path, *, refine: tuple[int, int] = (0, 1), source: Path) -> nib.Nifti1Image:
    """Reads a scan, puts its slices on the refined grid and writes that; returns what is there."""
    scan = read_scan(source)
    axis, factor = refine
    shape = list(scan.volume.shape)
    shape[axis] = factor * (shape[axis] - 1) + 1
    fine = np.zeros(shape, np.float32)
    slices = tuple(slice(None, None, factor if a == axis else 1) for a in range(3))
    fine[slices] = scan.volume.data
    write_image(path, fine, like=scan, refine=refine)
    return nib.load(path)


def centres(affine: np.ndarray, shape: tuple[int, ...], step: tuple[int, ...]) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return transform(np.asarray(affine, dtype=float), (index * step).astype(float))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_flipped_permuted_scan_with_slope_comes_back_unchanged(
    ending: str, variant: Variant, tmp_path: Path
) -> None:
    # Axes towards P, I and L: permuted and flipped against R, A, S. Slope and intercept set.
    affine = np.array([[0.1, -0.2, -5.9, 40], [-0.9, 0.1, -0.3, 3], [0.1, -1.1, 0.4, 9]])
    source = variant(
        (SLOPE, "<ff", (0.0371, -3.3)),
        *[(SROW_X + 16 * n, "<4f", tuple(affine[n])) for n in (0, 1, 2)],
    )
    before = nib.load(source)

    after = written(tmp_path / f"out{ending}", source=source)

    np.testing.assert_array_equal(after.affine, before.affine)
    for form in ("sform", "qform"):
        (a, code_a), (b, code_b) = (getattr(i, f"get_{form}")(coded=True) for i in (after, before))
        np.testing.assert_array_equal(a, b)
        assert code_a == code_b
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    assert after.get_data_dtype() == np.float32
    assert (after.dataobj.slope, after.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(after.dataobj), before.get_fdata().astype(np.float32))


@given(index=st.integers(0, 47))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_axis_orientation_reads_canonical_and_writes_back(
    index: int, affine: np.ndarray, tmp_path: Path
) -> None:
    data = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    turned = nib.orientations.apply_orientation(data, ORIENTATIONS[index])
    stored = affine @ nib.orientations.inv_ornt_aff(ORIENTATIONS[index], data.shape)
    nib.Nifti1Image(turned, stored).to_filename(tmp_path / "turned.nii")

    scan = read_scan(tmp_path / "turned.nii")
    write_image(tmp_path / "back.nii", scan.volume.data, like=scan)

    back, before = nib.load(tmp_path / "back.nii"), nib.load(tmp_path / "turned.nii")
    assert "".join(nib.aff2axcodes(scan.volume.affine)) == "RAS"
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(before.dataobj))
    np.testing.assert_array_equal(back.affine, before.affine)
    np.testing.assert_allclose(scan.stored_affine, before.affine, atol=1e-12)
    assert scan.stored_shape == before.shape
    # The same number lies at the same place, whichever way it is stored.
    np.testing.assert_array_equal(np.unique(scan.volume.data), np.arange(60))
    place = transform(scan.volume.affine, np.argwhere(scan.volume.data == 23).astype(float))
    expected = transform(before.affine, np.argwhere(turned == 23).astype(float))
    np.testing.assert_allclose(place, expected, atol=1e-9)


def test_all_48_orientations_are_generated() -> None:
    assert len({tuple(map(tuple, o)) for o in ORIENTATIONS}) == 48


@pytest.mark.parametrize("orientation", [0, 13, 26, 47])
def test_refined_file_keeps_acquired_centres_in_both_forms(
    orientation: int, affine: np.ndarray, tmp_path: Path
) -> None:
    turn = ORIENTATIONS[orientation]
    data = np.random.default_rng(0).normal(size=(4, 5, 7)).astype(np.float32)
    stored = affine @ nib.orientations.inv_ornt_aff(turn, data.shape)
    image = nib.Nifti1Image(nib.orientations.apply_orientation(data, turn), stored)
    image.set_qform(stored, code=1)
    image.set_sform(stored, code=4)
    image.to_filename(tmp_path / "coarse.nii")
    coarse = nib.load(tmp_path / "coarse.nii")
    axis = int(np.argmax(read_scan(tmp_path / "coarse.nii").volume.spacing_mm))
    stored_axis = int(np.argmax(spacing_mm(stored)))

    fine = written(tmp_path / "fine.nii", refine=(axis, 6), source=tmp_path / "coarse.nii")

    step = tuple(6 if a == stored_axis else 1 for a in range(3))
    assert fine.shape[stored_axis] == 6 * (coarse.shape[stored_axis] - 1) + 1
    for form in ("get_sform", "get_qform"):
        np.testing.assert_allclose(
            centres(getattr(fine.header, form)(), coarse.shape, step),
            centres(getattr(coarse.header, form)(), coarse.shape, (1, 1, 1)),
            rtol=0,
            atol=1e-6,
        )
        assert (
            getattr(fine.header, form)(coded=True)[1]
            == getattr(coarse.header, form)(coded=True)[1]
        )
    sampled = tuple(slice(None, None, s) for s in step)
    np.testing.assert_array_equal(np.asarray(fine.dataobj)[sampled], np.asarray(coarse.dataobj))


def test_spacing_that_float32_cannot_divide_moves_nothing_by_a_micrometre(
    affine: np.ndarray, tmp_path: Path
) -> None:
    affine[:3, 2] *= 5.3 / 6.0
    image = nib.Nifti1Image(np.ones((3, 3, 40), np.uint8), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.to_filename(tmp_path / "coarse.nii")
    coarse = nib.load(tmp_path / "coarse.nii")

    fine = written(tmp_path / "fine.nii", refine=(2, 7), source=tmp_path / "coarse.nii")

    for form in ("get_sform", "get_qform"):
        moved = centres(getattr(fine.header, form)(), coarse.shape, (1, 1, 7)) - centres(
            getattr(coarse.header, form)(), coarse.shape, (1, 1, 1)
        )
        assert np.abs(moved).max() < 1e-3 / 10


@pytest.mark.parametrize(
    ("qform", "sform"), [(1, 0), (0, 2), (0, 0), (3, 4)], ids=["q", "s", "neither", "both"]
)
def test_form_codes_are_kept_and_the_frame_with_them(
    qform: int, sform: int, variant: Variant, tmp_path: Path
) -> None:
    source = variant((QFORM_CODE, "<hh", (qform, sform)))
    before = nib.load(source)

    after = written(tmp_path / "out.nii", source=source, refine=(2, 6))

    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (qform, sform)
    np.testing.assert_allclose(
        centres(after.affine, before.shape, (1, 1, 6)),
        centres(before.affine, before.shape, (1, 1, 1)),
        rtol=0,
        atol=1e-6,
    )


def test_scan_without_any_form_is_reported(variant: Variant) -> None:
    scan = read_scan(variant((QFORM_CODE, "<hh", (0, 0))))

    assert any("neither sform nor qform" in warning for warning in scan.warnings)


def test_negative_qfac_survives(affine: np.ndarray, tmp_path: Path) -> None:
    affine[:3, 2] *= -1
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.int16), None)
    image.header.set_qform(affine, code=1)
    image.to_filename(tmp_path / "left.nii")
    before = nib.load(tmp_path / "left.nii")
    assert before.header["pixdim"][0] == -1

    after = written(tmp_path / "out.nii", source=tmp_path / "left.nii", refine=(2, 3))

    assert after.header["pixdim"][0] == -1
    np.testing.assert_allclose(
        centres(after.affine, before.shape, (1, 1, 3)),
        centres(before.affine, before.shape, (1, 1, 1)),
        rtol=0,
        atol=1e-6,
    )


def test_disagreeing_forms_are_reported_and_the_sform_is_used(variant: Variant) -> None:
    source = variant((SROW_X + 12, "<f", (55.0,)))

    scan = read_scan(source)

    assert any("sform and qform disagree" in warning for warning in scan.warnings)
    np.testing.assert_allclose(scan.stored_affine, nib.load(source).header.get_sform(), atol=1e-9)


def test_the_form_that_was_asked_for_is_used(variant: Variant) -> None:
    source = variant((SROW_X + 12, "<f", (55.0,)))

    scan = read_scan(source, form="qform")

    np.testing.assert_allclose(scan.stored_affine, nib.load(source).header.get_qform(), atol=1e-9)


def test_nifti_2_stays_nifti_2(affine: np.ndarray, tmp_path: Path) -> None:
    image = nib.Nifti2Image(np.arange(60, dtype=np.int32).reshape(3, 4, 5), affine)
    image.set_qform(affine, code=2)
    image.to_filename(tmp_path / "two.nii")
    before = nib.load(tmp_path / "two.nii")

    after = written(tmp_path / "out.nii.gz", source=tmp_path / "two.nii")

    assert isinstance(after, nib.Nifti2Image)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.header.get_qform(), before.header.get_qform())
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())


def test_big_endian_file_reads_like_its_twin(affine: np.ndarray, tmp_path: Path) -> None:
    data = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.Nifti1Image(data, affine, header).to_filename(tmp_path / "big.nii")

    after = written(tmp_path / "out.nii", source=tmp_path / "big.nii", refine=(2, 2))

    np.testing.assert_array_equal(np.asarray(after.dataobj)[:, :, ::2], data)


def test_mgz_becomes_a_nifti_in_the_same_frame(affine: np.ndarray, tmp_path: Path) -> None:
    data = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    nib.MGHImage(data, affine.astype(np.float32)).to_filename(tmp_path / "head.mgz")
    before = nib.load(tmp_path / "head.mgz")

    after = written(tmp_path / "out.nii.gz", source=tmp_path / "head.mgz")

    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(after.dataobj), data)
    assert read_scan(tmp_path / "head.mgz").dtype == ">f4"


def test_a_fourth_axis_of_length_one_is_dropped(affine: np.ndarray, tmp_path: Path) -> None:
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1)
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "four.nii")

    after = written(tmp_path / "out.nii", source=tmp_path / "four.nii")

    assert after.shape == (3, 4, 5)
    np.testing.assert_array_equal(np.asarray(after.dataobj), data[..., 0])


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_non_finite_voxels_count_as_missing_and_are_reported(
    hole: float, affine: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = np.ones((3, 4, 5), np.float32)
    data[1, 2, 3] = hole
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "hole.nii")

    with caplog.at_level(logging.WARNING):
        scan = read_scan(tmp_path / "hole.nii")

    assert np.argwhere(~scan.volume.observed).tolist() == [[1, 2, 3]]
    assert "hole.nii: 1 voxels are NaN or infinite and count as missing" in caplog.text


def test_observed_image_marks_what_was_acquired(plain: Path, tmp_path: Path) -> None:
    chosen = np.zeros((6, 5, 4), np.uint8)
    chosen[:, :, ::2] = 1
    nib.Nifti1Image(chosen, nib.load(plain).affine).to_filename(tmp_path / "o.nii.gz")

    scan = read_scan(plain, observed=tmp_path / "o.nii.gz")

    stored = nib.orientations.inv_ornt_aff(scan.orientation, chosen.shape)
    np.testing.assert_array_equal(stored, np.eye(4))  # so axes need no turning here
    np.testing.assert_array_equal(scan.volume.observed, chosen == 1)


@pytest.mark.parametrize("form", ["auto", "sform", "qform"])
@pytest.mark.parametrize("is_header_kept", [True, False])
def test_observed_image_lies_where_the_form_of_the_scan_says(
    form: Form, is_header_kept: bool, variant: Variant, tmp_path: Path
) -> None:
    """Sform and qform of the scan disagree by far more than rounding."""
    source = variant((SROW_X + 12, "<f", (55.0,)))
    header = nib.load(source).header
    affine = header.get_qform() if form == "qform" else header.get_sform()
    chosen = np.zeros((6, 5, 4), np.uint8)
    chosen[:, :, ::2] = 1
    place = (None, header) if is_header_kept else (affine,)
    image = nib.Nifti1Image(chosen, *place)
    image.to_filename(tmp_path / "o.nii")

    scan = read_scan(source, observed=tmp_path / "o.nii", form=form)

    np.testing.assert_array_equal(scan.volume.observed, chosen == 1)


@pytest.mark.parametrize("change", ["shifted", "other shape", "flipped"])
def test_observed_image_on_another_grid_is_refused(
    change: str, plain: Path, tmp_path: Path
) -> None:
    affine, shape = nib.load(plain).affine.copy(), (6, 5, 4)
    match change:
        case "shifted":
            affine[0, 3] += 0.5
        case "other shape":
            shape = (6, 5, 5)
        case "flipped":
            affine = affine @ nib.orientations.inv_ornt_aff(ORIENTATIONS[1], shape)
    nib.Nifti1Image(np.ones(shape, np.uint8), affine).to_filename(tmp_path / "o.nii")

    with pytest.raises(GeometryError, match="lie on different grids"):
        read_scan(plain, observed=tmp_path / "o.nii")


def test_observed_image_without_a_voxel_is_refused(plain: Path, tmp_path: Path) -> None:
    empty = nib.Nifti1Image(np.zeros((6, 5, 4), np.uint8), nib.load(plain).affine)
    empty.to_filename(tmp_path / "o.nii")

    with pytest.raises(VolumeError, match="is observed"):
        read_scan(plain, observed=tmp_path / "o.nii")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ((PIXDIM + 8, "<f", (0.0,)), "has voxel size 0.9 x 0 x 6 mm"),
        ((PIXDIM + 12, "<f", (float("nan"),)), "has voxel size 0.9 x 1.1 x nan mm"),
        ((SROW_X, "<f", (float("nan"),)), "affine that cannot be inverted"),
        ((DATATYPE, "<h", (99,)), "cannot be read as an image"),
        ((DIM, "<h", (9,)), "cannot be read as an image"),
        ((DIM + 2, "<3h", (30000, 30000, 30000)), "damaged or cut short"),
        ((DIM + 2, "<h", (-6,)), "no voxels"),
        ((DIM + 6, "<h", (1,)), "a single slice"),
        ((DIM, "<h", (2,)), "a single slice"),
    ],
)
def test_impossible_headers_are_refused(
    field: tuple[int, str, tuple[float, ...]], words: str, variant: Variant
) -> None:
    with pytest.raises(VolumeError, match=words):
        read_scan(variant(field))


def test_invalid_quaternion_is_refused(variant: Variant) -> None:
    source = variant((QFORM_CODE, "<hh", (1, 0)), (QUATERN_B, "<3f", (2.0, 2.0, 2.0)))

    with pytest.raises(VolumeError, match="cannot be read as an image"):
        read_scan(source)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ((PIXDIM + 4, "<f", (-0.9,)), "pixdim"),
        ((SLOPE, "<f", (float("inf"),)), "slope is inf"),
        ((UNITS, "<b", (1,)), "lengths in metres"),
        ((UNITS, "<b", (7,)), "unknown units"),
        ((SFORM_CODE, "<h", (900,)), "sform_code 900 not valid"),
    ],
)
def test_what_was_repaired_or_assumed_is_told(
    field: tuple[int, str, tuple[float, ...]],
    words: str,
    variant: Variant,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scan = read_scan(variant(field))

    assert any(words in warning for warning in scan.warnings)
    assert capfd.readouterr().err == ""  # nibabel prints nothing of its own


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_slope_that_means_none_leaves_the_numbers(slope: float, variant: Variant) -> None:
    source = variant((SLOPE, "<f", (slope,)))

    scan = read_scan(source)

    raw = np.asarray(nib.load(source).dataobj.get_unscaled(), np.float32)
    np.testing.assert_array_equal(np.sort(scan.volume.data, None), np.sort(raw, None))
    assert (scan.slope, scan.warnings) == (1.0, ())


@pytest.fixture
def packed(affine: np.ndarray, rng: np.random.Generator, tmp_path: Path) -> bytes:
    """A compressed scan too large for its voxels to be read along with its header."""
    image = nib.Nifti1Image(rng.integers(0, 999, (16, 16, 16)).astype(np.int16), affine)
    image.to_filename(tmp_path / "whole.nii.gz")
    return (tmp_path / "whole.nii.gz").read_bytes()


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9, 0.9999])
def test_truncated_gzip_is_refused(keep: float, packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "cut.nii.gz").write_bytes(packed[: int(len(packed) * keep)])

    with pytest.raises(VolumeError, match=r"cut\.nii\.gz (is damaged|cannot be read)"):
        read_scan(tmp_path / "cut.nii.gz")


@pytest.mark.parametrize("byte", [-6, -2])
def test_gzip_with_a_wrong_checksum_or_length_is_refused(
    byte: int, packed: bytes, tmp_path: Path
) -> None:
    flipped = bytearray(packed)
    flipped[byte] ^= 0xFF
    (tmp_path / "bad.nii.gz").write_bytes(bytes(flipped))

    with pytest.raises(VolumeError, match=r"bad\.nii\.gz is damaged"):
        read_scan(tmp_path / "bad.nii.gz")


def test_voxels_are_unpacked_once(
    affine: np.ndarray, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rng.integers(0, 999, (64, 64, 64)).astype(np.int16)
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "x.nii.gz")
    unpacked, read = [0], gzip._GzipReader.read  # type: ignore[attr-defined]

    def counted(self: object, size: int = -1) -> bytes:
        found = read(self, size)
        unpacked[0] += len(found)
        return found

    monkeypatch.setattr(gzip._GzipReader, "read", counted)  # type: ignore[attr-defined]

    scan = read_scan(tmp_path / "x.nii.gz")

    assert scan.volume.shape == data.shape
    assert data.nbytes <= unpacked[0] < 1.5 * data.nbytes


def test_header_text_that_may_name_a_patient_is_not_written(plain: Path, tmp_path: Path) -> None:
    image = nib.load(plain)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    image.to_filename(tmp_path / "named.nii")
    assert b"DOE" in (tmp_path / "named.nii").read_bytes()

    written(tmp_path / "out.nii", source=tmp_path / "named.nii")

    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()


def test_file_of_another_shape_than_the_scan_is_a_programming_error(
    plain: Path, tmp_path: Path
) -> None:
    scan = read_scan(plain)

    with pytest.raises(ValueError, match=r"data must have shape \(6, 5, 19\), got \(6, 5, 4\)"):
        write_image(tmp_path / "o.nii", scan.volume.data, like=scan, refine=(2, 6))


def test_reading_leaves_the_header_of_the_scan_as_it_was_when_written_twice(
    plain: Path, tmp_path: Path
) -> None:
    scan = read_scan(plain)
    fine = np.zeros((6, 5, 7), np.float32)

    for name in ("a.nii", "b.nii"):
        write_image(tmp_path / name, fine, like=scan, refine=(2, 2))

    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_same_image_gives_the_same_compressed_bytes(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = read_scan(plain)
    (tmp_path / "x").mkdir()

    write_image(tmp_path / "a.nii.gz", scan.volume.data, like=scan)
    monkeypatch.setattr("time.time", lambda: 5e8)
    write_image(tmp_path / "x" / "b.nii.gz", scan.volume.data, like=scan)

    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "x" / "b.nii.gz").read_bytes()


def test_unwritable_folder_is_an_output_error(plain: Path, tmp_path: Path) -> None:
    scan = read_scan(plain)
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="cannot write"):
        write_image(tmp_path / "file" / "o.nii", scan.volume.data, like=scan)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_says_so(plain: Path) -> None:
    plain.chmod(0)

    with pytest.raises(VolumeError, match="may not be read"):
        read_scan(plain)


def test_bytes_do_not_depend_on_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), path)
    scan = read_scan(path)

    for name in ("first.nii.gz", "second.nii.gz"):
        write_image(tmp_path / name, scan.volume.data, like=scan)

    first, second = (tmp_path / name for name in ("first.nii.gz", "second.nii.gz"))
    assert first.read_bytes() == second.read_bytes()


def test_both_forms_of_a_new_grid_and_their_codes_say_the_same(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    data = rng.normal(size=(4, 5, 6)).astype(np.float32)

    write_grid(tmp_path / "a.nii.gz", data, OBLIQUE, frame="mni152")

    image = nib.load(tmp_path / "a.nii.gz")
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 4
    np.testing.assert_allclose(image.get_sform(), OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    assert image.get_data_dtype() == np.float32


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_bytes_of_a_new_grid_depend_on_neither_clock_nor_name(tmp_path: Path, ending: str) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    write_grid(tmp_path / f"a.{ending}", data, OBLIQUE, frame="scanner")
    time.sleep(1.1)  # gzip counts in seconds
    write_grid(tmp_path / f"b.{ending}", data, OBLIQUE, frame="scanner")

    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
