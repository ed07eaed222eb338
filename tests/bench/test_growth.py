"""Tests for mriimpute.bench.growth, phantom and timing."""

import math
import os
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.bench import timing as timing_module
from mriimpute.bench.growth import Growth, Point, power_law, scaled
from mriimpute.bench.phantom import GAP, sparse_head, target_shape, write_head
from mriimpute.bench.timing import Memory, Timing, in_subprocess, resident_bytes, timed
from mriimpute.cohort.target_grid import to_target_grid
from mriimpute.errors import ResourceError
from mriimpute.geometry import find_stack
from mriimpute.io import read_scan

StartProcess = Callable[..., BaseProcess]

SIZES = [1.0, 3.0, 10.0, 40.0]


@given(exponent=st.floats(-2, 3), factor=st.floats(1e-3, 1e3))
def test_a_power_law_is_found_again(exponent: float, factor: float) -> None:
    law = power_law(SIZES, [factor * size**exponent for size in SIZES])

    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.error < 1e-6


def test_the_standard_error_is_that_of_a_regression(rng: np.random.Generator) -> None:
    sizes = np.exp(rng.uniform(0, 4, 6))
    costs = sizes**1.5 * np.exp(0.1 * rng.standard_normal(6))

    law = power_law(sizes.tolist(), costs.tolist())

    (slope, _), covariance = np.polyfit(np.log(sizes), np.log(costs), 1, cov=True)
    assert law.exponent == pytest.approx(slope)
    assert law.error == pytest.approx(math.sqrt(covariance[0, 0]))


def test_two_points_say_nothing_about_the_error() -> None:
    assert math.isnan(power_law([1.0, 2.0], [1.0, 2.0]).error)
    with pytest.raises(ValueError, match="sizes must differ"):
        power_law([2.0, 2.0], [1.0, 2.0])


def test_memory_grows_beyond_what_was_there_before() -> None:
    points = [Point(n, n, Memory(peak=1000 + int(n**2), before=1000)) for n in SIZES]

    curve = Growth("draws", "draws", tuple(points))

    assert curve.memory.exponent == pytest.approx(2)
    assert curve.time.exponent == pytest.approx(1)


def test_where_a_gpu_computes_its_memory_counts() -> None:
    point = Point(1.0, 1.0, Memory(peak=5000, before=1000, gpu_peak=7))

    assert Growth("draws", "draws", (point, point)).bytes_of(point) == 7


def test_a_grid_is_scaled_to_a_share_of_its_voxels() -> None:
    shape = scaled((192, 176, 224), 0.35)

    assert np.prod(shape) / np.prod((192, 176, 224)) == pytest.approx(0.35, rel=0.02)


@given(seconds=st.lists(st.floats(0.1, 10), min_size=1, max_size=7))
def test_the_median_lies_between_the_quartiles(seconds: list[float]) -> None:
    timing = Timing.of(seconds, per=2.0)

    assert timing.low <= timing.median <= timing.high
    assert timing.median == pytest.approx(float(np.median(seconds)) / 2)
    assert timing.repeats == len(seconds)


def test_repetitions_end_with_the_budget_but_there_is_always_one() -> None:
    calls: list[int] = []

    timing = timed(lambda: calls.append(1), repeats=9, warm_up=2, budget=0.0)

    assert (timing.repeats, len(calls)) == (1, 3)


def test_the_device_is_waited_for_before_and_after_each_repetition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(timing_module, "synchronizer", lambda device: lambda: calls.append(device))

    timed(lambda: calls.append("work"), repeats=2, device="cuda:0", warm_up=0)

    assert calls == ["cuda:0", "work", "cuda:0"] * 2


def test_memory_of_a_child_is_not_that_of_its_parent() -> None:
    mine = np.ones(300 * 2**17)  # 300 MiB that the child must not be charged with

    peak = in_subprocess(partial(resident_bytes, peak=True))

    assert mine.all()
    assert 0 < peak < resident_bytes() - 200 * 2**20


def test_the_peak_outlives_what_was_held(start_process: StartProcess, tmp_path: Path) -> None:
    """In a process of its own: this one may have memory left over from other tests."""
    code = """
import numpy as np
from mriimpute.bench.timing import Memory, resident_bytes
before = resident_bytes()
block = np.ones(300 * 2**17)
during = resident_bytes()
del block
memory = Memory.since(before, "cpu")
assert memory.peak >= during - 2**20, memory  # the kernel counts in batches of pages
assert memory.work > 250 * 2**20, memory
"""
    process = start_process(code, tmp_path / "said.txt")
    process.join(60)

    assert process.exitcode == 0, (tmp_path / "said.txt").read_text()


@pytest.mark.usefixtures("quick_processes")
def test_a_measurement_that_is_killed_is_told() -> None:
    with pytest.raises(ResourceError, match="the process that measured _exit was ended"):
        in_subprocess(partial(os._exit, 3))


def test_the_head_begins_and_ends_with_an_acquired_slice() -> None:
    volume = sparse_head((16, 14, 20))

    stack = find_stack(volume.observed)

    assert stack is not None
    assert set(stack.gaps) == {GAP}
    assert (stack.positions[0], stack.positions[-1]) == (0, volume.shape[2] - 1)
    assert volume.shape == target_shape((16, 14, 20)) == (16, 14, 19)


def test_the_file_of_a_head_is_imputed_onto_its_grid(tmp_path: Path) -> None:
    path = tmp_path / "head.nii.gz"

    write_head(path, (16, 14, 19))

    volume = to_target_grid(read_scan(path)).volume
    expected = sparse_head((16, 14, 19))
    np.testing.assert_array_equal(volume.data, expected.data)
    np.testing.assert_array_equal(volume.observed, expected.observed)
