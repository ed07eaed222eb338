"""Tests for mriimpute.methods.patches.hidden."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mriimpute.cohort import Patches
from mriimpute.methods.patches.hidden import HiddenConfig, with_hidden
from mriimpute.seeds import numpy_stream

NOTHING: dict[str, float] = {"lines": 0.0, "voxels": 0.0, "slices": 0.0}


def patches(grid: tuple[int, ...], *, gap: int = 1, count: int = 40, own: int = 3) -> Patches:
    """Patches of which every gap-th voxel along the last axis was observed."""
    observed = np.zeros((count, 1, *grid), bool)
    observed[..., ::gap] = True
    y = np.where(observed, np.float32(0.5), np.float32(np.nan))
    return Patches(y, observed, ("a",) * count, (own,) * count)


def hidden(those: Patches, **settings: Any) -> np.ndarray:
    config = HiddenConfig(**{**NOTHING, **settings})
    found = with_hidden(those, config, lambda row: numpy_stream(0, "hidden", row)).shown
    assert found is not None
    return found[:, 0]


def test_what_is_shown_was_observed_and_is_never_nothing() -> None:
    for grid, gap in (((12, 12), 1), ((12, 12), 3), ((9, 12, 12), 4)):
        those = patches(grid, gap=gap)

        shown = hidden(those, lines=0.4, voxels=0.3, slices=0.2)

        assert not (shown & ~those.observed[:, 0]).any()
        assert shown.reshape(len(shown), -1).any(axis=1).all()
        assert (shown != those.observed[:, 0]).any()


def test_a_slice_with_hidden_lines_looks_like_a_plane_across_the_slices() -> None:
    shown = hidden(patches((12, 12), own=4), lines=1.0, own_gap=1.0)

    for one in shown:
        stack = one if one.any(axis=0).all() else one.T
        lines = stack.all(axis=1)
        assert_array_equal(stack.any(axis=1), lines)
        assert_array_equal(np.diff(np.flatnonzero(lines)), 4)
    phases = {tuple(np.flatnonzero(one.any(axis=axis))) for one in shown for axis in (0, 1)}
    assert len(phases) > 4  # all phases along both axes


def test_gaps_of_others_are_drawn_too() -> None:
    shown = hidden(patches((12, 12), own=3), lines=1.0, own_gap=0.0, gaps=(2, 5))

    steps = {int(np.diff(np.flatnonzero(one.any(axis=axis))).max()) for one in shown for axis in
             (0, 1)}  # fmt: skip
    assert steps == {1, 2, 5}


def test_every_second_slice_is_hidden_and_the_others_stay_whole() -> None:
    those = patches((6, 7, 12), gap=3)

    shown = hidden(those, slices=1.0)

    for one in shown:
        rows = np.flatnonzero(one.any(axis=(0, 1)))
        assert one[..., rows].all()
        assert rows.tolist() in ([0, 6], [3, 9])


def test_lines_of_a_stack_are_hidden_inside_its_slices() -> None:
    shown = hidden(patches((8, 8, 9), gap=3), lines=1.0, own_gap=1.0)

    for one in shown:
        assert_array_equal(one.any(axis=(0, 1)), [True, False, False] * 3)
        assert one.sum() < 3 * 64


def test_nothing_is_hidden_from_the_rest() -> None:
    those = patches((8, 8, 9), gap=3)

    assert_array_equal(hidden(those), those.observed[:, 0])
    shares = hidden(those, lines=0.5) == those.observed[:, 0]
    assert 8 < shares.all(axis=(1, 2, 3)).sum() < 32


def test_shown_voxels_are_as_many_as_asked_for() -> None:
    shown = hidden(patches((40, 40)), voxels=1.0, shown=(0.2, 0.3))

    assert (np.abs(shown.mean(axis=(1, 2)) - 0.25) < 0.09).all()


def test_row_decides_what_is_hidden_whatever_the_batch() -> None:
    config, those = HiddenConfig(), patches((12, 12))
    whole = with_hidden(those, config, lambda row: numpy_stream(0, "x", row)).shown
    part = Patches(those.y[3:], those.observed[3:], those.names[3:], those.gaps[3:])

    rest = with_hidden(part, config, lambda row: numpy_stream(0, "x", 3 + row)).shown

    assert whole is not None
    assert rest is not None
    assert_array_equal(rest, whole[3:])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lines": 1.2}, "lines must be in 0 to 1"),
        ({"lines": 0.8, "voxels": 0.3}, "must add up to 1 at most"),
        ({"gaps": (1, 3)}, "gaps must be at least 2"),
        ({"shown": (0.5, 0.2)}, "shown must increase"),
    ],
)
def test_error_names_the_setting_that_is_wrong(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HiddenConfig(**wrong)
