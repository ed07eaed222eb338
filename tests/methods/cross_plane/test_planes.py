"""Tests for mriimpute.methods.cross_plane.planes."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from mriimpute.geometry import rotation
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.conditioning import Directions
from mriimpute.methods.cross_plane.planes import _complete, crossing

STEPS_MM = np.diag([2.0, 1.0, 1.5])


class LineBefore(LinePredictor):
    """Says of each hidden pixel what the line before it says, and notes what it was asked.

    The brighter, the less sure; each of the four planes has a level of its own.
    """

    def __init__(self, variances: tuple[float, ...] = (1.0,) * 4) -> None:
        object.__setattr__(self, "asked", [])  # it is frozen
        object.__setattr__(self, "fast", None)
        object.__setattr__(self, "variances", variances)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def plane(
        self,
        lines: Tensor,
        gap: int,
        *,
        across_mm: float,
        along_mm: float,
        directions: Directions,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        assert across_mm == STEPS_MM[0, 0]
        variance = self.variances[len(self.asked)]
        self.asked.append((lines.shape, along_mm, directions))
        mean = lines[:, None, :-1].repeat_interleave(gap - 1, dim=1)
        return mean, variance * mean.square() + 1e-3


@pytest.mark.parametrize("shape", [(4, 9, 9), (3, 12, 7), (5, 6, 13)])
@pytest.mark.parametrize("every", [1, 4])
def test_every_pixel_comes_back_to_its_place(
    shape: tuple[int, int, int], every: int, rng: np.random.Generator
) -> None:
    slices = rng.random(shape, dtype=np.float32)

    mean, *_ = crossing(slices, 3, STEPS_MM, LineBefore(), every=every)

    wanted = np.repeat(slices[:-1, None, ::every, ::every], 2, axis=1)
    assert_allclose(mean, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("every", [1, 4])
def test_variance_keeps_the_level_of_straight_planes_where_diagonals_differ_in_theirs_alone(
    every: int, rng: np.random.Generator
) -> None:
    slices = np.full((4, 12, 12), 0.5, np.float32)

    _, *plain, _ = crossing(slices, 3, STEPS_MM, LineBefore(), every=every)
    _, *other, _ = crossing(slices, 3, STEPS_MM, LineBefore((1.0, 1.0, 9.0, 4.0)), every=every)

    for one, two in zip(plain, other, strict=True):
        assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize("every", [1, 4])
def test_variance_is_larger_where_diagonals_are_less_sure(every: int) -> None:
    slices = np.full((4, 16, 16), 0.2, np.float32)
    slices[:, 8:] = 0.8
    places = np.arange(0, 16, every)
    dark, bright = places < 6, places > 9  # all neighbours are of the same half
    straight, diagonal = LineBefore((0.0,) * 4), LineBefore((0.0, 0.0, 1.0, 1.0))

    _, flat, _, _ = crossing(slices, 3, STEPS_MM, straight, every=every)
    _, moved, _, _ = crossing(slices, 3, STEPS_MM, diagonal, every=every)

    ratio = (moved / flat).numpy()
    less, more = (ratio[:, :, half].mean() for half in (dark, bright))
    assert_allclose(ratio[:, :, dark], less, rtol=1e-4)
    assert_allclose(ratio[:, :, bright], more, rtol=1e-4)
    assert more / less == pytest.approx(((0.8**2 + 1e-3) / (0.2**2 + 1e-3)) ** 0.5, rel=1e-4)


def test_diagonals_are_told_the_length_of_their_pixels(rng: np.random.Generator) -> None:
    predictor = LineBefore()

    crossing(rng.random((3, 8, 8), dtype=np.float32), 2, STEPS_MM, predictor)

    assert [along for _, along, _ in predictor.asked] == pytest.approx(
        [1.0, 1.5, 3.25**0.5, 3.25**0.5]
    )


def test_planes_are_told_which_way_gap_and_lines_run(rng: np.random.Generator) -> None:
    predictor = LineBefore()
    turned = STEPS_MM @ rotation((0.0, 0.0, 90.0)).T  # R becomes A

    crossing(rng.random((3, 8, 8), dtype=np.float32), 2, turned, predictor)

    gap, x, y = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    diagonal = (1 / 3.25, 0.0, 2.25 / 3.25)
    told = [directions for *_, directions in predictor.asked]
    for way, lines in zip(told, (x, y, diagonal, diagonal), strict=True):
        assert way == pytest.approx(gap + lines, abs=1e-12)


def test_diagonals_have_few_more_pixels_than_the_slices(rng: np.random.Generator) -> None:
    predictor = LineBefore()

    crossing(rng.random((3, 40, 50), dtype=np.float32), 2, STEPS_MM, predictor)

    pixels = [np.prod(shape) for shape, *_ in predictor.asked]
    assert pixels[:2] == [3 * 40 * 50] * 2
    assert max(pixels[2:]) <= 3 * (40 + 8) * 50 / 2


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (1, 1, 1, 4), (2, 1, 1, 1)])
def test_what_a_diagonal_says_is_completed_as_by_a_loop(
    shape: tuple[int, ...], white: bool, rng: np.random.Generator
) -> None:
    m, t, x, y = shape
    said, linear, straight = rng.random((3, *shape), dtype=np.float32)
    inside = rng.random(shape) < 0.7
    known = (np.add.outer(np.arange(x), np.arange(y)) % 2 == 0) == white
    wanted = said.copy()
    for k in range(t):
        fitted = known & inside[:, k]
        departs, base = (a[:, k] - linear[:, k] for a in (said, straight))
        energy = float(np.sum(base[fitted] ** 2))
        fraction = float(np.sum((departs * base)[fitted])) / energy if energy else 0
        base = linear[:, k] + fraction * base
        for n, i, j in np.ndindex(m, x, y):
            around = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
            there = [(a, b) for a, b in around if 0 <= a < x and 0 <= b < y]
            if not known[i, j]:
                rest = [said[n, k, a, b] - base[n, a, b] for a, b in there]
                wanted[n, k, i, j] = base[n, i, j] + (np.mean(rest) if rest else 0)

    completed = np.where(known, said, np.float32(np.nan))
    _complete(*map(torch.from_numpy, (completed, known, linear, straight, inside)))

    assert_allclose(completed, wanted, atol=1e-5)
    assert np.array_equal(completed[..., known], said[..., known])
