"""Tests for mriimpute.methods.dictionary.learning."""

import math
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mriimpute.methods.dictionary import learning as module
from mriimpute.methods.dictionary.learning import Dictionary, DictionaryConfig, learn_dictionary
from mriimpute.seeds import stream

assert_near = partial(assert_close, rtol=1e-9, atol=1e-9)
assert_same = partial(assert_close, rtol=0, atol=0)
EXACT = DictionaryConfig(atoms=30, sparsity=5, shrinkage=0.0, sigma=0.0)


def random_dictionary(
    generator: torch.Generator, config: DictionaryConfig = EXACT, *, voxels: int = 20
) -> Dictionary:
    atoms = torch.randn(voxels, config.atoms, generator=generator, dtype=torch.float64)
    mu = torch.randn(voxels, generator=generator, dtype=torch.float64)
    return Dictionary(atoms / atoms.norm(dim=0), mu, config)


def sparse(
    generator: torch.Generator, fraction: float, *, images: int = 12, voxels: int = 20
) -> tuple[Tensor, Tensor]:
    y = torch.randn(images, voxels, generator=generator, dtype=torch.float64)
    return y, torch.rand(y.shape, generator=generator) < fraction


@pytest.mark.parametrize("sparsity", [1, 5])
def test_fully_observed_images_are_coded_as_by_scikit_learn(
    sparsity: int, generator: torch.Generator
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its import
        from sklearn.linear_model import orthogonal_mp
    dictionary = random_dictionary(generator, replace(EXACT, sparsity=sparsity))
    y, observed = sparse(generator, 1.1)
    centred = (y - dictionary.mu).T.numpy()
    expected = orthogonal_mp(dictionary.atoms.numpy(), centred, n_nonzero_coefs=sparsity)

    codes = dictionary.code(y, observed)

    assert_near(codes.dense(30), torch.from_numpy(np.asarray(expected).T.copy()))


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_pursuit_is_the_naive_loop_over_images(
    shrinkage: float, generator: torch.Generator
) -> None:
    config = replace(EXACT, shrinkage=shrinkage, sigma=0.7, batch=5)
    dictionary = random_dictionary(generator, config)
    y, observed = sparse(generator, 0.5)
    expected = [
        naive_code(dictionary, row, o) for row, o in zip(y - dictionary.mu, observed, strict=True)
    ]

    codes = dictionary.code(torch.where(observed, y, torch.nan), observed)

    assert_near(codes.dense(30), torch.stack(expected))
    used = (codes.values != 0).sum(-1)
    assert used.min() < used.max() <= 5  # some reached the noise level before T atoms


def naive_code(dictionary: Dictionary, y: Tensor, o: Tensor) -> Tensor:
    """Refits by the normal equations at every step."""
    config, d, support = dictionary.config, dictionary.atoms[o], []
    code = torch.zeros(config.atoms, dtype=y.dtype)
    length = (d.square().sum(0) + config.shrinkage).sqrt()
    while len(support) < config.sparsity:
        residual = y[o] - d @ code
        if residual.square().sum() <= int(o.sum()) * config.sigma**2:
            break
        score = (d.mT @ residual).abs() / length
        score[support] = -1
        support.append(int(score.argmax()))
        chosen = d[:, support]
        gram = chosen.mT @ chosen + config.shrinkage * torch.eye(len(support), dtype=y.dtype)
        code[support] = torch.linalg.solve(gram, chosen.mT @ y[o])
    return code


def test_more_atoms_never_explain_observed_voxels_worse(generator: torch.Generator) -> None:
    dictionary = random_dictionary(generator)
    y, observed = sparse(generator, 0.6)

    errors = []
    for sparsity in range(1, 8):
        coder = replace(dictionary, config=replace(EXACT, sparsity=sparsity))
        missed = torch.where(observed, y - coder.complete(y, observed), 0.0)
        errors.append(missed.square().sum(-1))

    assert (torch.stack(errors).diff(dim=0) <= 1e-12).all()


@pytest.mark.parametrize("voxels", [0, 1, 3])
def test_images_with_fewer_voxels_than_atoms_are_fitted_and_finite(
    voxels: int, generator: torch.Generator
) -> None:
    dictionary = random_dictionary(generator)
    y, observed = sparse(generator, -1.0)
    observed[:, :voxels] = True

    completed = dictionary.complete(torch.where(observed, y, torch.nan), observed)

    assert_near(completed[observed], y[observed])
    assert completed.isfinite().all()
    assert voxels > 0 or torch.equal(completed, dictionary.mu.expand_as(y))


def test_unobserved_values_change_no_bit(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 0.5, images=40)
    config = DictionaryConfig(atoms=6, sparsity=2, iterations=3)

    results = []
    for filled in (torch.where(observed, y, torch.nan), torch.where(observed, y, 1e9)):
        dictionary = learn_dictionary(filled, observed, config=config, generator=stream(0, "d"))
        results.append((dictionary.atoms, dictionary.mu, dictionary.complete(filled, observed)))

    assert_same(results[1], results[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planted_dictionary_is_found_from_half_of_the_voxels(
    dtype: torch.dtype, generator: torch.Generator
) -> None:
    y, full_observed, truth = planted(generator, dtype)
    config = DictionaryConfig(
        atoms=8, sparsity=2, iterations=60, kappa=1e-2, shrinkage=1e-3, sigma=0.01
    )

    learnt = learn_dictionary(
        torch.where(full_observed, y, torch.nan), full_observed, config=config, generator=generator
    )

    basis, expected = (torch.linalg.qr(atoms).Q for atoms in (learnt.atoms, truth))
    assert torch.linalg.svdvals(basis.mT @ expected).min() > 0.99
    assert_close(learnt.atoms.norm(dim=0), torch.ones(8, dtype=dtype))
    missed = (learnt.complete(y, full_observed) - y)[~full_observed].square().mean()
    assert missed < 0.05 * y.var()


def planted(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Returns images of two atoms each, what is observed of them, and the atoms."""
    atoms = torch.randn(40, 8, generator=generator, dtype=dtype)
    atoms /= atoms.norm(dim=0)
    order = torch.rand(600, 8, generator=generator).argsort(-1)
    codes = torch.randn(600, 8, generator=generator, dtype=dtype) * (order < 2)
    y = codes @ atoms.mT + 0.5
    return y, torch.rand(y.shape, generator=generator) < 0.5, atoms


def test_learning_predicts_voxels_that_it_was_not_shown(generator: torch.Generator) -> None:
    y, observed, _ = planted(generator, torch.float64)
    config = DictionaryConfig(atoms=8, sparsity=2, kappa=1e-2, shrinkage=1e-3)

    errors = []
    for iterations in (0, 5, 40):
        dictionary = learn_dictionary(
            y, observed, config=replace(config, iterations=iterations), generator=stream(0, "d")
        )
        missed = dictionary.complete(y, observed) - y
        errors.append(missed[~observed].square().mean())

    assert errors[0] > errors[1] > errors[2]


def test_each_voxel_is_regressed_on_the_images_that_observe_it(
    generator: torch.Generator,
) -> None:
    y, observed = sparse(generator, 0.6)
    coder = random_dictionary(generator)
    codes = coder.code(y, observed)
    centred = torch.where(observed, y - coder.mu, 0.0)
    a = codes.dense(30)
    expected = []
    for j in range(y.shape[1]):
        seen = a[observed[:, j]]
        gram = seen.mT @ seen + EXACT.kappa * torch.eye(30, dtype=a.dtype)
        expected.append(torch.linalg.solve(gram, seen.mT @ centred[observed[:, j], j]))

    rows = module._regressed(centred, observed, codes, EXACT)

    assert_near(rows, torch.stack(expected))


def test_no_atom_is_lost_where_there_are_more_than_images_need(
    generator: torch.Generator,
) -> None:
    y, observed, _ = planted(generator, torch.float64)
    config = DictionaryConfig(atoms=40, sparsity=1, iterations=5, kappa=1e-2)

    dictionary = learn_dictionary(y, observed, config=config, generator=generator)

    assert_close(dictionary.atoms.norm(dim=0), torch.ones(40, dtype=torch.float64))


def test_unused_atom_becomes_an_image_as_it_was_observed(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 0.6)
    coder = random_dictionary(generator)
    codes = coder.code(y, observed)
    used = torch.ones(30, dtype=torch.bool)
    used[7] = False

    atoms = module._replaced(coder.atoms, used, coder, y, observed, codes, generator)

    images = torch.where(observed, y, coder.decode(codes)) - coder.mu
    assert (atoms[:, 7] == images).all(-1).any()
    assert_same(atoms[:, used], coder.atoms[:, used])


def test_voxel_that_no_image_observes_takes_the_mean_of_all(generator: torch.Generator) -> None:
    y, observed = sparse(generator, 0.7, images=50)
    observed[:, 3] = False
    config = DictionaryConfig(atoms=4, sparsity=2, iterations=2)

    dictionary = learn_dictionary(y, observed, config=config, generator=generator)

    overall = y[observed].mean()
    assert_near(dictionary.complete(y, observed)[:, 3], overall.expand(50))


@pytest.mark.parametrize(
    "wrong", [{"sparsity": 0}, {"kappa": 0.0}, {"sigma": -1.0}, {"shrinkage": math.nan}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DictionaryConfig(**wrong)
