"""Holes of Kinect depth maps, filled by a median filter, MVAE and TAE.

Real holes have no truth. Test maps therefore lose further pixels, those under the holes of another
map, mirrored: holes as a Kinect makes them, at places where it saw something. These are scored.
The maps are one recording of one camera path: train and test maps are apart in time.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from scipy import stats

from mriimpute.config import parse
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Conclusion, Outcome, Outcomes, Task
from mriimpute.papers.fit import fit
from mriimpute.papers.scattered import median_fill
from mriimpute.papers.scores import score_draws
from mriimpute.papers.sparse import Sparse, hide
from mriimpute.papers.tonolini._depth import METHODS, Method, conclusion
from mriimpute.papers.tonolini.recovery import recover

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Holes of depth maps: median filter, MVAE and TAE"
SOURCE = "Tonolini et al. 2021, section 4.3, Fig. 6, and supplement D.6"
DATA: tuple[str, ...] = ("depth",)

WINDOWS: dict[Method, int] = {"median": 5, "median-wide": 11}  # edges, in pixels
FLOOR = 0.003  # of standard deviations: about a centimetre
TRAIN, TEST = (0.0, 0.7), (0.8, 1.0)  # of the recording; what lies between is left out
SHOWN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One method.

    Attributes:
        method: Its name.
        stride: Every how many pixels of the maps are kept along both axes.
        tested: Test maps, evenly over the block.
        steps: Of training.
        batch: Maps per step.
        rate: Learning rate.
        final_rate: Learning rate at the end, as a share of `rate`; in between it is a cosine.
        gamma_start: Share of the run after which the weight of the prior of TAE rises.
        gamma_end: Share of the run after which it is 1.
        levels: Halvings of the grid.
        channels: Of each convolution.
        latents: Channels of the latent images.
        prior_latents: Channels of those of the prior of TAE.
        strength: Lambda of TAE.
        localisation: C of TAE.
        draws: Of each test map.
    """

    method: Method
    stride: int
    tested: int
    steps: int
    batch: int = 20
    rate: float = 3e-3
    final_rate: float = 0.02
    gamma_start: float = 0.3
    gamma_end: float = 0.8
    levels: int
    channels: int = 5
    latents: int = 10
    prior_latents: int = 5
    strength: float = 2.0
    localisation: float = 15.0
    draws: int = 20


PLANS: dict[Budget, Trial] = {
    "smoke": Trial(method="median", stride=4, tested=4, steps=20, batch=4, levels=2),
    "cpu": Trial(method="median", stride=2, tested=20, steps=800, batch=8, levels=3),
    "paper": Trial(
        method="median",
        stride=1,
        tested=40,
        steps=100_000,
        rate=2e-2,
        final_rate=1.0,
        gamma_start=0.1,
        gamma_end=0.2,
        levels=4,
        draws=50,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per method."""
    return [
        Task(
            key=(method,),
            settings=dataclasses.asdict(dataclasses.replace(PLANS[budget], method=method)),
        )
        for method in METHODS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Fills the hidden pixels of the test maps."""
    trial = parse(Trial, task.settings)
    depth = data.depth()[:, :: trial.stride, :: trial.stride]
    train, test = _block(depth, TRAIN), _block(depth, TEST)
    farthest = float(np.nanmax(train))  # what is learnt from lies in 0 to 1
    test = test[np.linspace(0, len(test) - 1, min(trial.tested, len(test))).round().astype(int)]
    sparse = with_holes(test / farthest, ~np.isfinite(train))
    if trial.method in WINDOWS:
        return _filtered(sparse, WINDOWS[trial.method], farthest)
    return _learnt(train / farthest, sparse, trial, farthest, seed=seed, device=device)


def with_holes(truth: Float32[np.ndarray, "n h w"], holes: Bool[np.ndarray, "m h w"]) -> Sparse:
    """Returns maps that lose what lies under the mirrored holes of other maps."""
    which = np.linspace(0, len(holes) - 1, len(truth)).round().astype(int)
    return hide(truth, truth, ~holes[which, :, ::-1])


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the errors of the methods, and maps of depth and uncertainty as in the paper."""
    return conclusion(outcomes)


def _block(depth: Float32[np.ndarray, "n h w"], part: tuple[float, float]) -> np.ndarray:
    first, last = (round(share * len(depth)) for share in part)
    return depth[first:last]


def _filtered(sparse: Sparse, window: int, farthest: float) -> Outcome:
    filled = np.stack([median_fill(y, np.isfinite(y), size=window) for y in sparse.y[:, 0]])
    return _outcome(sparse, filled[:, None], farthest)


def _learnt(
    train: Float32[np.ndarray, "n h w"],
    test: Sparse,
    trial: Trial,
    farthest: float,
    *,
    seed: int,
    device: str,
) -> Outcome:
    begun = time.monotonic()
    settings = _settings(trial)
    images = trial.steps * trial.batch
    config = PatchTrainingConfig(
        objective="tomographic" if trial.method == "tae" else "elbo",
        patches=images,
        batch=trial.batch,
        rate=trial.rate,
        final_rate=trial.final_rate,
        warm_up_start=trial.gamma_start if trial.method == "tae" else 0.0,
        warm_up_end=trial.gamma_end if trial.method == "tae" else 0.0,
        weight_decay=0.0,
        precision="float32",
        report=max(1, images // 10),
    )
    observed = Sparse(train[:, None], train[:, None])
    model, journal = fit(trial.method, settings, config, observed, seed=seed, device=device)
    seconds = time.monotonic() - begun
    found = recover(model, test, trial.draws, seed=seed, device=device, batch=1)
    outcome = _outcome(test, found.mean, farthest)

    hidden = ~np.isfinite(test.y) & np.isfinite(test.truth)
    std = found.draws.std(axis=0, ddof=1)
    error = np.abs(found.mean - test.truth)[hidden]
    scores = score_draws(test.truth, found.draws, hidden, mean=found.mean)
    numbers = {
        **outcome.numbers,
        **scores,
        "crps": scores["crps"] * farthest,
        "correlation": float(stats.spearmanr(std[hidden], error).statistic),
        "train_seconds": seconds,
        "journal": journal,
    }
    return Outcome(numbers, outcome.arrays | {"std_m": std[:SHOWN, 0] * np.float32(farthest)})


def _settings(trial: Trial) -> dict[str, Any]:
    settings = {
        "architecture": "conv",
        "levels": trial.levels,
        "channels": trial.channels,
        "latents": trial.latents,
        "floor": FLOOR,
    }
    if trial.method != "tae":
        return settings
    return settings | {
        "skip": True,
        "prior_levels": trial.levels,
        "prior_channels": trial.channels,
        "prior_latents": trial.prior_latents,
        "strength": trial.strength,
        "localisation": trial.localisation,
    }


def _outcome(sparse: Sparse, filled: Float32[np.ndarray, "n 1 h w"], farthest: float) -> Outcome:
    """Returns the errors on hidden pixels, NaN where nothing was filled in, and some maps."""
    hidden = ~np.isfinite(sparse.y) & np.isfinite(sparse.truth)
    metres, few = np.float32(farthest), slice(SHOWN)
    return Outcome(
        {"hidden": float(hidden.mean()), "holes": float((~np.isfinite(sparse.truth)).mean())},
        {
            "error_m": (filled - sparse.truth)[hidden] * metres,
            "filled_m": filled[few, 0] * metres,
            "y_m": sparse.y[few, 0] * metres,
            "truth_m": sparse.truth[few, 0] * metres,
        },
    )
