"""Tests for mriimpute.layers.blocks."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from mriimpute.layers.blocks import Decoder, Encoder, ObservedResidual
from mriimpute.layers.pyramid import pyramid

assert_same = partial(assert_close, rtol=0, atol=0)


def randomised(layer: nn.Module, generator: torch.Generator) -> Any:
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return layer


@pytest.mark.parametrize("axes", [2, 3])
def test_encoder_says_nothing_where_nothing_was_seen(
    axes: int, generator: torch.Generator
) -> None:
    encoder = randomised(Encoder(axes, (3, 5)), generator)
    y = torch.randn(1, 1, *(32,) * axes, generator=generator)
    observed = torch.zeros(1, 1, *(32,) * axes, dtype=torch.bool)
    observed[(0, 0, *(0,) * axes)] = True

    h, covered = encoder(y, observed)

    assert h.shape == (1, 5, *(8,) * axes)
    assert covered.any()
    assert not covered.all()
    assert (h.masked_select(~covered) == 0).all()


def test_residual_block_starts_as_its_skip_connection(generator: torch.Generator) -> None:
    block = ObservedResidual(2, 3, axes=2)
    x = torch.randn(1, 2, 6, 6, generator=generator)
    observed = torch.rand(1, 1, 6, 6, generator=generator) < 0.5
    (windows,) = pyramid(observed, levels=1, steps=2)

    y = block(x, windows)

    skip = functional.conv2d(x, block.skip.weight, block.skip.bias).relu()
    assert_close(y, torch.where(observed, skip, 0.0))


@pytest.mark.parametrize("axes", [2, 3])
def test_decoder_doubles_the_grid_at_every_level(axes: int, generator: torch.Generator) -> None:
    decoder = Decoder(axes, 5, (2, 3))
    h = torch.randn(2, 5, *(3,) * axes, generator=generator)

    assert decoder(h).shape == (2, 1, *(12,) * axes)
