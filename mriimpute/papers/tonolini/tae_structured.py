"""Recovery of MNIST where only a window of 10 x 10 pixels is visible."""

from collections.abc import Mapping

from mriimpute.papers.experiment import Budget, Cell, Claim, Conclusion, Outcomes, Table, Task
from mriimpute.papers.tonolini.posteriors import (
    LABELS,
    PAPER,
    SMOKE,
    RecoveryConfig,
    TrainingBudget,
    Variant,
    cpu_budget,
    perform,
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

PLANS: dict[Budget, TrainingBudget] = {"smoke": SMOKE, "cpu": cpu_budget(4000), "paper": PAPER}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per model."""
    return [
        task(RecoveryConfig(data="mnist", model=m, window=WINDOW, effort=PLANS[budget]), m)
        for m in MODELS
    ]


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the ELBO beside the paper's, and images as in its Fig. 8."""
    scores = {model: average([outcomes[(model,)]]) for model in MODELS}
    rows: list[list[Cell]] = [
        [
            LABELS[model],
            numbers["elbo"],
            PUBLISHED.get(model, "not in the paper"),
            *(numbers[score] for score in SCORES),
        ]
        for model, numbers in scores.items()
    ]
    table = Table(
        "Bound of log q(clean | window) in nats, and scores of the recovery of all pixels",
        ["model", "ELBO", "ELBO, paper", *SCORES.values()],
        rows,
    )
    shown = {LABELS[model]: outcomes[(model,)] for model in ("mvae", "tae")}
    mvae, tae = scores["mvae"], scores["tae"]
    claims = [
        Claim(
            "TAE has the higher ELBO",
            tae["elbo"] > mvae["elbo"],
            f"TAE {tae['elbo']:.0f}, MVAE {mvae['elbo']:.0f}",
        ),
        Claim(
            "Without pixel noise TAE draws differ more from each other than MVAE draws",
            _latent_std(tae) > _latent_std(mvae),
            f"their standard deviation: TAE {_latent_std(tae):.3f}, MVAE {_latent_std(mvae):.3f}",
        ),
    ]
    return Conclusion([table], gallery("A window of 10 x 10", shown), claims)


def _latent_std(scores: Mapping[str, float]) -> float:
    """Returns the standard deviation of draws without pixel noise: spread/skill times skill."""
    return float(scores["latent_spread_skill"] * 10 ** (-scores["psnr_db"] / 20))
