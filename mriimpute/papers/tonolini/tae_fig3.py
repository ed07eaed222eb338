"""Recovery of MNIST as less is observed, or as it is noisier: mean and density, MVAE and TAE."""

from collections.abc import Mapping
from dataclasses import dataclass

from mriimpute.papers.data import Data
from mriimpute.papers.experiment import (
    Budget,
    Cell,
    Claim,
    Conclusion,
    Images,
    Lines,
    Outcome,
    Outcomes,
    Series,
    Table,
    Task,
)
from mriimpute.papers.tonolini.posteriors import (
    LABELS,
    NOISE_STD,
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

TITLE = "Recovery of MNIST from missing pixels and noise: MVAE and TAE"
SOURCE = "Tonolini et al. 2021, Fig. 3, and supplements D.4 (no noise) and D.5 (noise alone)"
DATA: tuple[str, ...] = ("mnist",)

MODELS: tuple[Variant, ...] = ("mvae", "tae")
CLOSE_DB = 2.0  # "very similar" PSNR, as the paper's curves are


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A curve of the figure.

    Attributes:
        title: Above its panels.
        x_label: What `levels` are.
        noise: Whether levels are of noise; else they are ratios of observed pixels.
        noise_std: Where levels are ratios.
        repeats: In the paper.
    """

    title: str
    x_label: str
    noise: bool = False
    noise_std: float = 0.0
    repeats: int

    def case(self, model: Variant, level: float, repeat: int, effort: Effort) -> Case:
        """Returns the case of a level."""
        missing, noise_std = (0.0, level) if self.noise else (1 - level, self.noise_std)
        return Case(
            data="mnist",
            model=model,
            missing=round(missing, 6),
            noise_std=noise_std,
            repeat=repeat,
            effort=effort,
        )


RATIO = "ratio of observed pixels"
PANELS: dict[str, Panel] = {
    "noisy": Panel(title="Missing, noisy", x_label=RATIO, noise_std=NOISE_STD, repeats=5),
    "exact": Panel(title="Missing, no noise (D.4)", x_label=RATIO, repeats=3),
    "noise": Panel(title="Noise alone (D.5)", x_label="std of noise", noise=True, repeats=3),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a budget pays for.

    Attributes:
        levels: Of each panel. The paper gives them in its figures only.
        repeated: Whether corruptions are drawn as often as in the paper, or once.
        effort: For each model.
    """

    levels: Mapping[str, tuple[float, ...]]
    repeated: bool
    effort: Effort

    def repeats(self, panel: str) -> range:
        """Returns the repeats of a panel."""
        return range(PANELS[panel].repeats if self.repeated else 1)


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        levels={"noisy": (0.2, 0.8), "exact": (0.2,), "noise": (0.3,)},
        repeated=False,
        effort=SMOKE,
    ),
    "cpu": Plan(
        levels={"noisy": (0.1, 0.3, 0.8), "exact": (0.1, 0.8), "noise": (0.1, 0.3)},
        repeated=False,
        effort=brief(1000),
    ),
    "paper": Plan(
        levels={
            "noisy": (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9),
            "exact": (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9),
            "noise": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
        },
        repeated=True,
        effort=PAPER,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per panel, level, model and repeat."""
    plan = PLANS[budget]
    return [
        task(PANELS[panel].case(model, level, repeat, plan.effort), *_key(panel, level, model, n))
        for panel, levels in plan.levels.items()
        for level in levels
        for model in MODELS
        for n, repeat in enumerate(plan.repeats(panel))
    ]


def perform(task: Task, data: Data, *, seed: int, device: str) -> Outcome:
    """Trains one model and judges its posterior."""
    return run(task, data, seed=seed, device=device)


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns PSNR and ELBO over the levels of each panel, and images as in the paper."""
    plan = PLANS[budget]
    found = {
        (panel, level, model): average(
            outcomes[_key(panel, level, model, repeat)] for repeat in plan.repeats(panel)
        )
        for panel, levels in plan.levels.items()
        for level in levels
        for model in MODELS
    }
    rows: list[list[Cell]] = [
        [
            PANELS[panel].title,
            level,
            LABELS[model],
            numbers["elbo"],
            "figure only",
            *(numbers[score] for score in SCORES),
        ]
        for (panel, level, model), numbers in found.items()
    ]
    columns = ["corruption", "level", "model", "ELBO", "ELBO, paper", *SCORES.values()]
    table = Table("MNIST: level is the ratio observed, or the std of the noise", columns, rows)
    curves = [
        Lines(
            PANELS[panel].title,
            PANELS[panel].x_label,
            label,
            {LABELS[model]: _series(found, plan, panel, model, name) for model in MODELS},
        )
        for name, label in (("psnr_db", "PSNR of mean [dB]"), ("elbo", "ELBO [nats]"))
        for panel in plan.levels
    ]
    return Conclusion([table], [*curves, *_pictures(outcomes, plan)], _claims(found))


Found = dict[tuple[str, float, Variant], dict[str, float]]


def _key(panel: str, level: float, model: Variant, repeat: int) -> tuple[str, ...]:
    return panel, f"{level:g}", model, str(repeat)


def _series(found: Found, plan: Plan, panel: str, model: Variant, name: str) -> Series:
    levels = plan.levels[panel]
    numbers = [found[panel, level, model] for level in levels]
    spread = [n[f"{name}_std"] for n in numbers] if plan.repeated else None
    return levels, [n[name] for n in numbers], spread


def _pictures(outcomes: Outcomes, plan: Plan) -> list[Images]:
    shown = {"noisy": plan.levels["noisy"][0], "noise": plan.levels["noise"][-1]}
    return [
        image
        for panel, level in shown.items()
        for image in gallery(
            f"{PANELS[panel].title}, {PANELS[panel].x_label} {level:g}",
            {LABELS[model]: outcomes[_key(panel, level, model, 0)] for model in MODELS},
            images=3,
        )
    ]


def _claims(found: Found) -> list[Claim]:
    cells = sorted({(panel, level) for panel, level, _ in found})
    gap = {
        name: [found[*cell, "tae"][name] - found[*cell, "mvae"][name] for cell in cells]
        for name in ("psnr_db", "elbo")
    }
    least = min(gap["elbo"])
    exact = {
        level: g for (panel, level), g in zip(cells, gap["elbo"], strict=True) if panel == "exact"
    }
    few, many = min(exact), max(exact)
    claims = [
        Claim(
            "The means of MVAE and TAE are about as good everywhere",
            max(map(abs, gap["psnr_db"])) <= CLOSE_DB,
            f"TAE is {min(gap['psnr_db']):+.1f} to {max(gap['psnr_db']):+.1f} dB better",
        ),
        Claim(
            "TAE has the higher ELBO everywhere",
            least > 0,
            f"by {least:.0f} to {max(gap['elbo']):.0f} nats",
        ),
    ]
    if few < many:
        claims.append(
            Claim(
                "Without noise the gap in ELBO shrinks as more is observed",
                exact[many] < exact[few],
                f"{exact[few]:.0f} nats at {few:g}, {exact[many]:.0f} at {many:g}",
            )
        )
    return claims
