"""Tests for mriimpute.seeds."""

import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.seeds import fixed, numpy_stream, stream

GOLDEN = [824, 864, 887]
PURPOSES = st.lists(st.integers(0, 9) | st.text("ab/", max_size=3), max_size=3)


@given(seed=st.integers(0, 2**64), purpose=PURPOSES)
def test_same_name_same_numbers(seed: int, purpose: list[str | int]) -> None:
    first, second = (torch.rand(4, generator=stream(seed, *purpose)) for _ in range(2))

    assert torch.equal(first, second)


@given(one=PURPOSES, other=PURPOSES)
def test_another_name_gives_other_numbers(one: list[str | int], other: list[str | int]) -> None:
    a, b = numpy_stream(0, *one).random(4), numpy_stream(0, *other).random(4)

    assert np.array_equal(a, b) == (list(map(str, one)) == list(map(str, other)))


def test_another_seed_gives_other_numbers() -> None:
    assert numpy_stream(0, "a").random() != numpy_stream(1, "a").random()


def test_streams_do_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()

    torch.rand(3, generator=stream(0, "a"))
    with fixed(0, "a"):
        torch.rand(3)

    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_gives_the_same_global_numbers_each_time() -> None:
    drawn = []
    for _ in range(2):
        with fixed(3, "parameters"):
            drawn.append(torch.rand(3))
        torch.rand(1)

    assert torch.equal(drawn[0], drawn[1])


def test_streams_are_the_same_in_every_version_of_this_package() -> None:
    assert numpy_stream(0, "angle").integers(1000, size=3).tolist() == GOLDEN


def test_importing_the_module_does_not_load_torch() -> None:
    code = "import sys, mriimpute.seeds; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
