"""Tests for mriimpute.papers.fit."""

import numpy as np
import pytest
import torch

from mriimpute.cohort import Patches
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.hidden import NOTHING_HIDDEN, HiddenConfig
from mriimpute.papers.fit import ImageLearner, batch_of, fit
from mriimpute.papers.sparse import Sparse, random_missing
from mriimpute.seeds import numpy_stream

TRAIN = PatchTrainingConfig(patches=320, batch=8, rate=0.02, report=80, objective="evidence")


@pytest.fixture
def sparse(rng: np.random.Generator) -> Sparse:
    flat = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 36)) + 3.0
    return random_missing(flat.reshape(40, 6, 6).astype(np.float32), 0.4, 0.05, rng)


def test_model_learns_what_it_saw_and_the_journal_tells(sparse: Sparse) -> None:
    model, journal = fit(
        "ppca", {"latents": 2}, TRAIN, sparse, seed=0, device="cpu", validation=sparse
    )

    assert [line["step"] for line in journal] == [10, 20, 30, 40]
    assert journal[-1]["epoch"] == 8
    assert journal[-1]["loss"] < journal[0]["loss"]
    assert journal[-1]["val_loss"] < journal[0]["val_loss"]
    assert not model.training
    assert model.patch == (6, 6)


def test_hidden_pixels_and_truth_change_nothing_of_the_model(sparse: Sparse) -> None:
    other = Sparse(sparse.y, np.full_like(sparse.truth, 99.0))

    models = [
        fit("ppca", {"latents": 2}, TRAIN, part, seed=0, device="cpu")[0]
        for part in (sparse, other)
    ]

    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)


def test_encoders_see_a_part_of_what_was_observed(sparse: Sparse) -> None:
    def drawn(hidden: HiddenConfig, step: int) -> Patches:
        model = {"patch": (6, 6), "latents": 2}
        made = ImageLearner("ppca", model=model, train=TRAIN, hidden=hidden, seed=0, device="cpu")
        made.show(sparse, None)
        return made.batch(step)

    part = HiddenConfig(lines=0.0, voxels=1.0, slices=0.0, shown=(0.5, 1.0))
    whole, (first, again, other) = drawn(NOTHING_HIDDEN, 0), (drawn(part, n) for n in (0, 0, 1))

    assert whole.shown is None
    assert first.shown is not None
    assert np.array_equal(first.observed, whole.observed)
    assert (first.observed >= first.shown).all()
    assert 0.6 < first.shown.sum() / first.observed.sum() < 0.9
    assert np.array_equal(first.shown, again.shown)
    assert not np.array_equal(first.shown, other.shown)


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    seen = np.concatenate([batch_of(10, 4, step, 0) for step in range(5)])

    epochs = seen.reshape(2, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert (epochs[0] != epochs[1]).any()


def test_more_steps_begin_with_the_same_batches() -> None:
    np.testing.assert_array_equal(batch_of(7, 3, 2, 1), batch_of(7, 3, 2, 1))
    assert (batch_of(50, 20, 0, 1) != batch_of(50, 20, 0, 2)).any()


def test_images_need_not_fill_a_batch(rng: np.random.Generator) -> None:
    few = numpy_stream(0, "few")

    assert sorted(batch_of(2, 5, 0, int(few.integers(9))).tolist()).count(0) in (2, 3)
