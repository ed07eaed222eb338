"""A small cohort of made-up brains, for whoever has no scan at hand.

Each is the MNI template (it comes with the package, skull-stripped: there is no face) under a
random smooth deformation, a random contrast, a random bias field and Rician noise. Nobody's
anatomy is in it, and figures measured on it say nothing about real heads.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage

from mriimpute import __version__
from mriimpute.errors import OutputError
from mriimpute.files import foreign, is_occupied, read_json, write_json
from mriimpute.geometry import centred_grid, rotation, spacing_mm, transform
from mriimpute.io import write_grid
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream
from mriimpute.simulation.template import Template, load_template, mni152

__all__ = ["STAGES", "DemoConfig", "DemoFolder", "make_brain", "make_cohort"]

STAGES = {
    "make": "full",
    "simulate": "sim",
    "train": "run",
    "impute": "imputed",
    "evaluate": "report",
}
"""What the demo does, in order, and the folder that each stage fills."""

Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """What made-up brains look like.

    Attributes:
        subjects: How many.
        spacing_mm: Between voxel centres.
        shape: Voxels.
        warp_mm: Standard deviation of the displacement of a point.
        warp_scale_mm: Distance over which displacements are alike.
        scale: Standard deviation of the size along each axis, as a share.
        turn_deg: Standard deviation of the turn about each axis.
        gamma: Contrast exponents are drawn between 1/gamma and gamma.
        noise: Standard deviation of the noise, as a share of the brightest tissue.
    """

    subjects: int = 25
    spacing_mm: float = 2.0
    shape: tuple[int, int, int] = (84, 102, 84)
    warp_mm: float = 3.0
    warp_scale_mm: float = 14.0
    scale: float = 0.04
    turn_deg: float = 3.0
    gamma: float = 1.4
    noise: float = 0.02


class DemoFolder:
    """The folder of one demo, which goes on where it was stopped.

    `demo.json` in it says what the demo was begun with and which stages are finished.

    Args:
        path: The folder.
        settings: What the demo is made with: plain values.
        overwrite: Begin anew where the folder holds a demo.

    Raises:
        OutputError: If the folder holds something else, a finished demo, or one that was begun
            with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        self.path = path
        self.record = path / "demo.json"
        self.settings = {"version": __version__, **settings}
        self.finished: list[str] = []
        if not self.record.is_file():
            if is_occupied(path):
                raise foreign(path, "demo")
        elif overwrite:
            for folder in STAGES.values():
                shutil.rmtree(path / folder, ignore_errors=True)
        else:
            self._go_on(read_json(self.record))
        self._write()

    def left(self) -> list[str]:
        """Returns the stages that are still to be done, in order."""
        return [name for name in STAGES if name not in self.finished]

    def finish(self, stage: str) -> None:
        """Notes that a stage is done."""
        self.finished.append(stage)
        self._write()

    def _go_on(self, before: Mapping[str, Any]) -> None:
        if before.get("settings") != self.settings:
            raise OutputError(
                f"{self.path} holds a demo that was begun with {before.get('settings')}, "
                f"not {self.settings}",
                hint="choose another folder with -o, or pass --overwrite to begin anew",
            )
        self.finished = [name for name in STAGES if name in before.get("finished", [])]
        if not self.left():
            raise OutputError(
                f"{self.path} holds a finished demo", hint="pass --overwrite to do it again"
            )

    def _write(self) -> None:
        write_json(self.record, {"settings": self.settings, "finished": self.finished})


def make_cohort(folder: Path, config: DemoConfig, *, seed: int, track: Track) -> Path:
    """Writes a BIDS tree of fully observed, made-up brains and returns it.

    A brain that is there is kept: `folder` must be that of a call with the same arguments.
    """
    template = load_template(mni152())
    names = [f"sub-{number:02d}" for number in range(1, config.subjects + 1)]
    description = {"Name": "Made-up brains", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_json(folder / "dataset_description.json", description)
    for name in track(names, total=len(names), label="made-up brains"):
        anat = folder / name / "anat"
        if (anat / f"{name}_T1w.nii.gz").is_file():  # written last
            continue
        data, brain, affine = make_brain(template, config, seed=seed, name=name)
        write_grid(anat / f"{name}_desc-brain_mask.nii.gz", brain, affine, frame="mni152")
        write_grid(anat / f"{name}_T1w.nii.gz", data, affine, frame="mni152")
    return folder


def make_brain(
    template: Template, config: DemoConfig, *, seed: int, name: str
) -> tuple[Image, np.ndarray, Float64[np.ndarray, "4 4"]]:
    """Returns a made-up brain, its mask (uint8) and the affine of both."""
    generator = numpy_stream(seed, "demo", name)
    affine = centred_grid(
        config.shape,
        spacing=(config.spacing_mm,) * 3,
        centre_ras=template.centre_ras,
        axes=np.eye(3),
    )
    points = _displaced(affine, config, template.centre_ras, generator)
    index = np.moveaxis(transform(np.linalg.inv(template.affine), points), -1, 0)
    # Averaged to the new voxel size first: point samples of a finer image would alias.
    width = 0.4 * config.spacing_mm / spacing_mm(template.affine)
    blurred = ndimage.gaussian_filter(template.data, width, output=np.float32)

    head = ndimage.map_coordinates(blurred, index, order=1, output=np.float32)
    brain = ndimage.map_coordinates(template.brain.astype(np.float32), index, order=1) > 0.5
    return _photographed(head, brain, config, generator), brain.astype(np.uint8), affine


def _displaced(
    affine: Float64[np.ndarray, "4 4"],
    config: DemoConfig,
    centre_ras: Float64[np.ndarray, " 3"],
    generator: np.random.Generator,
) -> Float64[np.ndarray, "i j k 3"]:
    """Returns where in the template each voxel lies, in mm."""
    points = transform(affine, np.moveaxis(np.indices(config.shape), 0, -1).astype(np.float64))
    turn = rotation(tuple(generator.normal(0, config.turn_deg, 3).tolist()))
    stretch = np.exp(generator.normal(0, config.scale, 3))
    points = (points - centre_ras) @ (turn * stretch).T + centre_ras

    smooth = [_smooth(config, config.warp_scale_mm, generator) for _ in range(3)]
    return points + config.warp_mm * np.stack(smooth, axis=-1)


def _photographed(
    head: Image, brain: np.ndarray, config: DemoConfig, generator: np.random.Generator
) -> Image:
    """Returns the head in a random contrast, unevenly lit and noisy."""
    share = np.clip(head / np.percentile(head[brain], 99.5), 0, None)
    share **= config.gamma ** generator.uniform(-1, 1)
    share *= np.exp(0.1 * _smooth(config, 60.0, generator))
    real = share + generator.normal(0, config.noise, config.shape)
    imaginary = generator.normal(0, config.noise, config.shape)
    return (1000 * np.hypot(real, imaginary)).astype(np.float32)


def _smooth(
    config: DemoConfig, scale_mm: float, generator: np.random.Generator
) -> Float64[np.ndarray, "i j k"]:
    """Returns a random field of unit variance that varies over `scale_mm`."""
    width = scale_mm / config.spacing_mm
    field = ndimage.gaussian_filter(generator.standard_normal(config.shape), width, mode="wrap")
    return field / field.std()
