"""The methods that Dalca et al. compare in figures 5, 7 and 8, each on one sparse data set.

Every method learns from the training images alone, completes the test images, and describes all
their pixels; linear interpolation alone returns what was observed. Models of the linear subspace
see the images as they are, networks with an unobserved border, so that their poolings divide.

Axes: n = images, (h, w) = rows and columns.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    sections 4.3.1 and 4.3.2.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mriimpute.config import parse
from mriimpute.methods.deep_image_prior.fit import PriorConfig, deep_image_prior
from mriimpute.methods.dictionary.learning import DictionaryConfig, learn_dictionary
from mriimpute.methods.patches import models
from mriimpute.methods.patches.completion import complete
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.em import fit_em
from mriimpute.methods.patches.hidden import HiddenConfig
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.papers.dalca.config import Method
from mriimpute.papers.dalca.data import Splits
from mriimpute.papers.experiment import Outcome
from mriimpute.papers.fit import fit
from mriimpute.papers.scattered import linear_fill
from mriimpute.papers.scores import mse, score_mean
from mriimpute.papers.sparse import Sparse, crop, pad, pad_to
from mriimpute.seeds import stream

__all__ = [
    "Imputed",
    "complete_all",
    "evaluate",
    "impute",
    "interpolated",
    "outcome",
    "pass_ms",
    "restore_all",
    "score",
    "train_network",
]

Images: TypeAlias = Float32[np.ndarray, "n 1 h w"]

BATCH = 16  # images completed at once
TIMED = 20  # passes, after one that is not counted


class Imputed(NamedTuple):
    """Test images as a method describes them, and what it says about its training."""

    mean: Images
    numbers: dict[str, Any]


def impute(
    method: str, settings: Mapping[str, Any], splits: Splits, *, seed: int, device: str
) -> Imputed:
    """Returns the test images of a data set as a method completes them.

    Args:
        method: One of `METHODS`.
        settings: As `settings_of` returns them.
        splits: The data set.
        seed: Of initial parameters, order of the images and draws.
        device: "cpu" or "cuda:N".
    """
    begun = time.monotonic()
    match cast("Method", method):
        case "interpolation":
            imputed = Imputed(interpolated(splits.test), {})
        case "subspace-sgd" | "subspace-em" as fitted:
            imputed = _by_subspace(fitted, settings, splits, seed, device)
        case "dictionary":
            imputed = _by_dictionary(settings, splits, seed, device)
        case network:
            model, numbers = train_network(network, settings, splits, seed=seed, device=device)
            draws = int(settings["draws"])
            imputed = Imputed(complete_all(model, splits.test, draws, seed=seed), numbers)
    seconds = round(time.monotonic() - begun, 3)
    return Imputed(imputed.mean, imputed.numbers | {"seconds": seconds})


def evaluate(
    settings: Mapping[str, Any], splits: Splits, *, examples: int, seed: int, device: str
) -> Outcome:
    """Returns the scores of a method, and the first test images for the figure.

    Args:
        settings: Of a task: its "method", and as "effort" what `settings_of` returned for it.
        splits: The data set.
        examples: How many images.
        seed: Of initial parameters, order of the images and draws.
        device: "cpu" or "cuda:N".
    """
    method, config = settings["method"], settings["effort"]
    mean, numbers = impute(method, config, splits, seed=seed, device=device)
    counts = {f"images_{part}": len(sparse) for part, sparse in splits._asdict().items()}
    return outcome(splits.test, mean, numbers | counts, examples)


def outcome(test: Sparse, mean: Images, numbers: Mapping[str, Any], examples: int) -> Outcome:
    """Returns numbers with the scores of imputed test images, and the first of these."""
    images = {"mean": mean, "truth": test.truth, "y": test.y}
    return Outcome(
        {**numbers, **score(test, mean)},
        {name: array[:examples, 0] for name, array in images.items()},
    )


def score(test: Sparse, mean: Images) -> dict[str, float]:
    """Returns mean squared errors and their standard errors over the test images.

    `mse_all` counts all pixels as the method describes them, `mse_missing` those that were not
    observed, `mse_tissue` those of them whose truth is above 0.
    """
    missing = ~test.observed
    tissue = missing & (test.truth > 0)
    scores = score_mean(test.truth, mean, test.observed)
    scores["mse_tissue"] = mse(test.truth, mean, tissue)
    regions = {"all": np.ones_like(missing), "missing": missing, "tissue": tissue}
    for name, region in regions.items():
        scores[f"sem_{name}"] = _standard_error(test.truth, mean, region)
    return scores


def train_network(
    name: str, settings: Mapping[str, Any], splits: Splits, *, seed: int, device: str
) -> tuple[Model, dict[str, Any]]:
    """Returns a trained network for padded images, and the last line of its journal."""
    multiple = 2 ** int(settings["model"]["levels"])
    model, journal = fit(
        name,
        settings["model"],
        parse(PatchTrainingConfig, settings["train"], where="train"),
        pad(splits.train, multiple),
        seed=seed,
        device=device,
        validation=pad(splits.val, multiple),
        hidden=parse(HiddenConfig, settings["hidden"], where="hidden"),
    )
    return model, journal[-1]


def complete_all(model: Model, test: Sparse, draws: int, *, seed: int) -> Images:
    """Returns the conditional means of images, which are padded for `model` and cropped again."""
    device = model.sigma.device
    padded = pad_to(test.y, model.patch)
    parts = []
    for start in range(0, len(test), BATCH):
        y = torch.from_numpy(padded[start : start + BATCH]).to(device)
        generator = stream(seed, "complete", start, device=device)
        completion = complete(model, y, y.isfinite(), samples=draws, generator=generator)
        parts.append(completion.mean.cpu().numpy())
    return crop(np.concatenate(parts), test.grid)


def pass_ms(model: Model, test: Sparse, *, seed: int) -> list[float]:
    """Returns the milliseconds of single passes through encoder and decoder, image in and out."""
    device = model.sigma.device
    padded, times = pad_to(test.y, model.patch), []
    for n in range(TIMED + 1):
        begun = time.perf_counter()
        y = torch.from_numpy(padded[n % len(test)][None]).to(device)
        generator = stream(seed, "timing", n, device=device)
        complete(model, y, y.isfinite(), samples=1, generator=generator).mean.cpu()
        times.append(1000 * (time.perf_counter() - begun))
    return times[1:]


def restore_all(
    config: PriorConfig, test: Sparse, *, seed: int, device: str
) -> tuple[Imputed, list[float]]:
    """Returns images restored one by one by a Deep Image Prior, and their milliseconds."""
    images, times, stopped = [], [], []
    for image in test.y:
        begun = time.perf_counter()
        y = torch.from_numpy(image[None]).to(device)
        restored = deep_image_prior(y, y.isfinite(), config=config, seed=seed)
        images.append(restored.image[0].cpu().numpy())
        times.append(1000 * (time.perf_counter() - begun))
        stopped.append(restored.stopped_at)
    numbers = {"steps": config.steps, "stopped_at": stopped}
    return Imputed(np.stack(images), numbers), times


def interpolated(sparse: Sparse) -> Images:
    """Returns images whose missing pixels are interpolated linearly."""
    pairs = zip(sparse.y[:, 0], sparse.observed[:, 0], strict=True)
    return np.stack([linear_fill(y, observed)[None] for y, observed in pairs])


def _by_subspace(
    method: Literal["subspace-sgd", "subspace-em"],
    settings: Mapping[str, Any],
    splits: Splits,
    seed: int,
    device: str,
) -> Imputed:
    if method == "subspace-sgd":
        train = parse(PatchTrainingConfig, settings["train"], where="train")
        model, journal = fit(
            "ppca", settings["model"], train, splits.train, seed=seed, device=device
        )
        numbers = journal[-1]
    else:
        model, evidence = _by_em(settings, splits.train, seed, device)
        numbers = {"sigma": float(model.sigma.detach()), "evidence": evidence}
    return Imputed(_linear_mean(model, splits.test), numbers)


def _by_em(
    settings: Mapping[str, Any], train: Sparse, seed: int, device: str
) -> tuple[Ppca, list[float]]:
    """Returns the subspace, and its evidence before and after each iteration."""
    model = models.build("ppca", {"patch": train.grid, **settings["model"]}, seed=seed).to(device)
    if not isinstance(model, Ppca):
        raise TypeError(f"ppca must be a Ppca, got {type(model).__name__}")
    y = torch.from_numpy(train.y).to(device)
    evidence = fit_em(
        model,
        [(part, part.isfinite()) for part in y.split(256)],
        iterations=int(settings["iterations"]),
        kappa=float(settings["kappa"]),
    )
    return model, evidence


@torch.no_grad()
def _linear_mean(model: Model, test: Sparse) -> Images:
    """Returns mu + W E[z | y_O]: of a linear model the conditional mean needs no draws."""
    y = torch.from_numpy(test.y).to(model.sigma.device)
    parts: list[Tensor] = []
    for part in y.split(BATCH):
        posterior = model.posterior(part, part.isfinite())
        parts.append(model.decode(posterior.loc[None])[0])
    return torch.cat(parts).cpu().numpy()


def _by_dictionary(settings: Mapping[str, Any], splits: Splits, seed: int, device: str) -> Imputed:
    config = parse(DictionaryConfig, settings, where="dictionary")
    train, test = (
        torch.from_numpy(part.y).flatten(1).to(device) for part in (splits.train, splits.test)
    )
    dictionary = learn_dictionary(
        train,
        train.isfinite(),
        config=config,
        generator=stream(seed, "dictionary", device=device),
    )
    mean = dictionary.complete(test, test.isfinite()).view(-1, 1, *splits.test.grid)
    return Imputed(mean.cpu().numpy(), {})


def _standard_error(truth: Images, mean: Images, region: np.ndarray) -> float:
    region = region & np.isfinite(truth)
    square = np.where(region, np.square(mean - truth, dtype=np.float64), 0.0).sum((1, 2, 3))
    count = region.sum((1, 2, 3))
    errors = square[count > 0] / count[count > 0]
    return float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else float("nan")
