"""Recovery of MNIST as less is observed, or as it is noisier: mean and density, MVAE and TAE."""

from collections.abc import Mapping
from dataclasses import dataclass

from mriimpute.papers.experiment import (
    Budget,
    Cell,
    Claim,
    Conclusion,
    Images,
    Lines,
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
    RecoveryConfig,
    TrainingBudget,
    Variant,
    cpu_budget,
    perform,
    task,
)
from mriimpute.papers.tonolini.recovery import SCORES, average, gallery

__all__ = ["DATA", "SOURCE", "TITLE", "conclude", "perform", "tasks"]

TITLE = "Recovery of MNIST from missing pixels and noise: MVAE and TAE"
SOURCE = "Tonolini et al. 2021, Fig. 3, and supplements D.4 (no noise) and D.5 (noise alone)"
DATA: tuple[str, ...] = ("mnist",)

Scores = dict[tuple[str, float, Variant], dict[str, float]]
MODELS: tuple[Variant, ...] = ("mvae", "tae")
CLOSE_DB = 2.0  # "very similar" PSNR, as the paper's curves are


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A curve of the figure.

    Attributes:
        title: Above its panels.
        x_label: What `levels` are.
        noise: Whether levels are of noise; else they are ratios of observed pixels.
        noise_std: Standard deviation of the noise where levels are ratios.
        repeats: In the paper.
    """

    title: str
    x_label: str
    noise: bool = False
    noise_std: float = 0.0
    repeats: int

    def config(
        self, model: Variant, level: float, repeat: int, training: TrainingBudget
    ) -> RecoveryConfig:
        """Returns the settings of a model at a level."""
        missing, noise_std = (0.0, level) if self.noise else (1 - level, self.noise_std)
        return RecoveryConfig(
            data="mnist",
            model=model,
            missing=round(missing, 6),
            noise_std=noise_std,
            repeat=repeat,
            effort=training,
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
        training: Training and evaluation of each model.
    """

    levels: Mapping[str, tuple[float, ...]]
    repeated: bool
    training: TrainingBudget

    def repeats(self, panel: str) -> range:
        """Returns the repeats of a panel."""
        return range(PANELS[panel].repeats if self.repeated else 1)


PLANS: dict[Budget, Plan] = {
    "smoke": Plan(
        levels={"noisy": (0.2, 0.8), "exact": (0.2,), "noise": (0.3,)},
        repeated=False,
        training=SMOKE,
    ),
    "cpu": Plan(
        levels={"noisy": (0.1, 0.3, 0.8), "exact": (0.1, 0.8), "noise": (0.1, 0.3)},
        repeated=False,
        training=cpu_budget(1000),
    ),
    "paper": Plan(
        levels={
            "noisy": (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9),
            "exact": (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9),
            "noise": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
        },
        repeated=True,
        training=PAPER,
    ),
}


def tasks(budget: Budget, seed: int) -> list[Task]:
    """Returns one task per panel, level, model and repeat."""
    plan = PLANS[budget]
    return [
        task(
            PANELS[panel].config(model, level, repeat, plan.training),
            *_key(panel, level, model, repeat),
        )
        for panel, levels in plan.levels.items()
        for level in levels
        for model in MODELS
        for repeat in plan.repeats(panel)
    ]


def conclude(outcomes: Outcomes, budget: Budget) -> Conclusion:
    """Returns PSNR and ELBO over the levels of each panel, and images as in the paper."""
    plan = PLANS[budget]
    scores: Scores = {
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
            *(numbers[name] for name in SCORES),
        ]
        for (panel, level, model), numbers in scores.items()
    ]
    columns = ["corruption", "level", "model", "ELBO", "ELBO, paper", *SCORES.values()]
    table = Table("MNIST: level is the ratio observed, or the std of the noise", columns, rows)
    curves = [
        Lines(
            PANELS[panel].title,
            PANELS[panel].x_label,
            label,
            {LABELS[model]: _series(scores, plan, panel, model, name) for model in MODELS},
        )
        for name, label in (("psnr_db", "PSNR of mean [dB]"), ("elbo", "ELBO [nats]"))
        for panel in plan.levels
    ]
    return Conclusion([table], [*curves, *_pictures(outcomes, plan)], _claims(scores))


def _key(panel: str, level: float, model: Variant, repeat: int) -> tuple[str, ...]:
    return panel, f"{level:g}", model, str(repeat)


def _series(scores: Scores, plan: Plan, panel: str, model: Variant, name: str) -> Series:
    levels = plan.levels[panel]
    numbers = [scores[panel, level, model] for level in levels]
    std = [n[f"{name}_std"] for n in numbers] if plan.repeated else None
    return levels, [n[name] for n in numbers], std


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


def _claims(scores: Scores) -> list[Claim]:
    cells = sorted({(panel, level) for panel, level, _ in scores})
    psnr, elbo = (
        {cell: scores[*cell, "tae"][name] - scores[*cell, "mvae"][name] for cell in cells}
        for name in ("psnr_db", "elbo")
    )
    claims = [
        Claim(
            "The means of MVAE and TAE are about as good everywhere",
            max(map(abs, psnr.values())) <= CLOSE_DB,
            f"TAE is {min(psnr.values()):+.1f} to {max(psnr.values()):+.1f} dB better",
        ),
        Claim(
            "TAE has the higher ELBO everywhere",
            min(elbo.values()) > 0,
            f"by {min(elbo.values()):.0f} to {max(elbo.values()):.0f} nats",
        ),
    ]
    exact = {level: gap for (panel, level), gap in elbo.items() if panel == "exact"}
    few, many = min(exact), max(exact)
    if few < many:
        claims.append(
            Claim(
                "Without noise the gap in ELBO shrinks as more is observed",
                exact[many] < exact[few],
                f"{exact[few]:.0f} nats at {few:g}, {exact[many]:.0f} at {many:g}",
            )
        )
    return claims
