"""How good a recovered posterior q(x | y) is: as a density of the truth, its mean, its draws.

Axes: n = images, s = draws, (h, w) = rows and columns.

References:
    Tonolini et al., Tomographic Auto-Encoder: Unsupervised Bayesian Recovery of Corrupted Data,
    2021, section 4.1 and supplement C.3.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.methods.patches.completion import complete
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.objectives.recovery_bound import recovery_bound
from mriimpute.papers.experiment import Images, Outcome
from mriimpute.papers.scores import psnr_db, score_draws
from mriimpute.papers.sparse import Sparse
from mriimpute.seeds import stream

__all__ = ["COLLAPSED", "SCORES", "Recovered", "average", "evaluate", "gallery", "recover"]

COLLAPSED = 0.1
"""Draws whose central 90 % intervals cover less than this fraction of truths have collapsed."""

SCORES: dict[str, str] = {
    "elbo_per_value": "ELBO per value",
    "psnr_db": "PSNR of mean [dB]",
    "crps": "CRPS",
    "coverage90": "90 % covers",
    "latent_coverage90": "90 % covers, no pixel noise",
    "lit_coverage90": "90 % covers, lit pixels",
    "lit_latent_coverage90": "90 % covers, lit pixels, no pixel noise",
    "spread_skill": "spread/skill",
    "latent_spread_skill": "spread/skill, no pixel noise",
}
"""Columns of the tables; "no pixel noise" is about draws of z alone, x being its mean given z.

Where the truth is 0 exactly, as most pixels of digits are, however narrow an interval around 0
covers it. How wide draws are is seen on the lit ones.
"""

DARK = 0.02  # lit pixels are above

BOUND_RATE = 1e-3
BOUND_BATCH = 100
SHOWN = 4  # images kept for the figure
SHOWN_DRAWS = 4


def evaluate(
    model: Model,
    test: Sparse,
    *,
    bound_steps: int,
    drawn: int,
    draws: int,
    seed: int,
    device: str,
) -> Outcome:
    """Returns how well a trained posterior knows the clean test images, over all their pixels.

    Args:
        model: Trained.
        test: Corrupted images, and their truth.
        bound_steps: Steps that fit q(z | x) of the evaluation bound, to all of them.
        drawn: How many of them, the first ones, are recovered and compared with the truth.
        draws: Draws per image.
        seed: Of the fit of the bound and the draws.
        device: "cpu" or "cuda:N"; where the model is.
    """
    begun = time.monotonic()
    x, y = (torch.from_numpy(array).to(device) for array in (test.truth, test.y))
    bound = recovery_bound(
        model,
        x,
        y,
        y.isfinite(),
        steps=bound_steps,
        rate=BOUND_RATE,
        batch=min(BOUND_BATCH, len(test)),
        generator=stream(seed, "bound", device=device),
    )
    shown = test.take(slice(drawn))
    recovered = recover(model, shown, draws, seed=seed, device=device)
    numbers = {
        "elbo": bound.nats,
        "elbo_per_value": bound.nats / math.prod(test.grid),
        **_scores(shown.truth, recovered),
        "judge_seconds": time.monotonic() - begun,
    }
    few = slice(SHOWN)
    arrays = {
        "truth": shown.truth[few, 0],
        "y": shown.y[few, 0],
        "mean": recovered.mean[few, 0],
        "draws": recovered.latent_draws[:SHOWN_DRAWS, few, 0],
        "bound_trace": bound.trace.cpu().numpy(),
    }
    return Outcome(numbers, arrays)


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """Means and draws of sparse images.

    Attributes:
        mean: Conditional means.
        draws: Posterior draws.
        latent_draws: The same draws without pixel noise.
        ess: Effective sample size, mean over the images; None where draws have no weights.
    """

    mean: Float32[np.ndarray, "n 1 h w"]
    draws: Float32[np.ndarray, "s n 1 h w"]
    latent_draws: Float32[np.ndarray, "s n 1 h w"]
    ess: float | None


def recover(
    model: Model, sparse: Sparse, draws: int, *, seed: int, device: str, batch: int = 50
) -> Recovered:
    """Returns means and draws for images that a model completes."""
    parts = []
    for start in range(0, len(sparse), batch):
        y = torch.from_numpy(sparse.y[start : start + batch]).to(device)
        generator = stream(seed, "recover", start, device=device)
        parts.append(complete(model, y, y.isfinite(), samples=draws, generator=generator))
    ess = [part.ess for part in parts if part.ess is not None]
    return Recovered(
        torch.cat([part.mean for part in parts]).cpu().numpy(),
        torch.cat([part.draws for part in parts], dim=1).cpu().numpy(),
        torch.cat([part.latent_draws for part in parts], dim=1).cpu().numpy(),
        float(torch.cat(ess).mean()) if ess else None,
    )


def _scores(
    truth: Float32[np.ndarray, "n 1 h w"], recovered: Recovered
) -> dict[str, float | None]:
    mean, draws, latent = recovered.mean, recovered.draws, recovered.latent_draws
    lit = truth > DARK
    return {
        "psnr_db": psnr_db(truth, mean),
        "ess": recovered.ess,
        **score_draws(truth, draws, mean=mean),
        **score_draws(truth, latent, mean=mean, prefix="latent_"),
        "lit_coverage90": score_draws(truth, draws, lit)["coverage90"],
        "lit_latent_coverage90": score_draws(truth, latent, lit)["coverage90"],
    }


def average(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Returns the mean of each score over repeats, and its standard deviation as NAME_std."""
    repeats = [outcome.numbers for outcome in outcomes]
    averaged = {}
    for name in ("elbo", *SCORES):
        values = [float(numbers[name]) for numbers in repeats]
        averaged[name] = float(np.mean(values))
        averaged[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return averaged


def gallery(title: str, outcomes: Mapping[str, Outcome], *, images: int = 4) -> list[Images]:
    """Returns images like those of the paper: what was observed, its mean recovery, draws.

    Draws are shown without pixel noise, which would hide how little they differ.

    Args:
        title: Above the panels.
        outcomes: Of `evaluate`, by name of the model: one panel each.
        images: Rows of each panel, at most.
    """
    draws = [f"draw {number + 1}" for number in range(SHOWN_DRAWS)]
    return [
        Images(
            f"{title}: {name}",
            ["truth", "observed", "mean", *draws],
            [
                [arrays["truth"][n], arrays["y"][n], arrays["mean"][n], *arrays["draws"][:, n]]
                for n in range(min(images, len(arrays["truth"])))
            ],
        )
        for name, arrays in ((name, outcome.arrays) for name, outcome in outcomes.items())
    ]
