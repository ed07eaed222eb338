"""Tests for mriimpute.methods.memory_estimate."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.errors import ResourceError
from mriimpute.methods.memory_estimate import MemoryEstimate, fitting_tile

TILED = MemoryEstimate(fixed=1000, per_voxel=10, per_tile_voxel=100)
SHAPE = (200, 180, 160)


def fit(estimate: MemoryEstimate, free: int | None, tile: int = 128) -> int:
    return fitting_tile(estimate, SHAPE, tile=tile, free=free, what="x.nii")


@pytest.mark.parametrize("wanted", [128, 64, 32, 16])
def test_the_largest_tile_that_fits_is_taken(wanted: int) -> None:
    assert fit(TILED, TILED.needed(SHAPE, wanted)) == wanted


def test_what_is_wanted_is_never_exceeded() -> None:
    assert fit(TILED, 2**50, tile=40) == 40
    assert fit(TILED, None, tile=40) == 40


@given(free=st.integers(0, 2**40), tile=st.integers(16, 512))
def test_what_is_chosen_fits_or_the_scan_is_refused(free: int, tile: int) -> None:
    try:
        chosen = fit(TILED, free, tile)
    except ResourceError:
        assert TILED.needed(SHAPE, 31) > free
    else:
        assert 16 <= chosen <= tile
        assert TILED.needed(SHAPE, chosen) <= free


def test_where_tiles_save_nothing_none_are_tried() -> None:
    whole = MemoryEstimate(fixed=0, per_voxel=10)

    with pytest.raises(
        ResourceError, match=r"x.nii: needs about 55 MiB of memory, 1 MiB are free"
    ):
        fit(whole, 2**20)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "cross-plane"])
def test_the_estimate_is_above_what_is_taken_and_not_far(name: str) -> None:
    # In a process of its own: memory once taken counts for ever after.
    code = f"""
import json, resource, sys
import numpy as np
from mriimpute.methods.registry import load_imputer
from mriimpute.volume import Volume

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

imputer = load_imputer({name!r}, device="cpu")
shape = (160, 160, 121)
data = np.random.default_rng(0).random(shape, np.float32)
observed = np.zeros(shape, bool)
observed[:, :, ::6] = True
before = peak()
imputed = imputer.impute(Volume(data, observed, np.eye(4)), seed=0, case="x")
if imputed.draw is not None:
    imputed.draw(1)
print(json.dumps([peak() - before, imputer.memory_estimate.needed(shape, 128)]))
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    taken, estimate = json.loads(done.stdout)

    assert taken < estimate < 4 * taken
