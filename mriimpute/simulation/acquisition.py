"""What a scanner that saves time would have measured of a head: drawn, then applied.

A box of fixed size is centred on the brain and turned about its centre; its grid has isotropic
voxels, and of its slices every n-th is kept. Two frames matter: `space` is where the box stands
unturned (the template's mm, or the scan's), `source` is the fully observed scan. The affine
`to_source` takes the one to the other, so that one interpolation leads from the source's voxels
to the turned grid.

Axes: i, j, k = voxel indices towards right, anterior, superior before the turn.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from mriimpute.errors import ConfigError
from mriimpute.geometry import Affine, centred_grid, resample, rotation, spacing_mm, transform

__all__ = [
    "PLANES",
    "Acquisition",
    "Box",
    "Grid",
    "SimulationConfig",
    "acquired_near",
    "displacement",
    "draw",
    "finest_side_mm",
    "kept",
    "measure",
    "on_grid",
    "profile",
    "skipped_affine",
]

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}

MIN_SPACING_MM = 0.1  # of a box around a head: 30 GB
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
# A float32 header moves the far corner of a box by some 1e-3 voxels; a real shift is far larger.
SAME_VOXEL = 0.01  # voxels


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """Settings of a simulation.

    Attributes:
        spacing: Side of the isotropic voxels in mm, or "source": the finest side of each scan.
        keep_every: One slice in so many is acquired.
        plane: Of the slices. "random": drawn for each scan, as in the archive of a hospital.
        angle_deg: The box is turned by up to this angle about each of its three axes.
        thickness_mm: Full width at half maximum of the Gaussian slice profile; 0: point samples.
        register: Bring each head to the template by an affine first. Otherwise it stays where it
            is, and the unturned box follows the axes of the scan.
        template: A file, or "mni152".
        space: "native": the turned grid with the skipped slices left out, as a scanner delivers
            it. "template": the unturned grid with missing voxels, as in the paper.
        box_mm: Right-left, posterior-anterior, inferior-superior. The paper's 192 x 176 x 224 is
            in FreeSurfer's order: left, inferior, anterior.
        order: Of the interpolating B-spline: 0 nearest, 1 linear, 3 cubic.
        motion: Each scan of a head is displaced by up to so many mm along each axis, and turned by
            up to as many degrees about it, and its header does not know.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, sections 4.1 and 4.4.
    """

    spacing: float | Literal["source"] = 1.0
    keep_every: int = 6
    plane: Plane | Literal["random"] = "axial"
    angle_deg: float = 15.0
    thickness_mm: float = 0.0
    register: bool = True
    template: Path | Literal["mni152"] = "mni152"
    space: Literal["native", "template"] = "native"
    box_mm: tuple[float, float, float] = (192.0, 224.0, 176.0)
    order: int = 3
    motion: float = 0.0

    def __post_init__(self) -> None:
        for valid, requirement in (
            (
                self.spacing == "source" or self.spacing >= MIN_SPACING_MM,
                f"spacing: at least {MIN_SPACING_MM:g} mm, not {self.spacing}",
            ),
            (self.keep_every >= 2, f"keep every: at least 2, not {self.keep_every}"),
            (0 <= self.angle_deg <= 180, f"angle: from 0 to 180 degrees, not {self.angle_deg}"),
            (
                0 <= self.thickness_mm <= max(self.box_mm),
                f"thickness: from 0 to {max(self.box_mm):g} mm, not {self.thickness_mm}",
            ),
            (min(self.box_mm) > 0, f"box: over 0 mm, not {self.box_mm}"),
            (0 <= self.motion <= 45, f"motion: from 0 to 45 mm and degrees, not {self.motion}"),
            (0 <= self.order <= 5, f"order: from 0 to 5, not {self.order}"),
        ):
            if not valid:
                raise ConfigError(f"a simulation needs {requirement}", hint="change the setting")
        if self.spacing != "source":
            self.require_slices(self.spacing)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that may be drawn."""
        return tuple(PLANES) if self.plane == "random" else (self.plane,)

    def require_slices(self, side_mm: float) -> None:
        """Stops where fewer than two slices would be kept.

        Raises:
            ConfigError: If so, for voxels of this side, an unlucky plane and an unlucky phase.
        """
        slices = round(min(self.box_mm[PLANES[plane]] for plane in self.planes) / side_mm)
        if slices < 2 * self.keep_every:
            raise ConfigError(
                f"one in {self.keep_every} of {slices} slices leaves fewer than two",
                hint="lower --keep-every or --spacing",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """The random part of one simulated scan.

    Attributes:
        angles_deg: About the axes of the box, first to third.
        phase: Index of the first slice that is kept.
        plane: Of the slices.
    """

    angles_deg: tuple[float, float, float]
    phase: int
    plane: Plane

    @property
    def axis(self) -> int:
        """The grid axis along which slices are skipped."""
        return PLANES[self.plane]


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Where the unturned box stands.

    Attributes:
        centre_ras: In mm of `space`.
        axes: Its unit vectors, in the columns.
    """

    centre_ras: Float64[np.ndarray, " 3"]
    axes: Float64[np.ndarray, "3 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where voxels lie.

    Attributes:
        shape: Voxels along each axis.
        affine: From voxel indices to mm of `space`.
    """

    shape: tuple[int, int, int]
    affine: Affine


def draw(config: SimulationConfig, generator: np.random.Generator) -> Acquisition:
    """Returns a random acquisition: angles, phase and, where it is random, plane are uniform."""
    i, j, k = generator.uniform(-config.angle_deg, config.angle_deg, size=3).tolist()
    phase = int(generator.integers(config.keep_every))
    # Drawn last: a scan is turned alike whether its plane is drawn or given.
    plane = config.planes[int(generator.integers(len(config.planes)))]
    return Acquisition(angles_deg=(i, j, k), phase=phase, plane=plane)


def displacement(
    config: SimulationConfig, centre_ras: Float64[np.ndarray, " 3"], generator: np.random.Generator
) -> Affine:
    """Returns how far a scan is from where its header says, in mm: a turn about a point, a shift.

    Args:
        config: Says how far at most.
        centre_ras: The point.
        generator: All randomness.
    """
    turn, shift = generator.uniform(-config.motion, config.motion, size=(2, 3))
    i, j, k = turn.tolist()
    moved = np.eye(4)
    moved[:3, :3] = rotation((i, j, k))
    moved[:3, 3] = centre_ras + shift - moved[:3, :3] @ centre_ras
    return moved


def on_grid(
    config: SimulationConfig,
    box: Box,
    *,
    side_mm: float,
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Grid:
    """Returns the grid of the box, turned about its centre.

    Args:
        config: Gives the size of the box.
        box: Where it stands.
        side_mm: Of a voxel.
        angles_deg: Of the turn about the axes of the box.
    """
    i, j, k = (max(1, round(length / side_mm)) for length in config.box_mm)
    affine = centred_grid(
        (i, j, k),
        spacing=(side_mm, side_mm, side_mm),
        centre_ras=box.centre_ras,
        axes=box.axes @ rotation(angles_deg),
    )
    return Grid((i, j, k), affine)


def profile(thickness_mm: float) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Returns offsets along the slice normal in mm, and the weights of a Gaussian slice profile.

    The tails are cut where the profile is below 0.2 % of its peak.

    Args:
        thickness_mm: Full width at half maximum; 0 gives the point sample.
    """
    if thickness_mm == 0:
        return np.zeros(1), np.ones(1)
    offsets = thickness_mm * np.arange(-6, 7) / 4
    weights = np.exp(-0.5 * (offsets * FWHM_PER_SIGMA / thickness_mm) ** 2)
    return offsets, weights / weights.sum()


def measure(
    data: Float32[np.ndarray, "i j k"],
    affine: Affine,
    grid: Grid,
    *,
    to_source: Affine,
    normal: Float64[np.ndarray, " 3"],
    thickness_mm: float = 0.0,
    order: int = 3,
) -> Float32[np.ndarray, "i2 j2 k2"]:
    """Returns what a scanner measures of the source at the voxels of `grid`.

    Each sample is one interpolation of the source. A cubic spline overshoots at edges: samples
    are clipped to the range of the source, so that intensities stay non-negative where they
    were. Outside of the source lies air: 0, or the least intensity where 0 is below it.

    Args:
        data: Of the source; finite.
        affine: From its voxel indices to its mm.
        grid: Where to measure, in mm of `space`.
        to_source: From mm of `space` to mm of the source.
        normal: Unit vector along which the profile averages, in mm of `space`.
        thickness_mm: Full width at half maximum of the profile; 0: point samples.
        order: Of the B-spline. On voxels of the source itself nothing is interpolated.
    """
    low, high = float(data.min()), float(data.max())
    total = np.zeros(grid.shape)
    for offset, weight in zip(*profile(thickness_mm), strict=True):
        shifted = grid.affine.copy()
        shifted[:3, 3] += offset * normal
        index = np.linalg.inv(affine) @ to_source @ shifted
        drift = np.abs(index - np.rint(index))[:3] @ (*grid.shape, 1)
        exact = bool((drift < SAME_VOXEL).all())
        sample = resample(
            data,
            affine,
            to_shape=grid.shape,
            to_affine=to_source @ shifted,
            order=0 if exact else order,
        )
        total += weight * np.clip(sample, low, high)
    return total.astype(np.float32)


def kept(grid: Grid, axis: int, phase: int, keep_every: int) -> tuple[slice, slice, slice]:
    """Returns the index of the acquired slices: `phase`, `phase + keep_every`, ..."""
    index = [slice(None)] * 3
    index[axis] = slice(phase, grid.shape[axis], keep_every)
    i, j, k = index
    return i, j, k


def skipped_affine(grid: Grid, axis: int, phase: int, keep_every: int) -> Affine:
    """Returns the affine of the acquired slices: slice n is slice `phase + n keep_every`."""
    affine = grid.affine.copy()
    affine[:3, 3] += phase * affine[:3, axis]
    affine[:3, axis] *= keep_every
    return affine


def acquired_near(
    common: Grid, turned: Grid, axis: int, phase: int, keep_every: int
) -> Bool[np.ndarray, "i j k"]:
    """Returns the voxels of `common` that an acquired slice of `turned` passes through.

    A slice is as thick as a voxel here: it passes through a voxel whose centre is less than half
    a voxel away from its plane, inside of its field of view.
    """
    to_turned = np.linalg.inv(turned.affine) @ common.affine
    voxels = np.moveaxis(np.indices(common.shape, dtype=np.float64), 0, -1)
    nearest = np.floor(transform(to_turned, voxels) + 0.5)
    inside = ((nearest >= 0) & (nearest < turned.shape)).all(axis=-1)
    acquired: Bool[np.ndarray, "i j k"] = (
        inside & ((nearest[..., axis] - phase) % keep_every == 0) & (nearest[..., axis] >= phase)
    )
    return acquired


def finest_side_mm(affine: Affine) -> float:
    """Returns the shortest voxel side, free of the rounding of a float32 header."""
    return round(float(spacing_mm(affine).min()), 5)
