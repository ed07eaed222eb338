"""Tests for mriimpute.methods.patches.layers.networks."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from mriimpute.layers.density import DiagonalGaussian
from mriimpute.methods.patches.layers.networks import (
    VoxelScale,
    fields,
    networks,
    prior_where_blind,
)

SIZES: dict[str, Any] = {"latents": 3, "hidden": 7, "levels": 2, "channels": 4}


@pytest.mark.parametrize("patch", [(8, 12), (4, 8, 12)])
@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_what_is_encoded_can_be_decoded_to_the_same_grid(
    architecture: Any, patch: tuple[int, ...], generator: torch.Generator
) -> None:
    shape = networks(architecture, patch, **SIZES)
    x = torch.rand(2, 2, *patch, generator=generator)

    q = shape.encoder(2)(x)
    loc, log_scale = shape.decoder()(q.loc, None)

    assert q.loc.shape == q.scale.shape == (2, shape.size)
    assert loc.shape == log_scale.shape == (2, 1, *patch)
    assert (log_scale == 0).all()


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_known_grids_move_the_decoder(architecture: Any, generator: torch.Generator) -> None:
    shape = networks(architecture, (8, 8), **SIZES)
    decoder = shape.decoder(2)
    z = torch.randn(1, shape.size, generator=generator)
    known = torch.rand(1, 2, 8, 8, generator=generator)

    first, second = (decoder(z, grid)[0] for grid in (known, known + 1))

    assert (first != second).all()


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_every_voxel_and_channel_reaches_the_code(
    architecture: Any, generator: torch.Generator
) -> None:
    encoder = networks(architecture, (8, 8), **SIZES).encoder(2)
    x = torch.rand(1, 2, 8, 8, generator=generator, requires_grad=True)

    (gradient,) = torch.autograd.grad(encoder(x).loc.square().sum(), x)

    assert (gradient != 0).all()


@pytest.mark.parametrize("architecture", ["dense", "conv"])
def test_code_starts_as_narrow_as_asked(architecture: Any, generator: torch.Generator) -> None:
    encoder = networks(architecture, (8, 8), **SIZES).encoder(1, scale=0.2)

    q = encoder(torch.rand(2, 1, 8, 8, generator=generator))

    assert_close(q.scale, torch.full_like(q.scale, 0.2), rtol=0.1, atol=0)


def test_fields_hide_the_unobserved_and_show_where_it_is(generator: torch.Generator) -> None:
    y = torch.rand(2, 1, 3, 4, generator=generator)
    observed = torch.rand(y.shape, generator=generator) < 0.5

    both = fields(torch.where(observed, y, torch.nan), observed)

    assert_close(both[:, :1], y * observed)
    assert_close(both[:, 1:], observed.float())


def test_only_rows_without_an_observation_become_the_prior() -> None:
    q = DiagonalGaussian(torch.full((2, 3), 5.0), torch.full((2, 3), 0.5))
    observed = torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    observed[1, 0, 0, 0] = True

    gated = prior_where_blind(q, observed)

    assert gated.loc.tolist() == [[0.0] * 3, [5.0] * 3]
    assert gated.scale.tolist() == [[1.0] * 3, [0.5] * 3]


def test_voxel_scale_starts_as_configured_and_stays_above_its_floor() -> None:
    scale = VoxelScale(0.2, 0.02)
    h = torch.tensor([-1e6, 0.0, 1e6])

    low, start, high = scale(h).tolist()

    assert 0.02 < low < 0.021
    assert abs(start - 0.2) < 0.01
    assert start < high < 20


@pytest.mark.parametrize(
    ("architecture", "patch", "changed"),
    [
        ("conv", (6, 8), {}),
        ("conv", (8,), {}),
        ("dense", (8,), {}),
        ("dense", (8, 8), {"latents": 0}),
    ],
)
def test_impossible_sizes_are_refused(
    architecture: Any, patch: tuple[int, ...], changed: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=r"must (be|have)"):
        networks(architecture, patch, **{**SIZES, **changed})
