"""Tests for mriimpute.layers.noise."""

import pytest
import torch

from mriimpute.layers.noise import BatchRows, white
from mriimpute.seeds import stream


@pytest.mark.parametrize(("draws", "times"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_rows_get_the_noise_of_the_whole_batch(draws: int, times: int) -> None:
    like = torch.zeros(1)
    joint = stream(0, "joint")
    whole = [white((draws, times * 5, 2, 3), joint, like=like) for _ in range(2)]

    for rows in (slice(0, 3), slice(3, 5)):
        share = BatchRows(stream(0, "joint"), rows, 5)
        own = rows.stop - rows.start
        for joint_noise in whole:
            noise = white((draws, times * own, 2, 3), share, like=like)
            expected = joint_noise.unflatten(1, (times, 5))[:, :, rows].flatten(1, 2)
            assert torch.equal(noise, expected)


def test_making_a_share_draws_nothing() -> None:
    generator = stream(0, "joint")

    BatchRows(generator, slice(0, 2), 4)

    assert torch.equal(
        torch.randn(3, generator=generator), torch.randn(3, generator=stream(0, "joint"))
    )
