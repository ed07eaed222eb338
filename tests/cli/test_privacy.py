"""No name of a patient in what is written or told, wherever a scanner or a clerk may put one."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from mriimpute.cli import app

NAME = b"DOE^JANE"


def header_with_names(kind: type) -> nib.Nifti1Header:
    """A header with the name in every field for text, and in an extension."""
    header = kind.header_class()
    for field, (dtype, _) in header.template_dtype.fields.items():
        if dtype.kind == "S" and dtype.itemsize >= len(NAME) and field != "magic":
            header[field] = NAME
    for code in (0, 4, 6, 44):  # unknown, AFNI, comment, MATLAB
        header.extensions.append(nib.nifti1.Nifti1Extension(code, NAME * 20))
    return header


def planted(folder: Path, name: str, kind: type) -> Path:
    """Saves a scan with the patient's name in its header and beside it."""
    data = np.random.default_rng(0).normal(500, 100, (10, 9, 4)).astype(np.float32)
    data[0, 0, 0] = np.nan  # something to warn about
    image = kind(data, np.diag([1.0, 1.0, 4.0, 1.0]), header_with_names(kind))
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / f"{name}.nii.gz")
    beside = {"PatientName": NAME.decode(), "SkullStripped": NAME.decode()}
    (folder / f"{name}.json").write_text(json.dumps(beside))
    return folder / f"{name}.nii.gz"


def everything_in(folder: Path) -> bytes:
    """The names and contents of all files, unpacked where packed."""
    content = b""
    for path in folder.rglob("*"):
        content += f"{path.relative_to(folder)}\n".encode()
        if path.is_file():
            raw = path.read_bytes()
            content += raw + (gzip.decompress(raw) if path.suffix == ".gz" else b"")
    return content


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_names_in_headers_and_sidecars_reach_no_output(kind: type, tmp_path: Path) -> None:
    tree = tmp_path / "ds"
    scan = planted(tree / "sub-01" / "anat", "sub-01_T1w", kind)
    planted(tree / "sub-02" / "anat", "sub-02_T1w", kind).write_bytes(b"damaged " + NAME)
    description = {"Name": NAME.decode(), "BIDSVersion": "1.10.0", "DatasetDOI": NAME.decode()}
    (tree / "dataset_description.json").write_text(json.dumps(description))
    (tree / "participants.tsv").write_text(f"participant_id\tname\nsub-01\t{NAME.decode()}\n")
    assert NAME in gzip.decompress(scan.read_bytes())

    words = ["impute", tree, "-o", tmp_path / "out", "--report", tmp_path / "out" / "run.json"]
    model = ["--model", "cross-plane-ridge", "--samples", "1", "-v"]
    result = CliRunner().invoke(app, [*map(str, words), *model, "--device", "cpu"])

    written = everything_in(tmp_path / "out")
    assert len(result.stdout.splitlines()) == 1, result.stderr
    assert b"desc-draw001" in written
    assert b'"failed": 1' in written
    for part in (NAME, b"DOE", b"JANE"):
        assert part not in written
        assert part not in result.stdout_bytes
        assert part not in result.stderr_bytes


def test_names_of_folders_reach_no_file(tmp_path: Path) -> None:
    ward = tmp_path / "DOE JANE"
    good = planted(ward, "a", nib.Nifti1Image)
    planted(ward, "b", nib.Nifti1Image).write_bytes(b"damaged")
    (ward / "DOE_JANE").mkdir()
    planted(ward / "DOE_JANE", "c", nib.Nifti1Image)

    words = [good, ward / "b.nii.gz", ward / "gone.nii.gz", ward / "DOE_JANE"]
    options = ["--model", "linear", "-o", tmp_path / "out", "--report", tmp_path / "run.json"]
    result = CliRunner().invoke(app, ["impute", *map(str, [*words, *options])])

    told = json.loads((tmp_path / "run.json").read_text())
    written = everything_in(tmp_path / "out") + (tmp_path / "run.json").read_bytes()
    assert told["counts"] == {"done": 2, "skipped": 0, "failed": 2, "waiting": 0}, result.stderr
    assert b"DOE" not in written
    assert b"JANE" not in written
