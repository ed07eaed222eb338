"""The two affines of a NIfTI header: the sform, a matrix, and the qform, a rotation.

A file holds three numbers of the qform's quaternion in single precision, and a reader computes
the fourth from them. Close to half a turn, where it is small, that turns a head by up to 0.07
degrees, which is 0.3 mm. Where the two forms would not say the same, only the sform is set.
"""

from collections.abc import Iterator
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from mriimpute.geometry import Affine, corner_distance_mm, is_invertible, skew_deg

__all__ = ["Form", "affine_by", "affine_in", "has_only_qform", "is_refused_by_itk", "set_forms"]

Form = Literal["auto", "sform", "qform"]
"""Which of the two affines of a NIfTI header is meant; "auto": the sform where its code is set."""

MAX_DISAGREEMENT_MM = 0.01
"""At any corner of the grid, between the sform and the qform that a reader gets."""

HALF_TURN = 1e-7
"""1 - b^2 - c^2 - d^2 below which nifti_clib, and so ITK, takes a rotation for half a turn."""

ITK_MAX_SKEW_DEG = 0.004
"""ITK takes an sform for a rotation up to some 0.005 degrees between its axes."""


def affine_by(form: Form, image: Any) -> Affine | None:
    """Returns the affine of a nibabel image; None where a NIfTI does not have the form asked for.

    Images of other kinds have one affine, whatever the form.
    """
    if form != "auto" and isinstance(image.header, nib.Nifti1Header):
        return affine_in(image.header, form)
    return np.asarray(image.affine, dtype=np.float64)


def affine_in(header: Any, form: Literal["sform", "qform"]) -> Affine | None:
    """Returns the affine of a form, whether its code is set or not; None where it has none."""
    try:
        return np.asarray(getattr(header, f"get_{form}")(), dtype=np.float64)
    except ValueError:  # the quaternion is longer than one, or infinite
        return None


def set_forms(header: Any, affine: Affine, *, code: int) -> None:
    """Sets the sform and, where it says the same, the qform; where not, its code is 0.

    Args:
        header: NIfTI; its shape is set.
        affine: From voxel indices to mm right, anterior, superior.
        code: What the coordinates mean.
    """
    header.set_sform(affine, code=code)
    header.set_qform(affine, code=code)  # computed in double precision; spacings and offset, too
    i, j, k = (*map(int, header.get_data_shape()[:3]), 1, 1)[:3]
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    far = max(corner_distance_mm(form, sform, (i, j, k)) for form in _qforms(header))
    if far > MAX_DISAGREEMENT_MM:
        header["qform_code"] = 0


def is_refused_by_itk(header: Any) -> bool:
    """Tells whether ITK finds no perpendicular axes in a header: no qform, and a sheared sform.

    Args:
        header: NIfTI.
    """
    if header["qform_code"] > 0 or header["sform_code"] <= 0:
        return False
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    return is_invertible(sform) and skew_deg(sform) > ITK_MAX_SKEW_DEG


def has_only_qform(header: Any) -> bool:
    """Tells whether both forms are set, but the sform is flat: all zero, say.

    Args:
        header: NIfTI.
    """
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return False
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError):  # the quaternion is longer than one, or infinite
        return False
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    is_flat = bool(np.isfinite(sform).all()) and not is_invertible(sform)
    return is_flat and is_invertible(qform)


def _qforms(header: Any) -> Iterator[Affine]:
    """Yields the qform as nibabel computes it, and as nifti_clib does."""
    yield np.asarray(header.get_qform(), dtype=np.float64)
    quaternion = np.array([0.0, *(float(header[f"quatern_{name}"]) for name in "bcd")])
    rest = 1.0 - quaternion @ quaternion
    quaternion[0] = np.sqrt(rest) if rest >= HALF_TURN else 0.0
    form = np.eye(4)
    rotation = nib.quaternions.quat2mat(quaternion)  # of any length
    form[:3, :3] = rotation * header["pixdim"][1:4] * (1.0, 1.0, float(header["pixdim"][0]))
    form[:3, 3] = [float(header[f"qoffset_{name}"]) for name in "xyz"]
    yield form
