"""Holes of Kinect depth maps, filled by a median filter, MVAE and TAE.

Real holes have no truth. Test maps therefore lose further pixels, those under the holes of another
map, mirrored: holes as a Kinect makes them, at places where it saw something. These are scored.
The maps are one recording of one camera path: train and test maps are apart in time.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import stats

from mriimpute.config import parse
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Budget,
    Cell,
    Claim,
    Conclusion,
    Images,
    Outcome,
    Outcomes,
    Table,
    Task,
)
from mriimpute.papers.fit import fit
from mriimpute.papers.scattered import median_fill
from mriimpute.papers.scores import score_draws
from mriimpute.papers.sparse import Sparse, hide
from mriimpute.papers.tonolini.posteriors import train_config
from mriimpute.papers.tonolini.recovery import recover

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Holes of depth maps: median filter, MVAE and TAE"
SOURCE = "Tonolini et al. 2021, section 4.3, Fig. 6, and supplement D.6"
DATA: tuple[str, ...] = ("depth",)

Method = Literal["median", "median-wide", "mvae", "tae"]
METHODS: dict[Method, str] = {
    "median": "median, 5 x 5",
    "median-wide": "median, 11 x 11",
    "mvae": "MVAE",
    "tae": "TAE",
}
UNCERTAINTY: dict[str, str] = {
    "crps": "CRPS [m]",
    "coverage90": "90 % covers",
    "spread_skill": "spread/skill",
    "correlation": "rank correlation of std and error",
}
LEARNT: tuple[Method, ...] = ("mvae", "tae")
WINDOWS: dict[Method, int] = {"median": 5, "median-wide": 11}  # edges, in pixels
FLOOR = 0.003  # of standard deviations: about a centimetre
TRAIN, TEST = (0.0, 0.7), (0.8, 1.0)  # of the recording; what lies between is left out
SHOWN = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthConfig:
    """One method: the settings of a task, so names stay as on disk.

    Attributes:
        method: Name of the method.
        stride: Every how many pixels of the maps are kept along both axes.
        tested: Test maps, evenly over the block.
        steps: Training steps.
        batch: Maps per step.
        rate: Learning rate.
        final_rate: Learning rate at the end, as a fraction of `rate`; in between it is a cosine.
        gamma_start: Fraction of the run after which the weight of the prior of TAE rises.
        gamma_end: Fraction of the run after which it is 1.
        levels: Halvings of the grid.
        channels: Channels of each convolution.
        latents: Channels of the latent images.
        prior_latents: Channels of those of the prior of TAE.
        strength: Lambda of TAE.
        localisation: C of TAE, in nats.
        draws: Draws per test map.
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


PLANS: dict[Budget, DepthConfig] = {
    "smoke": DepthConfig(method="median", stride=4, tested=4, steps=20, batch=4, levels=2),
    "cpu": DepthConfig(method="median", stride=2, tested=20, steps=800, batch=8, levels=3),
    "paper": DepthConfig(
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
    config = parse(DepthConfig, task.settings)
    depth = data.depth()[:, :: config.stride, :: config.stride]
    train, test = _block(depth, TRAIN), _block(depth, TEST)
    farthest = float(np.nanmax(train))  # training maps are divided by it: they lie in 0 to 1
    test = test[np.linspace(0, len(test) - 1, min(config.tested, len(test))).round().astype(int)]
    sparse = with_holes(test / farthest, ~np.isfinite(train))
    if config.method in WINDOWS:
        return _filtered(sparse, WINDOWS[config.method], farthest)
    return _learnt(train / farthest, sparse, config, farthest, seed=seed, device=device)


def with_holes(truth: Float32[np.ndarray, "n h w"], holes: Bool[np.ndarray, "m h w"]) -> Sparse:
    """Returns maps that lose what lies under the mirrored holes of other maps."""
    which = np.linspace(0, len(holes) - 1, len(truth)).round().astype(int)
    return hide(truth, truth, ~holes[which, :, ::-1])


def _block(depth: Float32[np.ndarray, "n h w"], part: tuple[float, float]) -> np.ndarray:
    first, last = (round(end * len(depth)) for end in part)
    return depth[first:last]


def _filtered(sparse: Sparse, window: int, farthest: float) -> Outcome:
    filled = np.stack([median_fill(y, np.isfinite(y), size=window) for y in sparse.y[:, 0]])
    return _outcome(sparse, filled[:, None], farthest)


def _learnt(
    train: Float32[np.ndarray, "n h w"],
    test: Sparse,
    config: DepthConfig,
    farthest: float,
    *,
    seed: int,
    device: str,
) -> Outcome:
    begun = time.monotonic()
    training = train_config(
        "tomographic" if config.method == "tae" else "elbo",
        steps=config.steps,
        batch=config.batch,
        rate=config.rate,
        final_rate=config.final_rate,
        warm_up=(config.gamma_start, config.gamma_end),
    )
    observed, settings = Sparse(train[:, None], train[:, None]), _model_settings(config)
    model, journal = fit(config.method, settings, training, observed, seed=seed, device=device)
    seconds = time.monotonic() - begun
    recovered = recover(model, test, config.draws, seed=seed, device=device, batch=1)
    outcome = _outcome(test, recovered.mean, farthest)

    hidden = ~np.isfinite(test.y) & np.isfinite(test.truth)
    std = recovered.draws.std(axis=0, ddof=1)
    error = np.abs(recovered.mean - test.truth)[hidden]
    scores = score_draws(test.truth, recovered.draws, hidden, mean=recovered.mean)
    numbers = {
        **outcome.numbers,
        **scores,
        "crps": scores["crps"] * farthest,
        "correlation": float(stats.spearmanr(std[hidden], error).statistic),
        "train_seconds": seconds,
        "journal": journal,
    }
    return Outcome(numbers, outcome.arrays | {"std_m": std[:SHOWN, 0] * np.float32(farthest)})


def _model_settings(config: DepthConfig) -> dict[str, Any]:
    settings = {
        "architecture": "conv",
        "levels": config.levels,
        "channels": config.channels,
        "latents": config.latents,
        "floor": FLOOR,
    }
    if config.method != "tae":
        return settings
    return settings | {
        "skip": True,
        "prior_levels": config.levels,
        "prior_channels": config.channels,
        "prior_latents": config.prior_latents,
        "strength": config.strength,
        "localisation": config.localisation,
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


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the errors of the methods, and maps of depth and uncertainty as in the paper."""
    # Errors are compared on what the filter of the paper can fill, too: the easier pixels.
    easy = np.isfinite(outcomes[("median",)].arrays["error_m"])
    rows: list[list[Cell]] = []
    for method, label in METHODS.items():
        outcome = outcomes[(method,)]
        error = outcome.arrays["error_m"].astype(np.float64)
        filled = np.isfinite(error)
        rows.append(
            [
                label,
                float((~filled).mean()),
                _root_mean_square(error[filled]),
                float(np.abs(error[filled]).mean()),
                _root_mean_square(error[easy & filled]),
                *(outcome.numbers.get(name) for name in UNCERTAINTY),
                "figure only",
            ]
        )
    errors = ["not filled", "RMSE [m]", "MAE [m]", "RMSE where 5 x 5 fills [m]"]
    columns = ["method", *errors, *UNCERTAINTY.values(), "paper"]
    table = Table("Hidden pixels of test maps", columns, rows)
    return Conclusion([table], _pictures(outcomes), _claims(outcomes, float((~easy).mean())))


def _pictures(outcomes: Outcomes) -> list[Images]:
    arrays = {method: outcomes[(method,)].arrays for method in METHODS}
    truth, y = (arrays["median"][name] for name in ("truth_m", "y_m"))
    low, high = np.nanpercentile(truth, [1, 99]).tolist()
    depth = [[truth[n], y[n], *(a["filled_m"][n] for a in arrays.values())] for n in range(len(y))]
    std = [[arrays[method]["std_m"][n] for method in LEARNT] for n in range(len(y))]
    largest = float(np.percentile(np.array(std), 98))
    names = [METHODS[method] for method in LEARNT]
    return [
        Images("Depth", ["recorded", "observed", *METHODS.values()], depth, low, high),
        Images("Standard deviation of draws", names, std, 0.0, largest),
    ]


def _claims(outcomes: Outcomes, unfilled: float) -> list[Claim]:
    mvae, tae = (outcomes[(method,)].numbers["correlation"] for method in LEARNT)
    return [
        Claim(
            "The median filter cannot fill pixels surrounded by large missing areas",
            unfilled > 0,
            f"{unfilled:.1%} of the hidden pixels by 5 x 5 pixels",
        ),
        Claim(
            "The uncertainty of TAE is high where it is wrong, more so than that of MVAE",
            tae > max(mvae, 0.0),
            f"rank correlation of std and error: TAE {tae:.2f}, MVAE {mvae:.2f}",
        ),
    ]


def _root_mean_square(error: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.square(error).mean())) if error.size else math.nan
