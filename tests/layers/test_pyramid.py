"""Tests for mriimpute.layers.pyramid."""

from functools import partial

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from mriimpute.layers.pyramid import pool, pyramid, window

assert_same = partial(assert_close, rtol=0, atol=0)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_ratio_is_kernel_over_observed_neighbours(
    axes: int, kernel: int, stride: int, generator: torch.Generator
) -> None:
    observed = torch.rand(2, 1, *(7,) * axes, generator=generator) < 0.2
    padded = functional.pad(observed, (kernel // 2,) * 2 * axes)
    for axis in range(2, 2 + axes):
        padded = padded.unfold(axis, kernel, stride)
    count = padded.flatten(-axes).sum(-1)

    seen = window(observed, kernel=kernel, stride=stride)

    assert_same(seen.covered, count > 0)
    expected = torch.where(count > 0, kernel**axes / count.clamp(min=1), 0.0)
    assert_close(seen.ratio, expected, rtol=1e-7, atol=0)


def test_full_window_has_a_ratio_of_exactly_one() -> None:
    seen = window(torch.ones(1, 1, 9, 9, 9, dtype=torch.bool), kernel=5)

    assert (seen.ratio[..., 2:-2, 2:-2, 2:-2] == 1).all()


def test_each_window_starts_where_the_one_before_it_ended(generator: torch.Generator) -> None:
    observed = torch.rand(1, 1, 16, 16, generator=generator) < 0.02

    levels = pyramid(observed, levels=3, steps=2)

    assert [[tuple(w.covered.shape[2:]) for w in row] for row in levels] == [
        [(size, size)] * 2 for size in (16, 8, 4)
    ]
    before = observed
    for row in levels:
        for seen in row:
            assert_same(seen.observed, before)
            before = seen.covered
        before = pool(before)


def test_what_is_observed_stays_covered(generator: torch.Generator) -> None:
    observed = torch.rand(1, 1, 8, 8, 8, generator=generator) < 0.1

    (row,) = pyramid(observed, levels=1, steps=3)

    for seen in row:
        assert (seen.covered | ~seen.observed).all()
    assert row[-1].covered.sum() > row[0].covered.sum()
