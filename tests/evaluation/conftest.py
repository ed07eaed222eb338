"""A simulation folder: smooth heads on an oblique grid, every third slice in the cohort."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.geometry import rotation
from mriimpute.seeds import numpy_stream

SHAPE = (16, 15, 14)
EVERY, PHASE = 3, 1
FACE = 5000.0
FACE_AT = (slice(6, 9), slice(13, 15), slice(2, 9))  # in front of the brain, outside of it

WriteSubject = Callable[..., None]


def affine_of(*, shift_mm: float = 0.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 2.0 * rotation((8.0, -5.0, 12.0))
    affine[:3, 3] = (-15.0 + shift_mm, 3.0, 7.0)
    return affine


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns intensities, with a bright face, and the brain."""
    rng = numpy_stream(seed, "test head")
    i, j, k = (np.linspace(-1, 1, n).reshape(np.roll((-1, 1, 1), a)) for a, n in enumerate(SHAPE))
    a, b, c = rng.uniform(2, 5, 3)
    data = 400 + 100 * np.sin(a * i + b * k) + 80 * np.cos(c * j - 3 * k * k)
    brain = i**2 + (1.3 * j) ** 2 + k**2 < 0.8
    data[FACE_AT] = FACE
    return data.astype(np.float32), brain


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)


@pytest.fixture
def sim(tmp_path: Path) -> Path:
    """One test subject and one to train on, whose truth is no image."""
    sim = tmp_path / "sim"
    write_sim(sim, {"sub-1": "train", "sub-2": "test"})
    return sim


@pytest.fixture
def write() -> WriteSubject:
    """Writes a simulation: `write(folder, {"sub-1": "test"}, shift_mm=0.0)`."""
    return write_sim


def write_sim(sim: Path, split: dict[str, str], *, shift_mm: float = 0.0) -> None:
    for number, (subject, part) in enumerate(split.items()):
        data, brain = head(number)
        sparse = affine_of(shift_mm=shift_mm)
        sparse[:3, 3] += PHASE * sparse[:3, 2]
        sparse[:3, 2] *= EVERY
        save(
            sim / "cohort" / subject / "anat" / f"{subject}_T1w.nii.gz",
            data[:, :, PHASE::EVERY],
            sparse,
        )
        folder = sim / "truth" / subject / "anat"
        truth, mask = folder / f"{subject}_T1w.nii.gz", f"{subject}_desc-brain_mask.nii.gz"
        save(truth, data, affine_of())
        save(folder / mask, brain.astype(np.uint8), affine_of())
        if part != "test":
            truth.write_bytes(b"opening this is cheating")
    rows = "\n".join(f"{subject}\t{part}" for subject, part in split.items())
    for table in (sim / "participants.tsv", sim / "cohort" / "participants.tsv"):
        table.write_text(f"participant_id\tsplit\n{rows}\n")
