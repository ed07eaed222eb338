"""Tests for mriimpute.io.dicom.stack and rounding, on planes without pixels."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mriimpute.errors import GeometryError
from mriimpute.geometry import corner_distance_mm, skew_deg
from mriimpute.io.dicom.planes import Plane
from mriimpute.io.dicom.stack import LPS_TO_RAS, to_stack

ITK_DEG = 0.004

Write = Callable[[float], float]


def as_written(form: str) -> Write:
    """Returns what a header's decimal text leaves of a number."""
    return lambda value: float(form % value)


def exactly(value: float) -> float:
    return value


def stack_planes(
    angles_deg: tuple[float, float, float],
    *,
    slices: int = 20,
    step_mm: float = 7.0,
    tilt_deg: float = 0.0,
    position: Write = exactly,
    direction: Write = exactly,
) -> tuple[list[Plane], np.ndarray]:
    """Returns the images of a stack as their headers place them, and where they truly lie."""
    axes = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    lps = np.eye(4)
    lps[:3, :2] = axes[:, :2] * 0.9
    lps[:3, 2] = step_mm * (axes[:, 2] + np.tan(np.radians(tilt_deg)) * axes[:, 1])
    lps[:3, 3] = (-120.3, -130.7, -40.1)
    planes = [
        Plane(
            file=str(n),
            frame=0,
            uid=str(n),
            sop_class="",
            position=tuple(position(v) for v in (lps @ (0, 0, n, 1))[:3].tolist()),
            directions=tuple(direction(v) for v in axes[:, :2].T.ravel().tolist()),
            spacing_mm=(0.9, 0.9),
            shape=(256, 256),
            thickness_mm=step_mm,
            slope=1.0,
            intercept=0.0,
            lacks_slope=False,
            kinds=(),
            is_ours=False,
        )
        for n in range(slices)
    ]
    return planes, LPS_TO_RAS @ lps


@pytest.mark.parametrize(
    ("position", "direction", "allowed_mm"),
    [
        (as_written("%.1f"), exactly, 0.1),
        (as_written("%.1f"), as_written("%.6f"), 0.1),
        (as_written("%.2f"), as_written("%.6f"), 0.01),
        (as_written("%.6g"), as_written("%.6g"), 0.002),
        (exactly, as_written("%.4f"), 0.03),
        (exactly, as_written("%.3f"), 0.3),
        (lambda value: float(np.float32(as_written("%.1f")(value))), exactly, 0.1),
    ],
)
def test_a_shear_that_is_rounding_is_undone_close_to_the_truth(
    rng: np.random.Generator, position: Write, direction: Write, allowed_mm: float
) -> None:
    for _ in range(25):
        angles = (rng.uniform(-25, 25), rng.normal(0, 3), rng.normal(0, 3))
        slices, step_mm = int(rng.integers(3, 50)), float(rng.choice([2.0, 4.0, 7.0]))
        planes, truth = stack_planes(
            angles, slices=slices, step_mm=step_mm, position=position, direction=direction
        )

        stack = to_stack(planes, "x")

        assert skew_deg(stack.affine) < ITK_DEG
        assert len(stack.slots) == slices == stack.slots[-1] + 1
        assert corner_distance_mm(stack.affine, truth, (256, 256, slices)) < allowed_mm


@pytest.mark.parametrize("tilt_deg", [0.05, 0.3, 5.0, 20.0])
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (12.0, 3.0, 1.0)])
def test_a_tilt_that_digits_do_not_explain_stays(
    tilt_deg: float, angles: tuple[float, float, float]
) -> None:
    planes, truth = stack_planes(angles, tilt_deg=tilt_deg, position=as_written("%.6g"))

    stack = to_stack(planes, "x")

    assert skew_deg(stack.affine) == pytest.approx(tilt_deg, abs=1e-2)
    assert corner_distance_mm(stack.affine, truth, (256, 256, 20)) < 0.01
    assert stack.straightened_mm == 0


def test_a_stack_without_shear_keeps_its_affine_bit_for_bit() -> None:
    planes, truth = stack_planes((0.0, 0.0, 0.0), slices=12, step_mm=5.0)

    stack = to_stack(planes, "x")

    assert stack.straightened_mm == 0
    np.testing.assert_allclose(stack.affine, truth, rtol=0, atol=1e-12)


def test_digits_excuse_no_slice_that_lies_elsewhere() -> None:
    planes, _ = stack_planes((12.0, 0.0, 0.0), step_mm=4.0, position=as_written("%.1f"))
    elsewhere = (planes[0].position[0], planes[0].position[1], planes[0].position[2] + 1.0)
    object.__setattr__(planes[0], "position", elsewhere)

    with pytest.raises(GeometryError, match=r"unevenly spaced|shifted"):
        to_stack(planes, "x")
