"""A cohort of tiny sparse scans, and settings with which training takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mriimpute.checkpoint import save
from mriimpute.methods.cross_plane.loss import Config, build
from mriimpute.seeds import numpy_stream

Settings = dict[str, Any]
Package = Callable[..., Path]


def write_scan(path: Path, seed: int) -> None:
    """Writes smooth blobs, slices three voxels apart along k."""
    generator = numpy_stream(seed, "scan")
    coarse = generator.random((5, 5, 3))
    data = 400 * np.kron(coarse, np.ones((3, 3, 2))) + 5 * generator.standard_normal((15, 15, 6))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0])), path)


@pytest.fixture
def sim(tmp_path: Path) -> Path:
    """What simulate writes: sparse scans of four subjects, and truth that nobody may open."""
    root = tmp_path / "sim"
    rows = ["participant_id\tsplit"]
    for n, split in enumerate(["train", "train", "val", "test"]):
        rows.append(f"sub-{n}\t{split}")
        write_scan(root / "cohort" / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz", n)
        truth = root / "truth" / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz"
        truth.parent.mkdir(parents=True)
        truth.write_text("whoever opens this fails")
    (root / "cohort" / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "cohort" / "sub-3" / "anat" / "sub-3_T1w.nii.gz").write_text("a test scan")
    return root


@pytest.fixture
def settings() -> Settings:
    return {
        "name": "ppca",
        "model": {"patch": [4, 4, 4], "latents": 3},
        "train": {
            "objective": "evidence",
            "patches": 80,
            "batch": 4,
            "rate": 0.01,
            "report": 20,
            "val_patches": 8,
        },
    }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Puts weights of a tiny network into the package; as they begin, they interpolate."""

    def arrange(*, seed: int = 7, channels: int = 4) -> Path:
        size = {"channels": channels, "blocks": 1, "hidden": channels}
        network = build(Config(**size), seed=seed)
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"factor.{gap}": np.full(gap - 1, 1.5, np.float32) for gap in (2, 5)}
        path = tmp_path / "weights" / f"{seed}.safetensors"
        save(path, tensors, {"name": "cross-plane", "model": size})
        monkeypatch.setattr("mriimpute.methods.cross_plane.weights.shipped", lambda name: path)
        return path

    return arrange


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the next run wish to stop after so many steps, as Ctrl-C would."""

    def arrange(steps: int, *, interrupted: bool = True) -> None:
        left = iter([False] * (steps - 1) + [True])

        def wanted(stop: Any) -> bool:
            wish = next(left, True)
            stop.interrupted = wish and interrupted
            return wish

        monkeypatch.setattr("mriimpute.train.stop.Stop.wanted", property(wanted))

    return arrange
