"""Recovery of MNIST where only a window of 10 x 10 pixels is visible."""

from collections.abc import Mapping

from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Budget,
    Cell,
    Claim,
    Conclusion,
    Outcome,
    Outcomes,
    Table,
    Task,
)
from mriimpute.papers.tonolini.posteriors import (
    LABELS,
    PAPER,
    SMOKE,
    Case,
    Effort,
    Variant,
    brief,
    run,
    task,
)
from mriimpute.papers.tonolini.recovery import SCORES, average, gallery

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Recovery of MNIST from a window of 10 x 10 pixels"
SOURCE = "Tonolini et al. 2021, supplement D.2, Fig. 8"
DATA: tuple[str, ...] = ("mnist",)

MODELS: tuple[Variant, ...] = ("mvae", "mvae-denoised", "tae")
PUBLISHED: dict[Variant, float] = {"mvae": 428.0, "tae": 638.0}
WINDOW = 10  # pixels

EFFORTS: dict[Budget, Effort] = {"smoke": SMOKE, "cpu": brief(4000), "paper": PAPER}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per model."""
    return [
        task(Case(data="mnist", model=model, window=WINDOW, effort=EFFORTS[budget]), model)
        for model in MODELS
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains one model and judges its posterior."""
    return run(task, data, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the ELBO beside the paper's, and images as in its Fig. 8."""
    found = {model: average([outcomes[(model,)]]) for model in MODELS}
    rows: list[list[Cell]] = [
        [
            LABELS[model],
            numbers["elbo"],
            PUBLISHED.get(model, "not in the paper"),
            *(numbers[score] for score in SCORES),
        ]
        for model, numbers in found.items()
    ]
    table = Table(
        "Bound of log q(clean | window) in nats, and scores of the recovery of all pixels",
        ["model", "ELBO", "ELBO, paper", *SCORES.values()],
        rows,
    )
    shown = {LABELS[model]: outcomes[(model,)] for model in ("mvae", "tae")}
    mvae, tae = found["mvae"], found["tae"]
    claims = [
        Claim(
            "TAE has the higher ELBO",
            tae["elbo"] > mvae["elbo"],
            f"TAE {tae['elbo']:.0f}, MVAE {mvae['elbo']:.0f}",
        ),
        Claim(
            "Without pixel noise TAE draws differ more from each other than MVAE draws",
            _spread(tae) > _spread(mvae),
            f"their standard deviation: TAE {_spread(tae):.3f}, MVAE {_spread(mvae):.3f}",
        ),
    ]
    return Conclusion([table], gallery("A window of 10 x 10", shown), claims)


def _spread(scores: Mapping[str, float]) -> float:
    """Returns the standard deviation of draws without pixel noise: spread/skill times skill."""
    return float(scores["latent_spread_skill"] * 10 ** (-scores["psnr_db"] / 20))
