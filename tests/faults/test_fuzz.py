"""Damaged and malicious inputs: each works or is refused in two lines, and leaves no file.

By default a few examples of every property; `MRIIMPUTE_FUZZ=1000 pytest tests/faults/test_fuzz.py
--hypothesis-show-statistics` tries a thousand of each and counts what was refused. Inputs are tiny
valid files with bytes, fields, elements or settings replaced, most by values that a header should
never hold.
"""

import functools
import gzip
import io
import json
import logging
import os
import resource
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)
from typer.testing import CliRunner

from mriimpute import config
from mriimpute.checkpoint import save
from mriimpute.cli import app
from mriimpute.cohort.split import cohort
from mriimpute.errors import MriImputeError
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.imputation.scan import impute_scan
from mriimpute.io import find_scans
from mriimpute.methods.cross_plane.network import Config as Network
from mriimpute.methods.cross_plane.network import build
from mriimpute.methods.interpolation import Interpolation
from mriimpute.methods.patches import models
from mriimpute.methods.registry import load_imputer
from mriimpute.seeds import numpy_stream
from mriimpute.training import preset, resolve
from mriimpute.volume import Volume

EXAMPLES = int(os.environ.get("MRIIMPUTE_FUZZ", "0"))
SECONDS = 10
MEGABYTES = 512

Mutation = Callable[[bytearray], None]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # what a library finds strange is no failure
    pytest.mark.skipif(os.name != "posix", reason="signals"),
]


def examples(few: int, share: float = 1.0) -> settings:
    """Returns how many inputs to try: `few`, or that share of what the environment asks for."""
    return settings(
        max_examples=max(1, int(EXAMPLES * share)) if EXAMPLES else few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# --- what may go wrong, and what may not -----------------------------------------------------


class TooLong(BaseException):
    """Not an `Exception`: nobody may take it for a damaged file."""


@contextmanager
def watched() -> Iterator[None]:
    """Fails if the block takes too long or too much memory, or fails unexpectedly."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    before, peak_before, told = signal.signal(signal.SIGPROF, stop), peak(), True
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of work: other processes do not count
    try:
        yield
    except MriImputeError as error:
        told = bool(str(error) and error.hint)
        event(f"refused: {type(error).__name__}")
    else:
        event("accepted")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert told, "an error without a message or a hint"
    assert peak() - peak_before < MEGABYTES, "took too much memory"


def imputes(scan: Path, out: Path, *, observed: Path | None = None, dtype: Any = None) -> None:
    """Imputes what `scan` is: a finite image comes out, or an error and no file."""
    shutil.rmtree(out, ignore_errors=True)
    request = Request(model="linear", observed=observed)
    done = False
    with watched():
        for found in find_scans(scan):
            case = Job(found, out)
            impute_scan(case, Interpolation("linear"), request, record=dict, overwrite=True)
            mean = np.asarray(nib.load(case.file("mean")).dataobj)
            assert np.isfinite(mean).all()
            assert np.isin(np.asarray(nib.load(case.file("observed")).dataobj), (0, 1)).all()
        done = True
    left = [path.name for path in out.rglob("*") if path.is_file()] if out.exists() else []
    assert done or not left, f"a refused input left {left}"


# --- mutations of bytes ----------------------------------------------------------------------

INTEGERS = sorted(
    {0, 512, 1024, 1536, 2304, *(2**n + d for n in range(32) for d in (-1, 0))}
    | {-(2**n) for n in range(32)}
)
NAN, INF = float("nan"), float("inf")
FLOATS = [
    NAN,
    INF,
    -INF,
    0.0,
    -0.0,
    -1.0,
    1e-45,
    1e-30,
    1e-6,
    0.5,
    1.0,
    2.0,
    6.0,
    1e6,
    1e30,
    3.4e38,
]


def flip(place: int, bit: int, content: bytearray) -> None:
    content[place % len(content)] ^= 1 << bit


def put(place: int, new: bytes, content: bytearray) -> None:
    start = place % len(content)
    content[start : start + len(new)] = new


def cut(place: int, content: bytearray) -> None:
    del content[max(place % len(content), 1) :]


def drop(place: int, count: int, content: bytearray) -> None:
    start = max(place % len(content), 1)
    del content[start : start + count]


def insert(place: int, new: bytes, content: bytearray) -> None:
    start = place % len(content)
    content[start:start] = new


def append(new: bytes, content: bytearray) -> None:
    content += new


def pack(place: int, form: str, value: float, content: bytearray) -> None:
    """Writes a number into a field, as far as it fits there."""
    if form[-1] in "hiqbB":
        size = 8 * struct.calcsize(form)
        low = 0 if form[-1] == "B" else -(2 ** (size - 1))
        value = int(min(max(value, low), low + 2**size - 1))
    elif form[-1] == "f" and np.isfinite(value):
        value = float(np.clip(value, -3.4e38, 3.4e38))
    content[place : place + struct.calcsize(form)] = struct.pack(form, value)


PLACES = st.integers(0, 2**16)
JUNK = st.binary(min_size=1, max_size=24)
BYTES: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(partial, st.just(flip), PLACES, st.integers(0, 7)),
    st.builds(partial, st.just(put), PLACES, JUNK),
    st.builds(
        partial,
        st.just(put),
        PLACES,
        st.sampled_from(
            [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"\0\0\xc0\x7f"]
        ),
    ),
    st.builds(partial, st.just(cut), PLACES),
    st.builds(partial, st.just(drop), PLACES, st.integers(1, 64)),
    st.builds(partial, st.just(insert), PLACES, JUNK),
    st.builds(partial, st.just(append), JUNK),
)


def fields(table: Sequence[tuple[int, str, int]]) -> st.SearchStrategy[Mutation]:
    """Draws replacements of fields: where they begin, how they are packed, how many there are."""
    every = [
        (at + n * struct.calcsize(form), form) for at, form, count in table for n in range(count)
    ]
    whole = [(at, form) for at, form in every if form[-1] in "hiqbB"]
    real = [(at, form) for at, form in every if form[-1] in "fd"]

    def of(places: list[tuple[int, str]], values: st.SearchStrategy[float]) -> Any:
        pairs = st.tuples(st.sampled_from(places), values)
        return pairs.map(lambda drawn: partial(pack, *drawn[0], drawn[1]))

    numbers = st.one_of(st.sampled_from(INTEGERS), st.integers(-(2**63), 2**63 - 1))
    reals = st.one_of(st.sampled_from(FLOATS), st.floats(-1e3, 1e3))
    return st.one_of(of(whole, numbers), of(real, reals), of(real, reals))


def damaged(content: bytes, mutations: Sequence[Mutation]) -> bytes:
    changed = bytearray(content)
    for mutate in mutations:
        if changed:
            mutate(changed)
    return bytes(changed)


def some(mutation: st.SearchStrategy[Mutation]) -> st.SearchStrategy[list[Mutation]]:
    return st.lists(mutation, min_size=1, max_size=5)


# --- NIfTI and MGZ ---------------------------------------------------------------------------

SHAPE = (5, 4, 3)
AFFINE = nib.affines.from_matvec(np.diag([-1.0, 1.0, 3.0]), [2.0, -3.0, 4.0])
VOXELS = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)

NIFTI_1 = [
    (0, "<i", 1),
    (40, "<h", 8),
    (70, "<h", 2),
    (76, "<f", 8),
    (108, "<f", 3),
    (123, "<b", 1),
    (252, "<h", 2),
    (256, "<f", 6),
    (280, "<f", 12),
    (348, "<b", 4),
    (352, "<i", 2),
]
NIFTI_2 = [
    (0, "<i", 1),
    (12, "<h", 2),
    (16, "<q", 8),
    (104, "<d", 8),
    (168, "<q", 1),
    (176, "<d", 2),
    (344, "<i", 2),
    (352, "<d", 6),
    (400, "<d", 12),
    (500, "<i", 1),
]
MGH = [(0, ">i", 6), (24, ">i", 1), (28, ">h", 1), (30, ">f", 15)]


def nifti(kind: type = nib.Nifti1Image, dtype: Any = np.int16) -> bytes:
    image = kind(VOXELS.astype(dtype), AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=2)
    image.header.set_xyzt_units("mm", "sec")
    return bytes(image.to_bytes())


def masked() -> bytes:
    return bytes(nib.Nifti1Image((VOXELS % 3 > 0).astype(np.uint8), AFFINE).to_bytes())


def mgh() -> bytes:
    return bytes(nib.MGHImage(VOXELS.astype(np.float32), AFFINE).to_bytes())


ONE = [*NIFTI_1[:-1], (352, "<h", 60)]  # the last field above is where an extension would begin
IMAGES = st.one_of(
    st.tuples(st.just(nifti()), some(st.one_of(fields(NIFTI_1), BYTES))),
    st.tuples(st.just(nifti(dtype=np.float32)), some(fields(ONE))),
    st.tuples(st.just(nifti(nib.Nifti2Image)), some(st.one_of(fields(NIFTI_2), BYTES))),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    logging.disable(logging.CRITICAL)
    yield tmp_path_factory.mktemp("fuzz")
    logging.disable(logging.NOTSET)


@examples(60, share=2.0)
@given(image=IMAGES)
def test_a_damaged_nifti_works_or_is_refused(
    folder: Path, image: tuple[bytes, list[Mutation]]
) -> None:
    path = folder / "x.nii"
    path.write_bytes(damaged(*image))

    imputes(path, folder / "out")


@examples(40)
@given(image=IMAGES, packed=st.lists(BYTES, max_size=2), level=st.sampled_from([0, 1, 9]))
def test_a_damaged_compressed_nifti_works_or_is_refused(
    folder: Path, image: tuple[bytes, list[Mutation]], packed: list[Mutation], level: int
) -> None:
    path = folder / "x.nii.gz"
    path.write_bytes(damaged(gzip.compress(damaged(*image), level, mtime=0), packed))

    imputes(path, folder / "out")


@examples(40)
@given(
    mutations=some(st.one_of(fields(MGH), BYTES)),
    packed=st.one_of(st.none(), st.lists(BYTES, max_size=2)),
)
def test_a_damaged_mgz_works_or_is_refused(
    folder: Path, mutations: list[Mutation], packed: list[Mutation] | None
) -> None:
    content = damaged(mgh(), mutations)
    path = folder / ("x.mgh" if packed is None else "x.mgz")
    path.write_bytes(
        content if packed is None else damaged(gzip.compress(content, 1, mtime=0), packed)
    )

    imputes(path, folder / "out")


@examples(40)
@given(mutations=some(st.one_of(fields(NIFTI_1), BYTES)))
def test_a_damaged_observed_image_works_or_is_refused(
    folder: Path, mutations: list[Mutation]
) -> None:
    scan, observed = folder / "good.nii", folder / "observed.nii"
    scan.write_bytes(nifti())
    observed.write_bytes(damaged(masked(), mutations))

    imputes(scan, folder / "out", observed=observed)


# --- DICOM -----------------------------------------------------------------------------------

COLUMNS, ROWS, SLICES = 5, 4, 3


def instance(number: int) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"1.2.3.{number + 1}"
    image.SeriesInstanceUID, image.StudyInstanceUID = "1.2.3", "1.2"
    image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 3, number
    image.PatientName, image.PatientBirthDate = "Quillfeather^Ottoline", "19370914"
    image.ImageType, image.EchoTime, image.SliceThickness = ["ORIGINAL", "PRIMARY"], 2.5, 2
    image.Rows, image.Columns, image.SamplesPerPixel = ROWS, COLUMNS, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.RescaleSlope, image.RescaleIntercept = 2, -5
    image.PixelSpacing, image.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [0, 0, 3.0 * number]
    image.PixelData = VOXELS[:, :, number].astype(np.uint16).T.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def enhanced() -> Dataset:
    image = instance(0)
    image.SOPClassUID, image.NumberOfFrames = EnhancedMRImageStorage, SLICES

    def item(**values: Any) -> Dataset:
        one = Dataset()
        for name, value in values.items():
            setattr(one, name, [value] if isinstance(value, Dataset) else value)
        return one

    for name in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "EchoTime"):
        delattr(image, name)
    image.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=item(ImageOrientationPatient=image.ImageOrientationPatient),
            PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=2),
        )
    ]
    image.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, 3 * n]),
            PixelValueTransformationSequence=item(RescaleSlope=n + 1, RescaleIntercept=0),
        )
        for n in range(SLICES)
    ]
    image.PixelData = VOXELS.astype(np.uint16).T.tobytes()
    return image


def stored(image: Dataset) -> bytes:
    """Returns the bytes of a file; what is invalid in it is written as it is."""
    buffer = io.BytesIO()
    before = pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        image.save_as(buffer, enforce_file_format=True)
    finally:
        pydicom_config.settings.writing_validation_mode = before
    return buffer.getvalue()


def element(name: str, text: bytes, content: bytearray) -> None:
    """Replaces the value of every short element of a name in an explicit little-endian file."""
    tag, kind = TAGS[name]
    head = struct.pack("<HH", *tag) + kind
    start = 0
    while (start := content.find(head, start)) >= 0:
        length = int.from_bytes(content[start + 6 : start + 8], "little")
        value = text + b" " * (len(text) % 2)
        content[start + 6 : start + 8 + length] = len(value).to_bytes(2, "little") + value
        start += 8 + len(value)


TAGS = {
    "SOPClassUID": ((0x0008, 0x0016), b"UI"),
    "ImageType": ((0x0008, 0x0008), b"CS"),
    "SeriesInstanceUID": ((0x0020, 0x000E), b"UI"),
    "SOPInstanceUID": ((0x0008, 0x0018), b"UI"),
    "TransferSyntaxUID": ((0x0002, 0x0010), b"UI"),
    "SeriesNumber": ((0x0020, 0x0011), b"IS"),
    "EchoTime": ((0x0018, 0x0081), b"DS"),
    "SliceThickness": ((0x0018, 0x0050), b"DS"),
    "PixelSpacing": ((0x0028, 0x0030), b"DS"),
    "ImagePositionPatient": ((0x0020, 0x0032), b"DS"),
    "ImageOrientationPatient": ((0x0020, 0x0037), b"DS"),
    "RescaleSlope": ((0x0028, 0x1053), b"DS"),
    "RescaleIntercept": ((0x0028, 0x1052), b"DS"),
    "NumberOfFrames": ((0x0028, 0x0008), b"IS"),
    "Rows": ((0x0028, 0x0010), b"US"),
    "Columns": ((0x0028, 0x0011), b"US"),
    "SamplesPerPixel": ((0x0028, 0x0002), b"US"),
    "BitsAllocated": ((0x0028, 0x0100), b"US"),
    "BitsStored": ((0x0028, 0x0101), b"US"),
    "HighBit": ((0x0028, 0x0102), b"US"),
    "PixelRepresentation": ((0x0028, 0x0103), b"US"),
}
TEXTS = [
    b"",
    b"1\0",
    *rb"""
    0 -1 1e300 nan inf -inf 1e-300 1\1 0\0 1\2\3 nan\nan\nan 1e30\0\9 1\0\0\1\0\0 0\0\0\0\0\0 \\
    1.2.840.10008.1.2.5 1.2.840.10008.1.2.2 1.2.840.10008.1.2 2147483648 99999999999999999999 1,5
    MOSAIC -0.5 3 1073741824 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    """.split(),
]
SHORTS = [struct.pack("<H", n) for n in (0, 1, 2, 3, 5, 7, 8, 16, 32, 64, 255, 32767, 65535)]
ELEMENTS: st.SearchStrategy[Mutation] = st.builds(
    partial,
    st.just(element),
    st.sampled_from(sorted(TAGS)),
    st.one_of(st.sampled_from([*TEXTS, *SHORTS]), st.binary(max_size=16)),
)


def with_syntax(image: Dataset, syntax: str) -> Dataset:
    image.compress(syntax, generate_instance_uid=False)
    return image


def series_fails(
    folder: Path,
    files: Sequence[bytes],
    mutations: Sequence[Mutation],
    *,
    every: bool,
) -> None:
    """Damages one file of a series, or all of them alike."""
    exam = folder / "exam"
    shutil.rmtree(exam, ignore_errors=True)
    exam.mkdir()
    for number, content in enumerate(files):
        bad = every or number == len(files) // 2
        (exam / f"{number}").write_bytes(damaged(content, mutations) if bad else content)

    imputes(exam, folder / "out")


@examples(40, share=2.0)
@given(mutations=some(st.one_of(ELEMENTS, ELEMENTS, BYTES)), every=st.booleans())
def test_a_damaged_dicom_series_works_or_is_refused(
    folder: Path, mutations: list[Mutation], every: bool
) -> None:
    files = [stored(instance(number)) for number in range(SLICES)]

    series_fails(folder, files, mutations, every=every)


@examples(25)
@given(mutations=some(st.one_of(ELEMENTS, BYTES)))
def test_a_damaged_multiframe_file_works_or_is_refused(
    folder: Path, mutations: list[Mutation]
) -> None:
    series_fails(folder, [stored(enhanced())], mutations, every=True)


@examples(20)
@given(mutations=some(st.one_of(ELEMENTS, BYTES)), every=st.booleans())
def test_a_damaged_run_length_encoded_series_works_or_is_refused(
    folder: Path, mutations: list[Mutation], every: bool
) -> None:
    files = [stored(with_syntax(instance(number), RLELossless)) for number in range(SLICES)]

    series_fails(folder, files, mutations, every=every)


@pytest.mark.skipif(not EXAMPLES, reason="a process for each example")
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@examples(1, share=0.05)
@given(mutations=some(st.one_of(ELEMENTS, BYTES)), every=st.booleans())
def test_a_damaged_jpeg_series_works_or_is_refused(
    folder: Path, syntax: str, mutations: list[Mutation], every: bool
) -> None:
    files = [encoded(number, syntax) for number in range(SLICES)]

    series_fails(folder, files, mutations, every=every)


@functools.cache
def encoded(number: int, syntax: str) -> bytes:
    """Returns a slice compressed by GDCM, which encodes what pydicom alone does not."""
    gdcm = pytest.importorskip("gdcm")
    source, target = Path(f"/tmp/{os.getpid()}-in"), Path(f"/tmp/{os.getpid()}-out")  # noqa: S108
    image = instance(number)
    image.Rows = image.Columns = 16  # GDCM's encoder writes past the end of the tiniest images
    image.PixelData = np.resize(VOXELS, (16, 16)).astype(np.uint16).tobytes()
    source.write_bytes(stored(image))
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(source))
    assert reader.Read()
    kind = gdcm.TransferSyntax.JPEGLSLossless
    if syntax == JPEG2000Lossless:
        kind = gdcm.TransferSyntax.JPEG2000Lossless
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutputAsPixmap())
    writer.SetFileName(str(target))
    assert writer.Write()
    content = target.read_bytes()
    assert dcmread(target).file_meta.TransferSyntaxUID == syntax
    source.unlink()
    target.unlink()
    return content


# --- zip archives ----------------------------------------------------------------------------


def archive(names: Sequence[str], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for number in range(SLICES):
            packed.writestr(names[number], stored(instance(number)))
    return buffer.getvalue()


@examples(30)
@given(
    names=st.lists(
        st.sampled_from(
            ["a", "b", "c", "d/e", "../x", "/x", "C:x", "a\\..\\b", "e" * 300, "\u00e9"]
        ),
        min_size=SLICES,
        max_size=SLICES,
        unique=True,
    ),
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
    mutations=st.lists(BYTES, max_size=3),
)
def test_a_damaged_archive_works_or_is_refused(
    folder: Path, names: list[str], compression: int, mutations: list[Mutation]
) -> None:
    path = folder / "exam.zip"
    path.write_bytes(damaged(archive(names, compression), mutations))

    imputes(path, folder / "out")


# --- checkpoints -----------------------------------------------------------------------------


def tiny(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the content of the file of a tiny model."""
    if kind == "cross-plane":
        size = {"channels": 2, "blocks": 1, "hidden": 2}
        network = build(Network(**size), seed=0)
        tensors: dict[str, Any] = {f"network.{n}": t for n, t in network.state_dict().items()}
        tensors["factor.3"] = np.ones(2, np.float32)
    else:
        size = {"patch": [3, 3, 3], "latents": 2}
        tensors = dict(models.build("ppca", size, seed=0).state_dict())
    return tensors, {"name": kind, "model": size}


def loads(path: Path, *, use: bool) -> None:
    data = VOXELS.astype(np.float32)
    volume = Volume(data, np.arange(60).reshape(SHAPE) % 3 > 0, AFFINE)
    with watched():
        imputer = load_imputer(str(path), device="cpu")
        if use:
            imputer.impute(volume, seed=0, case="x")


@examples(30)
@given(kind=st.sampled_from(["ppca", "cross-plane"]), mutations=some(BYTES))
def test_a_damaged_checkpoint_works_or_is_refused(
    folder: Path, kind: str, mutations: list[Mutation]
) -> None:
    path = folder / "model.safetensors"
    save(path, *tiny(kind))
    path.write_bytes(damaged(path.read_bytes(), mutations))

    loads(path, use=False)  # its checksum differs, or nothing but padding


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, -1, 0, 1, 2, 2**15, 2**30, 2**62, 10**400, 0.5, "", "x", [], {}]),
    st.sampled_from([[4, 4], [2**30] * 3, [0, 0, 0], [3, 3, 3.5], ["a"], {"a": {}}, [[1]]]),
    st.text(max_size=5),
)


@examples(40)
@given(
    kind=st.sampled_from(["ppca", "cross-plane"]),
    model=st.dictionaries(
        st.sampled_from(["patch", "latents", "channels", "blocks", "hidden", "x"]),
        VALUES,
        max_size=2,
    ),
    more=st.dictionaries(
        st.sampled_from(["model", "name", "kind", "format", "x"]),
        st.one_of(
            VALUES, st.sampled_from(["tae", "cross-plane-ridge", "../x", "ppca-em", "mvae"])
        ),
        max_size=1,
    ),
    names=st.lists(
        st.sampled_from(
            [
                "mu",
                "factor.3",
                "factor.x",
                "factor.-1",
                "factor.99999999",
                "network.x",
                "gap3.a",
                "",
                ".",
                "w",
            ]
        ),
        max_size=2,
    ),
    shape=st.lists(st.integers(0, 3), max_size=4),
    value=st.sampled_from([0.0, 1.0, float("nan"), 1e30]),
)
def test_a_model_that_someone_made_up_works_or_is_refused(
    folder: Path,
    kind: str,
    model: dict[str, Any],
    more: dict[str, Any],
    names: list[str],
    shape: list[int],
    value: float,
) -> None:
    path = folder / "model.safetensors"
    tensors, metadata = tiny(kind)
    tensors |= {name: torch.full(shape, value) for name in names}
    metadata["model"] |= model
    save(path, tensors, metadata | more)

    loads(path, use=True)


# --- settings and tables ---------------------------------------------------------------------

KEYS = """name seed model train lines patches train.batch train.rate train.objective train.draws
    model.patch model.latents model.channels model.x.y patches.batch"""
WORDS = """nan inf -1 0 1 1e400 2147483648 [4,4,4] {} x true 'x' 1979-05-27 [[[[ ''' 1_0 0x10"""


@examples(40, share=2.0)
@given(
    name=st.sampled_from(["ppca", "cross-plane", "cross-plane-ridge", "tae", "ppca-em", "mvae"]),
    mutations=st.lists(BYTES, max_size=3),
    assigned=st.lists(
        st.tuples(
            st.sampled_from([".", "", *KEYS.split()]),
            st.sampled_from(["", "\x00", "[1, 2]", "{a = {b = 1}}", "9" * 5000, *WORDS.split()]),
        ),
        max_size=3,
    ),
)
def test_damaged_settings_work_or_are_refused(
    folder: Path, name: str, mutations: list[Mutation], assigned: list[tuple[str, str]]
) -> None:
    path = folder / "x.toml"
    path.write_bytes(damaged(config.dump(preset(name)).encode(), mutations))

    with watched():
        chosen = config.merge(preset(name), config.read_toml(path))
        chosen = config.assign(chosen, [f"{key}={value}" for key, value in assigned])
        resolve(chosen, seed=0)


TABLE = "participant_id\tsplit\tage\nsub-1\ttrain\t30\nsub-2\tval\t40\nsub-3\ttest\tn/a\n"


@examples(40)
@given(
    mutations=some(
        st.one_of(
            BYTES,
            st.builds(
                partial,
                st.just(put),
                PLACES,
                st.sampled_from(
                    [
                        b"\t\t",
                        b"\n\n",
                        b'"',
                        b"\xef\xbb\xbf",
                        b"\0",
                        b"\r",
                        b"train",
                        b"sub-1",
                        b"\xff",
                    ]
                ),
            ),
            st.builds(
                partial,
                st.just(append),
                st.sampled_from(
                    [
                        b'"' + b"x" * 200_000,
                        b"sub-1\ttest\n",
                        b"\n" * 9,
                        b"sub-4\ttrain\ta\tb\tc\n",
                    ]
                ),
            ),
        )
    )
)
def test_a_damaged_table_of_participants_works_or_is_refused(
    folder: Path, mutations: list[Mutation]
) -> None:
    place = folder / "cohort"
    for number in (1, 2, 3):
        path = place / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (place / "participants.tsv").write_bytes(damaged(TABLE.encode(), mutations))

    with watched():
        cohort(place)


# --- the commands ----------------------------------------------------------------------------


@examples(12, share=0.5)
@given(image=IMAGES, command=st.sampled_from(["impute", "inspect", "train", "simulate"]))
def test_a_command_says_in_two_lines_what_is_wrong_with_an_image(
    folder: Path, image: tuple[bytes, list[Mutation]], command: str
) -> None:
    path, out = folder / "cli" / "x.nii", folder / "cli" / "out"
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    path.write_bytes(damaged(*image))
    words = [command, str(path), *([] if command == "inspect" else ["-o", str(out)])]
    words += {
        "impute": ["--model", "linear"],
        "train": ["--model", "cross-plane-ridge"],
        "simulate": ["--no-register", "--spacing", "8"],
    }.get(command, [])

    with watched():
        result = CliRunner().invoke(app, [*words, "--device", "cpu", "--quiet", "--no-progress"])

    event(f"{command}: exit status {result.exit_code}")
    told = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code in (0, 1), result.stderr
    assert "Traceback" not in result.stderr
    assert "unexpected" not in result.stderr
    assert result.exit_code == 0 or "hint: " in result.stderr, result.stderr
    if result.exit_code and command == "impute":
        assert [line.split(":")[0] for line in told] == ["error", "hint"], result.stderr
        assert not [p for p in out.rglob("*") if p.is_file()]
    if result.exit_code:
        assert not list(out.rglob("*.nii.gz"))
        assert not list(out.rglob("*.safetensors"))


JSON = json.dumps({"SliceThickness": 2.5, "RepetitionTime": 1.2})


@examples(25)
@given(mutations=some(BYTES), value=VALUES)
def test_a_damaged_sidecar_works_or_is_refused(
    folder: Path, mutations: list[Mutation], value: Any
) -> None:
    scan, sidecar = folder / "side.nii", folder / "side.json"
    scan.write_bytes(nifti())
    content = JSON if mutations[0].func is not append else json.dumps({"SliceThickness": value})
    sidecar.write_bytes(damaged(content.encode(), mutations[1:]))
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)

    with watched():
        impute_scan(
            Job(scan, out),
            Interpolation("linear"),
            Request(model="linear", thickness_mm="auto"),
            record=dict,
            overwrite=True,
        )


def test_a_stream_of_bytes_is_the_same_every_time() -> None:
    first, second = (numpy_stream(0, "fuzz").bytes(8) for _ in range(2))

    assert first == second
