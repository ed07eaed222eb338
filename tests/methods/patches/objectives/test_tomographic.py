"""Tests for mriimpute.methods.patches.objectives.tomographic."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from mriimpute.methods.patches.models.tae import Config, Tae
from mriimpute.methods.patches.objectives.tomographic import Terms, negative_tomographic, terms
from mriimpute.seeds import fixed, stream

assert_near = partial(assert_close, rtol=1e-9, atol=1e-9)
assert_same = partial(assert_close, rtol=0, atol=0, equal_nan=True)
GRID = (4, 8)
LETTERS = ("e", "p", "k", "hx", "r", "q")
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"hidden": 6, "latents": 3, "prior_hidden": 5, "prior_latents": 2},
    "dense known noise": {"hidden": 6, "latents": 3, "learn_noise": False},
    "conv skip": {"architecture": "conv", "levels": 2, "channels": 3, "latents": 2, "skip": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def built(kind: str, **settings: Any) -> Tae:
    """A model whose parameters are not where they started."""
    with fixed(0, "parameters"):
        model = Config(patch=GRID, **{**KINDS[kind], **settings}).build().double()
    generator = stream(0, "parameters of a test")
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def sparse(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    y = torch.rand(3, 1, *GRID, generator=generator, dtype=torch.float64)
    observed = torch.rand(y.shape, generator=generator) < 0.5
    return torch.where(observed, y, torch.nan), observed


@every_kind
def test_terms_are_the_formulas_voxel_by_voxel(kind: str, generator: torch.Generator) -> None:
    model = built(kind)
    y, observed = sparse(generator)

    t = terms(model, y, observed, draws=2, generator=stream(0, "z"))

    for row in range(3):
        expected = naive(model, y, observed, row)
        for letter, value in expected.items():
            assert_near(getattr(t, letter)[row], value, msg=letter)


def naive(model: Tae, y: Tensor, observed: Tensor, row: int) -> dict[str, Tensor]:
    """The terms of one row, by loops over draws and voxels and torch's own densities."""
    draws = stream(0, "z")
    q1 = model.posterior(y, observed)
    z = q1.sample(2, draws)
    q2 = model.clean(z, y, observed)
    x = q2.loc + q2.scale * torch.randn(q2.loc.shape, generator=draws, dtype=torch.float64)
    beta = model.noise_level(z, y, observed, draws)
    q3 = model.prior_posterior(x.flatten(0, 1))
    p = model.prior(q3.sample(1, draws))
    r4 = model.origin(x, y, observed)

    sums = {letter: torch.zeros((), dtype=torch.float64) for letter in LETTERS}
    for s in range(2):
        n = s * 3 + row
        for voxel in range(y[row].numel()):
            value = x[s, row].flatten()[voxel]
            if observed[row].flatten()[voxel]:
                sums["e"] += Normal(value, beta[s, row]).log_prob(y[row].flatten()[voxel])
            own = Normal(p.loc[0, n].flatten()[voxel], p.scale[0, n].flatten()[voxel])
            sums["p"] += own.log_prob(value)
            sums["hx"] += Normal(value, q2.scale[s, row].flatten()[voxel]).entropy()
        standard = Normal(torch.zeros(()).double(), torch.ones(()).double())
        sums["k"] += kl_divergence(Normal(q3.loc[n], q3.scale[n]), standard).sum()
        sums["r"] += Normal(r4.loc[n], r4.scale[n]).log_prob(z[s, row]).sum()
        sums["q"] += Normal(q1.loc[row], q1.scale[row]).log_prob(z[s, row]).sum()  # type: ignore[attr-defined]
    hz = Normal(q1.loc[row], q1.scale[row]).entropy().sum()  # type: ignore[attr-defined]
    return {letter: total / 2 for letter, total in sums.items()} | {"hz": hz}


@pytest.mark.parametrize(("weight", "gamma"), [(0.0, 0.01), (0.5, 0.505), (1.0, 1.0)])
def test_objective_is_the_sum_of_algorithm_1(
    weight: float, gamma: float, generator: torch.Generator
) -> None:
    model = built("dense", strength=3.0, localisation=7.0)
    y, observed = sparse(generator)

    loss = negative_tomographic(model, y, observed, weight=weight, generator=stream(0, "z"))

    t = terms(model, y, observed, draws=1, generator=stream(0, "z"))
    penalty = 3.0 * torch.stack([abs(r - q - 7.0) for r, q in zip(t.r, t.q, strict=True)])
    assert_near(loss, -(t.e + gamma * (t.p - t.k + t.hx) + t.hz - penalty))


def test_too_much_localisation_costs_as_much_as_too_little(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plain brackets, as the paper prints them, R above C would be a reward without end."""
    model = built("dense", strength=2.0, localisation=10.0)
    y, observed = sparse(generator)
    zero = torch.zeros(3, dtype=torch.float64)

    def loss(r: float) -> Tensor:
        made = Terms(zero, zero, zero, zero, zero, zero + r, zero)
        monkeypatch.setattr(
            "mriimpute.methods.patches.objectives.tomographic.terms", lambda *a, **k: made
        )
        return negative_tomographic(model, y, observed, weight=1.0, generator=generator)

    assert_near(loss(13.0), loss(7.0))
    assert_near(loss(10.0), zero)
    assert (loss(1e6) > 1e6).all()


def test_unobserved_values_reach_neither_loss_nor_gradient(generator: torch.Generator) -> None:
    for kind in KINDS:
        model = built(kind)
        y, observed = sparse(generator)
        observed[0] = False

        def run(y: Tensor, model: Tae = model, observed: Tensor = observed) -> list[Tensor]:
            loss = negative_tomographic(
                model, y, observed, weight=0.5, generator=stream(0, "z"), draws=2
            )
            learnt = [p for p in model.parameters() if p.requires_grad]
            return [loss, *torch.autograd.grad(loss.sum(), learnt)]

        swapped = run(torch.where(observed, y, torch.nan))

        assert_same(swapped, run(torch.where(observed, y, 3.0)))
        assert all(part.isfinite().all() for part in swapped)


@every_kind
def test_every_network_learns(kind: str, generator: torch.Generator) -> None:
    model = built(kind)
    y, observed = sparse(generator)

    negative_tomographic(model, y, observed, weight=0.5, generator=generator).sum().backward()

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert (parameter.grad != 0).any(), name


def test_stretching_the_latent_space_gains_entropy_and_nothing_else(
    generator: torch.Generator,
) -> None:
    """Why the scale of q1 has an upper bound: without it the objective would have none."""
    q1 = Normal(torch.zeros(3), torch.ones(3))
    r4 = Normal(torch.zeros(3), 0.5 * torch.ones(3))
    z = 0.3 * torch.ones(3)

    stretched = [Normal(2 * p.loc, 2 * p.scale) for p in (q1, r4)]

    before = (r4.log_prob(z) - q1.log_prob(z)).sum()
    after = (stretched[1].log_prob(2 * z) - stretched[0].log_prob(2 * z)).sum()
    assert_close(after, before)
    assert stretched[0].entropy().sum() > q1.entropy().sum() + 2
    model = built("dense")
    for parameter in model.encoder.log_scale.parameters():
        parameter.data.fill_(1e6)
    assert (model.posterior(*sparse(generator)).scale <= 2.72).all()  # type: ignore[attr-defined]


def test_learnt_noise_level_is_drawn_anew_for_each_draw_and_known_one_is_not(
    generator: torch.Generator,
) -> None:
    y, observed = sparse(generator)
    z = torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
    learnt, known = (
        built("dense", sigma=0.2),
        Config(patch=GRID, hidden=4, latents=3, sigma=0.2, learn_noise=False).build().double(),
    )

    drawn = learnt.noise_level(z, y, observed, generator)

    assert (drawn > 0.02).all()
    assert (drawn.std(0) > 0).all()
    assert_close(
        known.noise_level(z, y, observed, generator),
        torch.full((50, 3), 0.2, dtype=torch.float64),
        rtol=1e-6,
        atol=0,
    )


def test_learnt_noise_level_finds_the_noise(generator: torch.Generator) -> None:
    """With q2 held at the truth, the noise level that explains y best is that of y."""
    model = built("dense", sigma=0.3)
    x = torch.rand(64, 1, *GRID, generator=generator, dtype=torch.float64)
    y = x + 0.08 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    observed = torch.rand(x.shape, generator=generator) < 0.7
    assert model.noise is not None
    learnt = [*model.noise.parameters(), *model.level.parameters()]
    optimiser = torch.optim.Adam(learnt, lr=0.05)
    z = torch.zeros(1, 64, 3, dtype=torch.float64)

    for _ in range(100):
        beta = model.noise_level(z, y, observed, generator)[0, :, None, None, None]
        loss = -torch.where(observed, Normal(x, beta).log_prob(y), 0.0).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    found = model.noise_level(z, y, observed, generator).detach()
    assert_close(found.mean(), torch.tensor(0.08).double(), rtol=0, atol=0.01)
