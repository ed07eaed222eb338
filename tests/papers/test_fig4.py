"""Tests for mriimpute.papers.dalca.fig4 and encodings, and of the runner with processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute.errors import ConfigError
from mriimpute.papers.dalca import fig4
from mriimpute.papers.dalca.encodings import (
    ENCODINGS,
    LATENTS,
    Learning,
    components,
    filled,
    pixel_means,
    respond,
    train_autoencoder,
)
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Conclusion
from mriimpute.papers.run import reproduce
from mriimpute.papers.sparse import Sparse, hide, permuted, random_missing


@pytest.fixture
def sparse(rng: np.random.Generator) -> Sparse:
    """Images in a 10-dimensional subspace, 60 % of them missing."""
    flat = rng.normal(size=(50, LATENTS)) @ rng.normal(size=(LATENTS, 144)) + rng.normal(size=144)
    images = flat.reshape(50, 12, 12).astype(np.float32)
    return random_missing(images, 0.6, 0.0, rng)


def test_every_layer_gives_the_true_response_to_full_images(sparse: Sparse) -> None:
    full = Sparse(sparse.truth, sparse.truth)
    w, mu = components(full.truth)
    truth = (full.truth.reshape(50, -1) - mu) @ w

    for encoding in ENCODINGS:
        response = respond(encoding, full, w, mu, pixel_means(full))

        np.testing.assert_allclose(response, truth, rtol=2e-3, atol=2e-2)


def test_sparse_layer_recovers_the_response_of_images_inside_its_subspace(sparse: Sparse) -> None:
    w, mu = components(sparse.truth)
    truth = (sparse.truth.reshape(50, -1) - mu) @ w
    error = {
        encoding: np.square(respond(encoding, sparse, w, mu, pixel_means(sparse)) - truth).mean()
        for encoding in ENCODINGS
    }

    assert error["sparse"] < 1e-3 * truth.var()
    assert min(error, key=lambda name: error[name]) == "sparse"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_permuting_pixels_changes_interpolation_alone(
    encoding: str, sparse: Sparse, rng: np.random.Generator
) -> None:
    moved = permuted(sparse, rng.permutation(144))
    responses = []
    for images in (sparse, moved):
        w, mu = components(images.truth)
        w = w * np.sign(w.sum(axis=0))  # a component has no sign of its own
        responses.append(respond(encoding, images, w, mu, pixel_means(images)))

    same = np.allclose(*responses, rtol=1e-2, atol=5e-2)
    assert same == (encoding != "interpolation")


def test_components_are_orthonormal_and_largest_first(sparse: Sparse) -> None:
    w, mu = components(sparse.truth)

    np.testing.assert_allclose(w.T @ w, np.eye(LATENTS), atol=1e-5)
    np.testing.assert_allclose(mu, sparse.truth.reshape(50, -1).mean(axis=0), atol=1e-5)
    variance = ((sparse.truth.reshape(50, -1) - mu) @ w).var(axis=0)
    assert (np.diff(variance) < 1e-3).all()


def test_filling_leaves_observed_pixels_and_no_gap(sparse: Sparse) -> None:
    for encoding in ("zero", "mean", "interpolation"):
        images = filled(encoding, sparse, pixel_means(sparse))

        np.testing.assert_array_equal(images[sparse.observed], sparse.y[sparse.observed])
        assert np.isfinite(images).all()


def test_pixel_mean_is_that_of_what_was_observed() -> None:
    truth = np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.float32)
    kept = np.array([[[True, False]], [[False, False]], [[True, False]]])

    means = pixel_means(hide(truth, truth, kept))

    np.testing.assert_array_equal(means, [[3.0, 0.0]])


@pytest.mark.usefixtures("quick_processes")
def test_two_jobs_give_the_numbers_of_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = fig4.tasks("smoke", 0)[3:6]
    monkeypatch.setattr(fig4, "tasks", lambda budget, seed: few)
    monkeypatch.setattr(fig4, "conclude", lambda outcomes, budget: Conclusion([], [], []))

    records = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        reproduce("fig4", Data(root), out, budget="smoke", jobs=jobs)
        records.append(json.loads((out / "record.json").read_text()))

    one, two = ([(t["key"], t["numbers"]) for t in record["tasks"]] for record in records)
    assert one == two
    assert len(one) == len(few)


def test_claim_holds_exactly_where_the_table_says_so(root: Path, tmp_path: Path) -> None:
    conclusion = reproduce("fig4", Data(root), tmp_path / "out", budget="smoke").conclusion

    columns, rows = conclusion.tables[0].columns, conclusion.tables[0].rows
    for order, claim in zip(("original", "permuted"), conclusion.claims[:2], strict=True):
        table = [dict(zip(columns, row, strict=True)) for row in rows if row[0] == order]
        best = [min(ENCODINGS, key=line.__getitem__) for line in table]
        assert len(table) == 2
        assert claim.holds == (best == ["sparse", "sparse"])
        for line in table:
            assert f"{line['sparse']:.3g} against" in claim.detail


def test_data_without_images_to_validate_on_are_refused(root: Path) -> None:
    size = Learning(train=340, val=64, epochs=1)
    options: Any = {"encoding": "zero", "level": 75, "repeat": 0, "seed": 0, "device": "cpu"}

    with pytest.raises(ConfigError, match=r"are 340 images of Fashion.*, and 404 are needed"):
        train_autoencoder(Data(root), size, **options)
