"""Tests for mriimpute.doctor.numerics: that each way of computing wrongly is noticed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mriimpute.doctor import Check, numerics
from mriimpute.doctor.check import at_most
from mriimpute.doctor.numerics import numeric_checks

Conv = Callable[..., Tensor]


def verdicts() -> dict[str, str]:
    return {check.name.removesuffix(", cpu"): check.verdict for check in numeric_checks("cpu")}


def failed() -> set[str]:
    return {name for name, verdict in verdicts().items() if verdict == "fail"}


def test_a_sound_machine_passes() -> None:
    found = verdicts()

    assert set(found.values()) == {"ok", "skipped"}
    assert [name for name, verdict in found.items() if verdict == "skipped"] == [
        "float16 convolution 2D",
        "bfloat16 convolution 3D",
    ]


@pytest.mark.gpu
def test_a_sound_gpu_passes() -> None:
    found = {check.name: check.verdict for check in numeric_checks("cuda:0")}

    assert set(found.values()) == {"ok"}, found


def last_border_wrong(conv: Conv) -> Conv:
    def wrong(x: Tensor, *args: Tensor, **kwargs: int) -> Tensor:
        y = conv(x, *args, **kwargs)
        y[-1, ..., -1] = 0
        return y

    return wrong


def rounded_to_half(conv: Conv) -> Conv:
    return lambda x, *args, **kwargs: conv(x.bfloat16().float(), *args, **kwargs)


def no_number(conv: Conv) -> Conv:
    return lambda *args, **kwargs: conv(*args, **kwargs) * torch.nan


@pytest.mark.parametrize("sabotage", [last_border_wrong, rounded_to_half, no_number])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_wrong_convolution_is_caught(
    sabotage: Callable[[Conv], Conv], axes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"conv{axes}d"
    monkeypatch.setattr(functional, name, sabotage(getattr(functional, name)))

    found = failed()

    assert {f"convolution {axes}D, {layout}" for layout in ("rows", "channels last")} <= found
    assert not any(f"{5 - axes}D" in name for name in found)


def test_a_kernel_that_is_wrong_for_one_layout_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = functional.conv2d

    def wrong(x: Tensor, *args: Tensor, **kwargs: int) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        return conv(x, *args, **kwargs) * (1.01 if last else 1)

    monkeypatch.setattr(functional, "conv2d", wrong)

    assert failed() == {"convolution 2D, channels last"}


def test_a_kernel_that_is_wrong_for_one_image_alone_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conv = functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda x, *a, **k: conv(x, *a, **k) + (len(x) == 1))

    assert failed() == {"one image alone, 2D"}


def test_results_that_change_from_run_to_run_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, calls = functional.conv2d, iter(range(100))
    monkeypatch.setattr(
        functional, "conv2d", lambda x, *a, **k: conv(x, *a, **k) * (1 + 1e-6 * next(calls))
    )

    assert "same result twice, 2D" in failed()


def test_a_wrong_instance_norm_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = functional.instance_norm
    monkeypatch.setattr(functional, "instance_norm", lambda x: norm(x).roll(1, dims=0))

    assert failed() == {"instance norm 3D, channels last"}


def test_a_wrong_matrix_product_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Tensor.__matmul__
    monkeypatch.setattr(Tensor, "__matmul__", lambda a, b: product(a.bfloat16().float(), b))

    assert failed() == {"matrix product"}


@pytest.mark.parametrize("name", ["exp", "tanh", "rsqrt"])
def test_a_function_that_yields_nan_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, name, lambda x: torch.full_like(x, torch.nan))

    assert numerics._functions("cpu").verdict == "fail"


def test_not_a_number_is_never_within_a_limit() -> None:
    assert at_most("x", np.nan, 1.0).verdict == "fail"
    assert at_most("x", 1.0, 1.0) == Check("x", "ok", 1.0, 1.0, "share of the largest")
