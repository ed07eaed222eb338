"""A scan in memory: its volume, and what writes results back into its own frame."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from numpy.typing import NDArray

from mriimpute.errors import GeometryError, VolumeError
from mriimpute.geometry import grids_agree, skew_deg, spacing_mm
from mriimpute.io.dicom.planes import Series
from mriimpute.io.forms import Form, affine_by, is_refused_by_itk
from mriimpute.io.image_file import open_image, read_voxels
from mriimpute.volume import Volume

__all__ = ["AS_STORED", "Scan", "to_canonical"]

log = logging.getLogger(__name__)

MIN_VOXEL_MM, MAX_VOXEL_MM, MAX_DISTANCE_MM = 1e-4, 1e4, 1e6
"""What a voxel may measure, and where it may lie: a header in metres or micrometres passes."""

AS_STORED = nib.orientations.axcodes2ornt("RAS")
"""The orientation of a scan whose volume still has the axes of the file."""


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A volume and what is needed to write results into its own frame.

    Attributes:
        path: The file or folder it was read from, or the address of a DICOM series.
        volume: Its voxels, axes towards right, anterior, superior.
        header: As stored, NIfTI-1 or 2 (that of an MGZ file or a DICOM series is translated).
        orientation: nibabel's orientation array, from stored axes to those of `volume`.
        warnings: What the user should know about this scan.
        dtype: NumPy name of the type of the stored numbers, such as "int16".
        slope: Intensity = slope * stored number + intercept.
        intercept: See `slope`.
        thickness_mm: Of a slice, where the file says so; it decides nothing by itself.
        series: The DICOM series it was read from; None for another file.
        exact: On the axes of `volume`, what single precision would change; None where it holds
            every value, as `volume` does. Too large a one is infinite there.
    """

    path: Path
    volume: Volume
    header: Any
    orientation: NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    dtype: str = "float32"
    slope: float = 1.0
    intercept: float = 0.0
    thickness_mm: float | None = None
    series: Series | None = None
    exact: Float64[np.ndarray, "i j k"] | None = None

    @property
    def values(self) -> Float[np.ndarray, "i j k"]:
        """Intensities as the file has them, on the axes of `volume`."""
        return self.volume.data if self.exact is None else self.exact

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Voxels along the axes of the file."""
        i, j, k = (self.volume.shape[int(axis)] for axis in self.orientation[:, 0])
        return i, j, k

    @property
    def stored_affine(self) -> NDArray[np.float64]:
        """The affine of the file: from its voxel indices to mm right, anterior, superior."""
        to_canonical_axes = nib.orientations.inv_ornt_aff(self.orientation, self.stored_shape)
        affine: NDArray[np.float64] = self.volume.affine @ np.linalg.inv(to_canonical_axes)
        return affine

    @property
    def axis_codes(self) -> str:
        """Where the axes of the file point, such as "LPS"."""
        return "".join(nib.orientations.aff2axcodes(self.stored_affine))

    @property
    def slice_axis(self) -> int | None:
        """The axis of `volume` along which the file says that slices lie, if it does."""
        stored = None if self.header is None else self.header.get_dim_info()[2]
        return None if stored is None else int(self.orientation[stored, 0])

    def stored_axis(self, axis: int) -> int:
        """Returns the axis of the file that lies along an axis of `volume`."""
        return int(np.flatnonzero(self.orientation[:, 0] == axis)[0])

    def as_stored(self, data: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "a b c"]:
        """Returns `data`, on the axes of `volume`, on those of the file."""
        inverse = nib.orientations.ornt_transform(AS_STORED, self.orientation)
        return np.asarray(nib.orientations.apply_orientation(data, inverse))


def to_canonical(scan: Scan, observed: Path | None, form: Form = "auto") -> Scan:
    """Returns a scan, as a file holds it, with its axes towards right, anterior, superior.

    This is the last step of reading, whatever the file is.

    Args:
        scan: Its volume on the axes of the file; a non-finite voxel counts as missing.
        observed: An image on the same grid, non-zero where the scan was acquired.
        form: Which NIfTI form gave the affine of the scan.

    Raises:
        VolumeError: If no voxel is left, or `observed` cannot be read.
        GeometryError: If no scanner has such a grid, or `observed` lies elsewhere.
    """
    path, stored = scan.path, scan.volume
    _require_plausible(stored.affine, path)
    finite = stored.observed
    if not finite.any():
        raise VolumeError(f"{path}: every voxel is NaN", hint="check how the file was exported")

    warnings = list(scan.warnings)
    missing = int((~finite).sum())
    if missing and scan.series is None:  # what is missing in a series was noted by slice
        warnings.append(f"{missing} voxels are NaN or infinite and count as missing")
    if observed is not None:
        finite = finite & _read_observed(observed, path, stored.affine, stored.shape, form)
        if not finite.any():
            raise VolumeError(
                f"{observed}: no voxel of {path} is observed", hint="mark acquired voxels with 1"
            )
    if is_refused_by_itk(scan.header):
        warnings.append(
            f"axes are {skew_deg(stored.affine):.2g} degrees off perpendicular, which tools built "
            "on ITK (ANTs, 3D Slicer, ITK-SNAP) refuse: pass --space template, or resample the "
            "results onto a straight grid for them, as with nibabel.processing.resample_to_output"
        )
    for warning in warnings:
        log.warning("%s: %s", path.name, warning)

    orientation = nib.orientations.io_orientation(stored.affine)
    exact = None if scan.exact is None else _reoriented(scan.exact, orientation)
    volume = Volume(
        data=_reoriented(stored.data, orientation),
        observed=_reoriented(finite, orientation),
        affine=stored.affine @ nib.orientations.inv_ornt_aff(orientation, stored.shape),
    )
    return replace(
        scan, volume=volume, orientation=orientation, warnings=tuple(warnings), exact=exact
    )


def _require_plausible(affine: NDArray[np.float64], path: Path) -> None:
    """Stops before numbers that no scanner writes cancel each other out further on."""
    sizes, farthest = spacing_mm(affine), float(np.abs(affine[:3, 3]).max())
    if sizes.min() < MIN_VOXEL_MM or sizes.max() > MAX_VOXEL_MM or farthest > MAX_DISTANCE_MM:
        shown = " x ".join(f"{mm:.3g}" for mm in sizes)
        raise GeometryError(
            f"{path} has voxels of {shown} mm, {farthest:.3g} mm from the origin",
            hint="repair the header, or export the scan again",
        )


def _read_observed(
    observed: Path, path: Path, affine: NDArray[np.float64], shape: tuple[int, ...], form: Form
) -> Bool[np.ndarray, "i j k"]:
    image, _ = open_image(observed)
    values = read_voxels(image, observed)
    # It may have the header of the scan, or one of a tool that wrote a single form.
    found = [
        each for each in (affine_by(form, image), affine_by("auto", image)) if each is not None
    ]
    # Tools write the same grid through quaternions or float32: equal only to some micrometres.
    close = values.shape == shape and any(
        grids_agree(each, affine, values.shape, tolerance_mm=0.02) for each in found
    )
    if not close:
        raise GeometryError(
            f"{observed} and {path} lie on different grids",
            hint="give an observed image on the grid of the scan",
        )
    marked: NDArray[np.bool_] = np.isfinite(values) & (values != 0)
    return marked


def _reoriented(
    array: Shaped[np.ndarray, "i j k"], orientation: NDArray[np.float64]
) -> Shaped[np.ndarray, "a b c"]:
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, orientation))
