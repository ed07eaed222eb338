"""Tests for mriimpute.device."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mriimpute.device import choose_device, is_device, on_device
from mriimpute.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """As many CUDA devices of 139 GiB as the test is parametrised with."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(total_memory=139 * 2**30),
    )


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("gpus", "name", "chosen", "said"),
    [
        (0, "auto", "cpu", "device: cpu ("),
        (0, "cpu", "cpu", ""),
        (2, "cpu", "cpu", ""),
        (1, "auto", "cuda:0", "device: cuda:0 (GPU 0, 139 GiB)"),
        (2, "cuda", "cuda:0", "device: cuda:0 (GPU 0, 139 GiB)"),
        (2, "cuda:1", "cuda:1", ""),
    ],
    indirect=["gpus"],
)
def test_the_choice_is_made_and_said(
    name: str, chosen: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        device = choose_device(name)

    assert device == chosen
    assert len(caplog.messages) == (1 if said else 0)
    assert said in caplog.text


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("gpus", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")], indirect=["gpus"]
)
def test_a_cuda_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not there"):
        choose_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cpu:0", "mps"])
def test_other_names_are_no_devices(name: str) -> None:
    assert not is_device(name)
    with pytest.raises(ValueError, match="device must be"):
        choose_device(name)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[::-1],
        lambda x: x.transpose(2, 0, 1)[:, ::-1],
        lambda x: np.asfortranarray(x)[..., ::-2],
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: x[:0],
    ],
    ids=["plain", "flipped", "turned", "fortran", "read only", "empty"],
)
def test_every_array_becomes_a_tensor(view, rng: np.random.Generator) -> None:  # noqa: ANN001
    array = view(rng.random((3, 4, 5), np.float32))

    tensor = on_device(array, "cpu")

    assert np.array_equal(tensor.numpy(), array)
