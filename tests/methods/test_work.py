"""How far a method is: what it announces is what it does."""

from collections import defaultdict

import numpy as np
import pytest

from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.deep_image_prior.fit import PriorConfig
from mriimpute.methods.deep_image_prior.imputer import DeepImagePrior
from mriimpute.methods.dictionary.imputer import DictionaryImputer
from mriimpute.methods.dictionary.learning import DictionaryConfig
from mriimpute.methods.patches import models
from mriimpute.methods.patches.imputer import PatchImputer
from mriimpute.methods.registry import load_imputer
from mriimpute.progress import SILENT, Progress
from mriimpute.volume import Volume


class Listener(Progress):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.planned: dict[str, float] = defaultdict(float)
        self.done: dict[str, float] = defaultdict(float)

    def plan(self, stage: str, work: float) -> None:
        """Adds it up."""
        self.planned[stage] += work

    def advance(self, stage: str, work: float = 0.0) -> None:
        """Adds it up."""
        assert work == 0 or stage in self.planned, "announced before it is done"
        self.done[stage] += work


def method(name: str) -> Imputer:
    """A small one of that name."""
    match name:
        case "deep-image-prior":
            return DeepImagePrior(PriorConfig(steps=2, levels=1, channels=4, latents=2))
        case "dictionary":
            return DictionaryImputer(DictionaryConfig(atoms=8, iterations=1), examples=50)
        case "ppca":
            model = models.build("ppca", {"patch": [8, 8, 8], "latents": 2}, seed=0)
            return PatchImputer(model, "ppca", device="cpu", tile=16)
        case _:
            return load_imputer(name, device="cpu")


def stack(rng: np.random.Generator, slices: int, every: int) -> Volume:
    observed = np.zeros((24, 20, every * (slices - 1) + 1), bool)
    observed[:, :, ::every] = True
    data = rng.normal(500, 100, observed.shape).astype(np.float32)
    return Volume(np.where(observed, data, np.float32(np.nan)), observed, np.eye(4))


@pytest.mark.parametrize(
    "name", ["cross-plane", "cross-plane-ridge", "deep-image-prior", "dictionary", "ppca"]
)
def test_the_work_that_is_announced_is_done(name: str, rng: np.random.Generator) -> None:
    listener, imputer = Listener(), method(name)

    imputer.reporting(listener).impute(stack(rng, 16, 3), seed=0, case="a")

    planned, done = sum(listener.planned.values()), sum(listener.done.values())
    assert planned > 0
    assert done == pytest.approx(planned, rel=0.1)
    assert imputer.progress is SILENT


def test_a_method_that_tells_nothing_is_as_good(rng: np.random.Generator) -> None:
    class Median(Imputer):
        name = "median"
        gives_draws = False

        def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
            usual = np.median(volume.data[volume.observed])
            return Imputation(np.where(volume.observed, volume.data, np.float32(usual)))

    listener = Listener()

    Median().reporting(listener).impute(stack(rng, 4, 2), seed=0, case="a")

    assert not listener.planned
