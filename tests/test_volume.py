"""Tests for mriimpute.volume."""

import dataclasses

import numpy as np
import pytest

from mriimpute.volume import Volume


def test_shape_and_spacing_are_those_of_data_and_affine() -> None:
    affine = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 1], [0, 0, 6.0, 2], [0, 0, 0, 1]])
    volume = Volume(np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), bool), affine)

    assert volume.shape == (2, 3, 4)
    assert volume.spacing_mm == (3.0, 2.0, 6.0)


def test_data_and_observed_of_two_shapes_are_refused() -> None:
    # TypeError: the shape check of the tests comes first; ValueError is what users would get.
    with pytest.raises((ValueError, TypeError)):
        Volume(np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 5), bool), np.eye(4))


def test_a_volume_cannot_be_changed() -> None:
    volume = Volume(np.zeros((2, 2, 2), np.float32), np.ones((2, 2, 2), bool), np.eye(4))

    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.affine = np.eye(4)  # type: ignore[misc]
