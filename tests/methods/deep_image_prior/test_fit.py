"""Tests for mriimpute.methods.deep_image_prior.fit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.errors import TrainingError
from mriimpute.methods.deep_image_prior.fit import (
    HOPELESS,
    PriorConfig,
    Restored,
    deep_image_prior,
)

assert_same = partial(assert_close, rtol=0, atol=0)
TINY = PriorConfig(steps=12, levels=2, channels=4, latents=2, hold_out=0.0)


def wave(*grid: int) -> Tensor:
    axes = [torch.linspace(0, 1, size) for size in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).sum(0).mul(3).sin()[None, None]


def sparse(generator: torch.Generator, *grid: int) -> tuple[Tensor, Tensor]:
    observed = torch.rand(1, 1, *grid, generator=generator) < 0.5
    return torch.where(observed, wave(*grid), torch.nan), observed


def restore(y: Tensor, observed: Tensor, config: PriorConfig = TINY, *, seed: int = 0) -> Restored:
    return deep_image_prior(y, observed, config=config, seed=seed)


def test_observed_entries_are_reproduced_better_with_more_steps(
    generator: torch.Generator,
) -> None:
    y, observed = sparse(generator, 16, 16)
    config = replace(TINY, rate=1e-2, average=0.5)

    errors = [
        (restore(y, observed, replace(config, steps=steps)).image - y)[observed].square().mean()
        for steps in (10, 60, 300)
    ]

    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_smooth_image_is_restored_where_it_was_not_observed(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 16, 16)
    config = replace(TINY, steps=300, rate=1e-2, average=0.9)

    image = restore(y, observed, config).image

    missed = (image - wave(16, 16))[~observed].square().mean()
    assert missed < 0.1 * wave(16, 16).var()


@pytest.mark.parametrize("hold_out", [0.0, 0.3])
def test_unobserved_values_change_no_bit(hold_out: float, generator: torch.Generator) -> None:
    y, observed = sparse(generator, 10, 12)
    config = replace(TINY, hold_out=hold_out)

    first = restore(y, observed, config)
    second = restore(torch.where(observed, y, 1e6), observed, config)

    assert_same(second.image, first.image)
    assert second.losses == first.losses
    assert second.held_out_losses == first.held_out_losses


def test_held_out_entries_never_enter_the_fit(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 8, 8)
    config = replace(TINY, hold_out=0.3, rate=1e-2, patience=100)
    one_step = replace(config, steps=1)
    first = restore(y, observed, one_step)
    held_out = torch.zeros_like(observed)
    for at in observed.nonzero():  # an entry that does not change the loss is not fitted to
        changed = y.index_put(tuple(at), torch.tensor(9.0))
        held_out[tuple(at)] = restore(changed, observed, one_step).losses == first.losses

    plain = restore(y, observed, config)
    swapped = restore(torch.where(held_out, 9.0, y), observed, config)

    assert 0.1 < held_out.sum() / observed.sum() < 0.5
    assert swapped.losses == plain.losses  # of the parameters at each step, hence those are equal
    assert swapped.held_out_losses != plain.held_out_losses


def test_best_average_on_held_out_entries_is_returned(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 16, 16)
    noise = torch.randn(y.shape, generator=generator)
    how = {"steps": 200, "rate": 3e-2, "average": 0.5, "patience": 30}
    config = replace(TINY, hold_out=0.3, **how)

    result = restore(y + noise, observed, config)  # so that fitting on must end badly

    losses = result.held_out_losses
    assert result.stopped_at == 1 + losses.index(min(losses))
    assert len(losses) == len(result.losses) == result.stopped_at + 30


def test_nothing_is_decided_before_the_least_number_of_steps(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 16, 16)
    noise = torch.randn(y.shape, generator=generator)
    config = replace(TINY, hold_out=0.3, steps=80, rate=3e-2, average=0.5, patience=1)

    early = restore(y + noise, observed, config)
    late = restore(y + noise, observed, replace(config, least=70))

    assert len(early.losses) < 70 <= len(late.losses)
    assert min(late.held_out_losses) <= min(early.held_out_losses)


def test_decoder_that_explains_nothing_ends_early_and_says_so(generator: torch.Generator) -> None:
    """White noise: what is held out has nothing to do with what is seen."""
    y, observed = sparse(generator, 16, 16)
    config = replace(TINY, hold_out=0.3, steps=60, rate=1e-2, average=0.5, least=20)

    noise = restore(
        torch.where(observed, torch.randn(y.shape, generator=generator), torch.nan),
        observed,
        config,
    )
    image = restore(y, observed, replace(config, least=50))

    assert noise.missed > HOPELESS > image.missed > 0
    assert len(noise.losses) == 20
    assert restore(y, observed).missed == 0  # nothing is held out


def test_one_seed_gives_one_image(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 8, 8)

    first, again, other = (restore(y, observed, seed=seed).image for seed in (3, 3, 4))

    assert_same(again, first)
    assert not torch.equal(other, first)


def test_global_generator_is_left_alone(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 8, 8)
    before = torch.get_rng_state()

    restore(y, observed)

    assert_same(torch.get_rng_state(), before)


@pytest.mark.parametrize("grid", [(7, 9), (8, 8), (5, 6, 7)])
def test_image_has_the_grid_it_came_with(
    grid: tuple[int, ...], generator: torch.Generator
) -> None:
    y, observed = sparse(generator, *grid)

    result = restore(y, observed, replace(TINY, steps=60, rate=1e-2, average=0.0))

    assert result.image.shape == y.shape
    assert result.image.isfinite().all()
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert result.stopped_at == 60


def test_average_without_weight_on_the_past_is_the_last_output(
    generator: torch.Generator,
) -> None:
    """The losses are those of the outputs, so the next one is that of the image returned."""
    y, observed = sparse(generator, 8, 8)
    config = replace(TINY, average=0.0, jitter=0.0)

    shorter = restore(y, observed, replace(config, steps=7))
    longer = restore(y, observed, replace(config, steps=9))

    loss = (shorter.image - y)[observed].square().mean()
    assert_close(loss, torch.tensor(longer.losses[6]), rtol=1e-5, atol=0)


def test_precision_of_the_image_is_kept(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 8, 8)

    assert restore(y.double(), observed).image.dtype == torch.float64


def test_loss_that_is_not_finite_stops_the_fit(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 8, 8)

    with pytest.raises(TrainingError, match="step 1"):
        restore(torch.where(observed, torch.inf, y), observed)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"average": 1.0}, {"hold_out": -0.1}, {"least": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PriorConfig(**wrong)
