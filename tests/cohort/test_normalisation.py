"""Tests for mriimpute.cohort.normalisation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mriimpute.cohort import normalisation
from mriimpute.errors import VolumeError
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume


def volume(data: np.ndarray, observed: np.ndarray | None = None) -> Volume:
    seen = np.ones(data.shape, bool) if observed is None else observed
    return Volume(data.astype(np.float32), seen, np.eye(4))


def head(seed: int = 0) -> np.ndarray:
    return numpy_stream(seed, "head").gamma(2.0, size=(8, 8, 8))


@given(a=st.floats(1e-3, 1e5), b=st.floats(-1e3, 1e3))
def test_gain_and_offset_of_the_scanner_do_not_matter(a: float, b: float) -> None:
    y = head()
    plain = volume(y)
    changed = volume(a * (y + b))

    first = normalisation(plain).apply(plain.data)
    second = normalisation(changed).apply(changed.data)

    assert_allclose(second, first, atol=2e-6 * (1 + abs(b)))


def test_undo_returns_the_intensities() -> None:
    scan = volume(1000 * head())
    norm = normalisation(scan)

    assert_allclose(norm.undo(norm.apply(scan.data)), scan.data, rtol=1e-6)


def test_robust_extremes_become_zero_and_one() -> None:
    scan = volume(head())
    scan.data[0, 0, 0] = 1e6  # one wild voxel

    x = normalisation(scan).apply(scan.data)

    assert_allclose(np.percentile(x, [0.5, 99.5]), [0.0, 1.0], atol=1e-5)


def test_only_observed_voxels_count() -> None:
    y = head()
    observed = numpy_stream(0, "observed").random(y.shape) < 0.5
    wild = np.where(observed, y, np.nan)

    assert normalisation(volume(wild, observed)) == normalisation(volume(y, observed))


@pytest.mark.parametrize("spike", [0.0, 5.0])
def test_constant_scan_is_not_divided_by_zero(spike: float) -> None:
    y = np.full((8, 8, 8), 3.0)
    y[0, 0, 0] += spike

    x = normalisation(volume(y)).apply(y.astype(np.float32))

    assert np.isfinite(x).all()
    assert x.max() <= 1


def test_scan_without_an_observed_voxel_is_refused() -> None:
    with pytest.raises(VolumeError, match="no voxel of the scan is observed"):
        normalisation(volume(head(), np.zeros((8, 8, 8), bool)))
