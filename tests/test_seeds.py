"""Tests for mriimpute.seeds."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from mriimpute import seeds
from mriimpute.seeds import fixed, normals, numpy_stream, stream

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


def test_a_file_name_that_is_not_utf8_names_a_stream_and_changes_no_other() -> None:
    name = "M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller"

    assert numpy_stream(0, name).random() == 0.6172158262373801
    assert numpy_stream(0, "M\udcfcller").random() not in (
        numpy_stream(0, other).random() for other in (name, "M\udcfdller", "Mller")
    )


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


def test_normal_numbers_are_made_of_what_splitmix64_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seeds, "_digest", lambda *purpose: 0)
    known = np.array([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F], np.uint64)
    levels = known.view("<i2").astype(np.int64) + 2**15
    expected = special.ndtri((levels + 0.5) / 2**16)

    found = normals(12, 0, "a")

    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)  # scaled to unit variance


def test_normal_numbers_are_normal_and_independent() -> None:
    x = normals(2**20, 0, "a").double()

    moments = [float((x**power).mean()) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.02)
    for lag in (1, 2, 3, 4, 5, 1000):
        assert abs(float((x[lag:] * x[:-lag]).mean())) < 0.005
    assert float(x.abs().max()) < 4.5


@pytest.mark.parametrize("count", [0, 1, 4, 5, 1001])
def test_a_normal_number_depends_on_its_place_and_the_purpose_alone(count: int) -> None:
    whole = normals(1001, 0, "a", 1)

    assert torch.equal(normals(count, 0, "a", 1), whole[:count])
    assert abs(float((normals(1001, 0, "a", 2) * whole).mean())) < 0.15
    assert abs(float((normals(1001, 1, "a", 1) * whole).mean())) < 0.15


@pytest.mark.gpu
def test_normal_numbers_are_the_same_on_a_gpu() -> None:
    assert torch.equal(normals(10**6, 0, "a", device="cuda").cpu(), normals(10**6, 0, "a"))


def test_importing_the_module_does_not_load_torch() -> None:
    code = "import sys, mriimpute.seeds; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
