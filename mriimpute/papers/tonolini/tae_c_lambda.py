"""The density that TAE gives to clean data, over C and lambda: MNIST with 90 % missing."""

from dataclasses import dataclass

from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Budget,
    Claim,
    Conclusion,
    Lines,
    Outcome,
    Outcomes,
    Table,
    Task,
)
from mriimpute.papers.tonolini.posteriors import PAPER, SMOKE, Case, Effort, brief, run, task
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
        effort: For each point of the grid.
    """

    localisations: tuple[float, ...]
    strengths: tuple[float, ...]
    effort: Effort


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(localisations=(4.0, 16.0), strengths=(0.5, 2.0), effort=SMOKE),
    "cpu": Plan(localisations=(4.0, 16.0, 64.0), strengths=(0.5, 2.0, 8.0), effort=brief(1000)),
    "paper": Plan(
        localisations=(1.0, 2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0),
        strengths=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
        effort=PAPER,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per point of the grid, and one for MVAE."""
    plan = PLANS[budget]
    mvae = Case(data="mnist", model="mvae", missing=MISSING, effort=plan.effort)
    return [
        task(mvae, "mvae"),
        *(
            task(
                Case(
                    data="mnist",
                    model="tae",
                    missing=MISSING,
                    localisation=localisation,
                    strength=strength,
                    effort=plan.effort,
                ),
                *_key(localisation, strength),
            )
            for localisation in plan.localisations
            for strength in plan.strengths
        ),
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains one model and judges its posterior."""
    return run(task, data, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns the grid of ELBOs beside that of MVAE."""
    plan = PLANS[budget]
    mvae = average([outcomes[("mvae",)]])["elbo"]
    found = {
        (localisation, strength): average([outcomes[_key(localisation, strength)]])
        for localisation in plan.localisations
        for strength in plan.strengths
    }
    tables = [
        Table(
            f"{label}; the paper's values are in a figure only",
            ["C", *(f"lambda {strength:g}" for strength in plan.strengths)],
            [
                [f"{localisation:g}", *(found[localisation, s][name] for s in plan.strengths)]
                for localisation in plan.localisations
            ],
        )
        for name, label in (
            ("elbo", f"ELBO of TAE in nats (MVAE: {mvae:.0f})"),
            ("latent_spread_skill", "Spread/skill of TAE draws without pixel noise"),
        )
    ]
    ends = [min(plan.localisations), max(plan.localisations)]
    plot = Lines(
        "MNIST, 90 % missing",
        "C [nats]",
        "ELBO [nats]",
        {
            **{
                f"TAE, lambda {strength:g}": (
                    plan.localisations,
                    [found[c, strength]["elbo"] for c in plan.localisations],
                    None,
                )
                for strength in plan.strengths
            },
            "MVAE": (ends, [mvae, mvae], None),
        },
        log_x=True,
    )
    above = [point for point, numbers in found.items() if numbers["elbo"] > mvae]
    claim = Claim(
        "TAE exceeds MVAE over a broad range of C and lambda (most of the grid)",
        len(above) > len(found) / 2,
        f"at {len(above)} of {len(found)} points",
    )
    return Conclusion(tables, [plot], [claim])


def _key(localisation: float, strength: float) -> tuple[str, ...]:
    return "tae", f"C{localisation:g}", f"lambda{strength:g}"
