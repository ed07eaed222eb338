"""Tests for mriimpute.data.foreground."""

import numpy as np

from mriimpute.data.foreground import foreground_level


def test_level_lies_between_air_and_dark_tissue(rng: np.random.Generator) -> None:
    air, dark, bright = (rng.normal(m, 0.02, 1000) for m in (0.03, 0.35, 0.8))

    level = foreground_level(np.concatenate([air, dark, bright]).astype(np.float32))

    assert np.quantile(air, 0.99) < level < dark.min()


def test_where_all_is_alike_all_is_head() -> None:
    assert foreground_level(np.full(10, 0.4, np.float32)) < 0.4
