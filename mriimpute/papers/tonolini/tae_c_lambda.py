"""The density that TAE gives to clean data, over C and lambda: MNIST with 90 % missing."""

from dataclasses import dataclass, replace

from mriimpute.papers.experiment import (
    Budget,
    Claim,
    Conclusion,
    Lines,
    Outcomes,
    Series,
    Table,
    Task,
)
from mriimpute.papers.tonolini.posteriors import (
    PAPER,
    SMOKE,
    RecoveryConfig,
    TrainingBudget,
    cpu_budget,
    perform,
    task,
)
from mriimpute.papers.tonolini.recovery import average

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "TAE over a grid of C and lambda: MNIST, 90 % missing"
SOURCE = "Tonolini et al. 2021, supplement D.1, Fig. 7"
DATA: tuple[str, ...] = ("mnist",)

MISSING = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a budget pays for.

    Attributes:
        localisations: Values of C, in nats.
        strengths: Values of lambda.
        training: Training and evaluation of each point of the grid.
    """

    localisations: tuple[float, ...]
    strengths: tuple[float, ...]
    training: TrainingBudget


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(localisations=(4.0, 16.0), strengths=(0.5, 2.0), training=SMOKE),
    "cpu": Plan(
        localisations=(4.0, 16.0, 64.0), strengths=(0.5, 2.0, 8.0), training=cpu_budget(1000)
    ),
    "paper": Plan(
        localisations=(1.0, 2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0),
        strengths=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
        training=PAPER,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per point of the grid, and one for MVAE."""
    plan = PLANS[budget]
    mvae = RecoveryConfig(data="mnist", model="mvae", missing=MISSING, effort=plan.training)
    return [
        task(mvae, "mvae"),
        *(
            task(replace(mvae, model="tae", localisation=c, strength=strength), *_key(c, strength))
            for c in plan.localisations
            for strength in plan.strengths
        ),
    ]


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the grid of ELBOs beside that of MVAE."""
    plan = PLANS[budget]
    mvae = average([outcomes[("mvae",)]])["elbo"]
    scores = {
        (c, strength): average([outcomes[_key(c, strength)]])
        for c in plan.localisations
        for strength in plan.strengths
    }
    tables = [
        Table(
            f"{label}; the paper's values are in a figure only",
            ["C", *(f"lambda {strength:g}" for strength in plan.strengths)],
            [
                [f"{c:g}", *(scores[c, strength][name] for strength in plan.strengths)]
                for c in plan.localisations
            ],
        )
        for name, label in (
            ("elbo", f"ELBO of TAE in nats (MVAE: {mvae:.0f})"),
            ("latent_spread_skill", "Spread/skill of TAE draws without pixel noise"),
        )
    ]
    series: dict[str, Series] = {
        f"TAE, lambda {strength:g}": (
            plan.localisations,
            [scores[c, strength]["elbo"] for c in plan.localisations],
            None,
        )
        for strength in plan.strengths
    }
    series["MVAE"] = ([min(plan.localisations), max(plan.localisations)], [mvae, mvae], None)
    plot = Lines("MNIST, 90 % missing", "C [nats]", "ELBO [nats]", series, log_x=True)
    above = sum(numbers["elbo"] > mvae for numbers in scores.values())
    claim = Claim(
        "TAE exceeds MVAE over a broad range of C and lambda (most of the grid)",
        above > len(scores) / 2,
        f"at {above} of {len(scores)} points",
    )
    return Conclusion(tables, [plot], [claim])


def _key(localisation: float, strength: float) -> tuple[str, ...]:
    return "tae", f"C{localisation:g}", f"lambda{strength:g}"
