"""Tests for mriimpute.methods.cross_plane.hidden_lines."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mriimpute.cohort.slices import SliceScan, acquired_slices, is_shown, resized
from mriimpute.methods.cross_plane.hidden_lines import LineConfig, draw_lines, whole_slices
from mriimpute.volume import Volume

PLAIN = LineConfig(
    edge=12, gamma=0.0, contrast=0.0, short=0.0, thick=0.0, smooth=0.0, extracted=0.0
)


def stack(rng: np.random.Generator, step: int = 3, holes: bool = False) -> Volume:
    data = rng.random((20, 16, 10)).astype(np.float32)
    observed = np.zeros(data.shape, bool)
    observed[..., ::step] = True
    if holes:
        observed[0, 0, 0] = False
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.diag([1, 2, 1, 1.0]))


def scan(rng: np.random.Generator, **changes: Any) -> SliceScan:
    """One whose pixels say where they lie."""
    slices = np.arange(3 * 20 * 16).reshape(3, 20, 16) / 1024
    facts = {"gaps": (3,), "steps": (1, 1), "pixel_mm": (1.0, 2.0), "foreground": 0.0}
    return SliceScan("a", slices.astype(np.float16), **{**facts, **changes})


def test_coarser_pixels_show_the_same_place(rng: np.random.Generator) -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 33), indexing="ij")
    fine = scan(rng, pixel_mm=(0.5, 0.5))
    ramp = np.stack([x + 2 * y]).astype(np.float16)

    coarse = resized(dataclasses.replace(fine, slices=ramp), 2.0)

    assert coarse.pixel_mm == (1.0, 1.0)
    assert coarse.slices.shape == (1, 21, 17)
    inner = coarse.slices[0, 3:-3, 3:-3].astype(np.float32)
    np.testing.assert_allclose(inner, ramp[0, ::2, ::2][3:-3, 3:-3], atol=5e-3)


def test_finer_pixels_are_interpolated_and_gaps_stay_in_mm(rng: np.random.Generator) -> None:
    smooth = np.stack([np.outer(np.sin(np.arange(21) / 4), np.cos(np.arange(17) / 3))])
    coarse = scan(rng, pixel_mm=(2.0, 2.0))
    coarse = dataclasses.replace(coarse, slices=smooth.astype(np.float16), gaps=(3, 5))

    fine = resized(coarse, 0.5)

    assert fine.pixel_mm == (1.0, 1.0)
    assert fine.gaps == (6, 10)
    assert fine.slices.shape == (1, 41, 33)
    np.testing.assert_allclose(fine.slices[:, ::2, ::2], coarse.slices, atol=2e-3)
    known = np.outer(np.sin(np.arange(41) / 8), np.cos(np.arange(33) / 6))
    np.testing.assert_allclose(fine.slices[0, 4:-4, 4:-4], known[4:-4, 4:-4], atol=5e-3)


@pytest.mark.parametrize(
    ("pixel_mm", "scale", "shown"),
    [(2.0, 0.5, True), (1.0, 0.5, False), (1.0, 1.0, True), (1.0, 2.0, True), (1.4, 2.0, False)],
)
def test_scans_are_shown_with_pixels_of_heads(
    pixel_mm: float, scale: float, shown: bool, rng: np.random.Generator
) -> None:
    large = dataclasses.replace(
        scan(rng, pixel_mm=(pixel_mm, pixel_mm)), slices=np.zeros((1, 80, 80), np.float16)
    )

    assert is_shown(large, scale) is shown


def test_an_extracted_brain_is_black_where_the_head_is_shallow(rng: np.random.Generator) -> None:
    x, y = np.meshgrid(np.arange(80) - 40, np.arange(80) - 40, indexing="ij")
    radius = np.hypot(x, y)
    head = (radius < 36).astype(np.float16) * np.float16(0.5)
    heads = dataclasses.replace(
        scan(rng, pixel_mm=(1.0, 1.0), foreground=0.1), slices=np.stack([head] * 3)
    )
    config = dataclasses.replace(PLAIN, extracted=1.0, edge=80, lines=27, foreground=0.0)

    batch = draw_lines([heads], 8, config=config, generator=rng)

    for kept, hidden in zip(batch.context, batch.target, strict=True):
        seen = np.concatenate([kept.ravel(), hidden.ravel()])
        black, white = np.unique(seen)
        assert black == 0
        assert 0.8 < white < 1.25  # scanners differ; the head was 0.5
        assert 0.05 < (seen > 0).mean() < np.pi * 34**2 / 80**2  # the head: pi 36^2


def test_slices_of_air_alone_stay_finite(rng: np.random.Generator) -> None:
    air = dataclasses.replace(scan(rng, foreground=-np.inf), slices=np.zeros((3, 20, 16), "f2"))
    config = dataclasses.replace(PLAIN, extracted=1.0)

    assert np.isfinite(draw_lines([air], 8, config=config, generator=rng).context).all()


def test_slices_with_holes_are_left_out(rng: np.random.Generator) -> None:
    slices = acquired_slices(stack(rng, holes=True), "a")

    assert slices is not None
    assert slices.slices.shape == (3, 20, 16)
    assert slices.gaps == (3,)
    assert slices.pixel_mm == (1.0, 2.0)
    assert slices.cosines == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def test_a_pixel_a_million_times_as_bright_as_the_head_stays_finite(
    rng: np.random.Generator,
) -> None:
    volume = stack(rng)
    volume.data[3, 3, 3] = 1e6

    slices = acquired_slices(volume, "a")

    assert slices is not None
    assert np.isfinite(slices.slices).all()


def test_a_pattern_that_is_no_stack_has_no_slices(rng: np.random.Generator) -> None:
    data = rng.random((6, 6, 6)).astype(np.float32)

    assert acquired_slices(Volume(data, rng.random(data.shape) < 0.5, np.eye(4)), "a") is None


def test_crops_lie_inside_one_slice_as_they_were_acquired(rng: np.random.Generator) -> None:
    one = scan(rng)

    lines = draw_lines([one], 8, config=PLAIN, generator=rng)

    for kept, along in zip(lines.context, lines.along_mm, strict=True):
        gain = float(np.exp(0.2))
        ratio = np.abs(np.diff(kept, axis=1)).mean() / np.abs(np.diff(kept, axis=0)).mean()
        across = 16.0 if along == 2.0 else 1 / 16  # how intensities grow along x and y
        assert ratio == pytest.approx(1 / (across * lines.gap), rel=0.1)
        assert kept.max() <= gain * float(one.slices.max())


def test_same_stream_draws_the_same_crops(rng: np.random.Generator) -> None:
    scans = [scan(rng), scan(rng, gaps=(2,))]

    first, second = (
        draw_lines(scans, 6, config=LineConfig(), generator=np.random.default_rng(4))
        for _ in range(2)
    )

    assert first.gap == second.gap
    assert_array_equal(first.context, second.context)
    assert_array_equal(first.target, second.target)


def test_rows_of_a_batch_are_those_of_the_whole_batch(rng: np.random.Generator) -> None:
    scans = [scan(rng), dataclasses.replace(scan(rng, pixel_mm=(1.0, 1.0)), name="b")]
    config = LineConfig(smooth=0.5, contrast=0.5)

    whole, first, second = (
        draw_lines(scans, 7, config=config, generator=np.random.default_rng(4), rows=rows)
        for rows in (slice(0, 7), slice(0, 3), slice(3, 7))
    )

    assert whole.gap == first.gap == second.gap
    assert whole.names == first.names + second.names
    for name in ("context", "target", "gap_mm", "along_mm", "thickness", "directions"):
        parts = [getattr(lines, name) for lines in (first, second)]
        assert_array_equal(np.concatenate(parts), getattr(whole, name))


def test_scans_learn_about_their_own_gap_and_about_others(rng: np.random.Generator) -> None:
    config = LineConfig(gaps=(2, 5), own_gap=0.5, edge=12)

    gaps = {draw_lines([scan(rng)], 2, config=config, generator=rng).gap for _ in range(40)}

    assert gaps == {2, 3, 5}


def test_a_gap_wider_than_the_slices_is_never_drawn(rng: np.random.Generator) -> None:
    config = LineConfig(gaps=(2, 12), gap_mm=(9.0, 12.0), own_gap=0.0)

    gaps = {draw_lines([scan(rng)], 2, config=config, generator=rng).gap for _ in range(20)}

    assert gaps == {2}


def test_conditions_follow_the_direction(rng: np.random.Generator) -> None:
    both = whole_slices([scan(rng)], 3, 2, generator=rng)

    assert [float(lines.gap_mm[0]) for lines in both] == [3.0, 6.0]
    assert [float(lines.along_mm[0]) for lines in both] == [2.0, 1.0]
    assert [lines.context.shape[2] for lines in both] == [16, 20]


@pytest.mark.parametrize("count", [4, 6])
def test_of_many_scans_those_from_all_over_the_list_are_looked_at_both_ways(
    count: int, rng: np.random.Generator
) -> None:
    scans = [dataclasses.replace(scan(rng), name=str(number)) for number in range(count)]

    whole = whole_slices(scans, 3, 4, generator=rng)

    wanted = {4: ["0", "1", "2", "3"], 6: ["0", "1", "3", "4"]}
    assert [lines.names[0] for lines in whole] == wanted[count]
    assert [float(lines.gap_mm[0]) for lines in whole] == [3.0, 6.0, 3.0, 6.0]


@pytest.mark.parametrize("turn", [False, True])
def test_lines_take_no_other_direction_than_their_scan_allows(
    rng: np.random.Generator, turn: bool
) -> None:
    one = scan(rng, directions=(turn,))

    drawn = draw_lines([one], 20, config=PLAIN, generator=rng)
    whole = whole_slices([one], 3, 4, generator=rng)

    along_mm = 1.0 if turn else 2.0
    assert set(drawn.along_mm.tolist()) == {along_mm}
    assert {float(lines.along_mm[0]) for lines in whole} == {along_mm}
    assert len(whole) == 4


@pytest.mark.parametrize("turn", [False, True])
def test_lines_say_which_way_they_run_through_the_head(
    turn: bool, rng: np.random.Generator
) -> None:
    x, y = (1.0, 0.0, 0.0), (0.0, 0.25, 0.75)
    one = scan(rng, directions=(turn,), cosines=(x, y))

    drawn = draw_lines([one], 4, config=PLAIN, generator=rng)

    gap_then_lines = y + x if turn else x + y
    assert drawn.directions.tolist() == [list(gap_then_lines)] * 4
    assert_allclose(drawn.conditions()[0, :6], 3 * np.array(gap_then_lines) - 1)


def test_scans_of_one_and_of_two_directions_share_a_batch(rng: np.random.Generator) -> None:
    scans = [scan(rng), dataclasses.replace(scan(rng, directions=(False,)), name="b")]

    drawn = [draw_lines(scans, 8, config=PLAIN, generator=rng) for _ in range(5)]

    found = {pair for x in drawn for pair in zip(x.names, x.along_mm.tolist(), strict=True)}
    assert found == {("a", 1.0), ("a", 2.0), ("b", 2.0)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gaps": (1, 2)}, "gaps must be at least 2"),
        ({"edge": 4}, "edge must be at least 8"),
        ({"lines": 1}, "lines must be at least 2"),
        ({"gap_mm": (9.0, 3.0)}, "gap_mm must be the least and the greatest gap"),
        ({"scales": (0.0,)}, "scales must be above 0"),
        ({"own_gap": 1.5}, "own_gap must be in 0 to 1"),
        ({"gamma": -1.0}, "gamma must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LineConfig(**changes)
