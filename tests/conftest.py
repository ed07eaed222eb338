"""Shared fixtures: every random number in a test comes from `generator` or `rng`."""

import numpy as np
import pytest
import torch
from hypothesis import settings

from mriimpute.seeds import numpy_stream, stream

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("quick")


@pytest.fixture
def generator(request: pytest.FixtureRequest) -> torch.Generator:
    return stream(0, request.node.nodeid)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return numpy_stream(0, request.node.nodeid)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a GPU where there is none, so that `-m gpu` says so and does not fail."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
