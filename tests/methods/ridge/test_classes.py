"""Tests for mriimpute.methods.ridge.classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mriimpute.methods.ridge.classes import Structure, pooled, shares_of, spread_out

STRUCTURE = Structure(12, (0.4, 0.7), (0.05, 0.1, 0.2))


def membership(u: np.ndarray, structure: Structure = STRUCTURE) -> np.ndarray:
    """Returns the share of every window (m) in every class and pool (k)."""
    table = np.zeros((u.shape[0] * u.shape[1], structure.classes + len(structure.pools)))
    for share in shares_of(u.astype(np.float32), structure):
        np.add.at(table, (share.where, share.kind), share.weight)
    return table


def windows(rng: np.random.Generator, size: float = 0.2) -> np.ndarray:
    return rng.normal(0, size, (1, 400, 4, 9)).astype(np.float32)


@pytest.mark.parametrize("structure", [STRUCTURE, Structure(1, (), ()), Structure(3, (0.5,), ())])
@pytest.mark.parametrize("size", [0.3, 0.05, 0.008, 1e-6])
def test_shares_of_a_window_add_up_to_one(
    structure: Structure, size: float, rng: np.random.Generator
) -> None:
    table = membership(windows(rng, size), structure)

    assert_allclose(table.sum(axis=1), 1, atol=1e-5)
    assert (table >= 0).all()


@pytest.mark.parametrize("size", [0.3, 0.05, 0.008, 1e-6])
def test_a_change_in_the_last_digits_changes_shares_by_little(
    size: float, rng: np.random.Generator
) -> None:
    u = windows(rng, size)
    u[:, ::2] = np.round(u[:, ::2] / size) * size  # ties, as in whole numbers

    before, after = membership(u), membership(u + rng.normal(0, 1e-7, u.shape))

    assert np.abs(after - before).max() < 0.01


def test_most_windows_belong_to_one_class_and_blank_ones_to_none(rng: np.random.Generator) -> None:
    table = membership(windows(rng))

    assert ((table > 0.999).sum(axis=1) == 1).mean() > 0.5
    assert (membership(np.zeros((1, 3, 4, 9)))[:, -1] == 1).all()


def test_pools_are_means_of_their_classes_and_give_back_what_they_got() -> None:
    structure = Structure(2, (), (0.1,))  # pools: strengths 0 and 1, then blank
    values = np.array([[1.0, 10.0, 3.0, 30.0]])

    with_pools = pooled(values, np.zeros(4), structure)

    assert_allclose(with_pools, [[1, 10, 3, 30, 2, 20, 2]])
    sums = spread_out(np.array([1.0, 0, 0, 0, 4, 6, 2]), structure, axis=0)
    assert_allclose(sums, [1 + 2 + 1, 3, 2 + 1, 3])
