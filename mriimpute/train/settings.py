"""The settings of a run: a preset, overlaid by what the user says, completed by defaults."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal

from mriimpute import config
from mriimpute.cohort import PatchConfig
from mriimpute.errors import ConfigError
from mriimpute.methods.cross_plane.hidden_lines import LineConfig
from mriimpute.methods.cross_plane.latent import NAME as LATENT
from mriimpute.methods.cross_plane.latent import Config as LatentConfig
from mriimpute.methods.cross_plane.loss import Config as NetworkConfig
from mriimpute.methods.cross_plane.loss import Loss
from mriimpute.methods.patches import models
from mriimpute.methods.ridge.moments import Config as RidgeConfig

__all__ = [
    "CLOSED_FORM",
    "CROSS_PLANE",
    "DEFAULT",
    "EM",
    "LATENT",
    "Course",
    "EmCourse",
    "EmSettings",
    "LineCourse",
    "LineSettings",
    "Settings",
    "TrainConfig",
    "names",
    "preset",
    "read",
    "resolve",
]

CLOSED_FORM = "cross-plane-ridge"
CROSS_PLANE = DEFAULT = "cross-plane"
LINES = (CROSS_PLANE, LATENT)
"""Learn from lines, and start from the weights of the package."""

EM = ("mixture-ppca", "ppca-em")
"""Are fitted by expectation maximisation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How long and how fast a network learns, whatever it minimises.

    Attributes:
        patches: Patches to learn from, over the whole run.
        batch: Patches per step; at least 2.
        rate: Learning rate after its warm-up.
        final_rate: Learning rate at the end, as a share of `rate`; in between it is a cosine.
        rate_warm_up: Share of the run over which the learning rate rises.
        weight_decay: Of weight matrices and kernels; biases and scalars are left alone.
        clip: Largest norm of the gradient of the loss.
        average: Decay per step of the moving average of the parameters, which is what is kept.
        precision: Of matrix products on CUDA; the CPU always uses float32.
        report: Patches from one line of the journal to the next.
        val_patches: Patches of the validation loss; for `cross-plane`, slices per gap.
        save_minutes: Time from one checkpoint to the next. It changes no result.
    """

    patches: int = 20_000
    batch: int = 16
    rate: float = 1e-3
    final_rate: float = 0.01
    rate_warm_up: float = 0.02
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.995
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    report: int = 1000
    val_patches: int = 64
    save_minutes: float = 2.0

    def __post_init__(self) -> None:
        if self.batch < 2:
            # At batch 1 torch takes a convolution on the CPU that is ten times slower.
            raise ValueError(f"batch must be at least 2, got {self.batch}")
        for name in ("patches", "report", "val_patches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "clip", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("final_rate", "rate_warm_up", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return -(-self.patches // self.batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(Course):
    """How a patch model learns. The gradient of its loss is per observed voxel.

    Attributes:
        objective: "elbo" (variational bound), "evidence" (for models with an exact posterior),
            "importance" (importance weighted bound, `miwae`) or "tomographic" (`tae`).
        draws: Latent draws per patch; of an importance weighted bound, its weights.
        warm_up_start: Share of the run after which the weight of the prior begins to rise.
        warm_up_end: Share of the run after which it is 1.
    """

    objective: Literal["elbo", "evidence", "importance", "tomographic"] = "elbo"
    draws: int = 1
    warm_up_start: float = 0.0
    warm_up_end: float = 0.15

    def __post_init__(self) -> None:
        Course.__post_init__(self)  # super() fails in a class with slots
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        for name in ("warm_up_start", "warm_up_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")
        if self.warm_up_start > self.warm_up_end:
            raise ValueError(
                f"warm_up_start must be at most warm_up_end, got {self.warm_up_start} and "
                f"{self.warm_up_end}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LineCourse(Course):
    """How the cross-plane network learns.

    Attributes:
        start: From the weights of the "package", or from "scratch": random ones, which want a
            longer course; `--from-scratch` chooses both.
        loss: Of the mean, "squared" or "charbonnier".
    """

    start: Literal["package", "scratch"] = "package"
    loss: Loss = "squared"


@dataclass(frozen=True, kw_only=True, slots=True)
class EmCourse:
    """How a Gaussian subspace, or a mixture of some, is fitted by expectation maximisation.

    Attributes:
        patches: Patches to learn from; all of them are kept in memory and read in each iteration.
        batch: Patches worked on at once. It bounds memory.
        iterations: How many.
        kappa: Ridge on what each voxel of a patch is explained by, 1e-2 to 1; 0 for none.
        val_patches: Patches of the validation loss.
    """

    patches: int = 40_000
    batch: int = 512
    iterations: int = 20
    kappa: float = 0.1
    val_patches: int = 2048

    def __post_init__(self) -> None:
        for name in ("patches", "batch", "iterations", "val_patches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.kappa < 0:
            raise ValueError(f"kappa must be at least 0, got {self.kappa}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that decides what a patch model learns, next to the cohort.

    Attributes:
        name: Of the model.
        seed: Of the run.
        model: Settings of the model, complete; its `Config` reads them.
        patches: How patches are drawn.
        train: How long and how fast it learns.
    """

    name: str
    seed: int
    model: dict[str, Any]
    patches: PatchConfig = field(default_factory=PatchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def grid(self) -> tuple[int, ...]:
        """Voxels of a patch along each axis."""
        return tuple(self.model["patch"])


@dataclass(frozen=True, kw_only=True, slots=True)
class EmSettings:
    """Everything that decides what expectation maximisation learns, next to the cohort.

    Attributes:
        name: Of the model.
        seed: Of the run.
        model: Settings of the model, complete; its `Config` reads them.
        patches: How patches are drawn.
        train: From how many, and how long.
    """

    name: str
    seed: int
    model: dict[str, Any]
    patches: PatchConfig = field(default_factory=PatchConfig)
    train: EmCourse = field(default_factory=EmCourse)

    @property
    def grid(self) -> tuple[int, ...]:
        """Voxels of a patch along each axis."""
        return tuple(self.model["patch"])


@dataclass(frozen=True, kw_only=True, slots=True)
class LineSettings:
    """Everything that decides what the cross-plane network learns, next to the cohort.

    Attributes:
        name: Of the model.
        seed: Of the run.
        model: Size of the network, complete; its `Config` reads it.
        lines: How lines are hidden.
        train: How long and how fast it learns; crops of slices are its patches.
    """

    name: str
    seed: int
    model: dict[str, Any]
    lines: LineConfig = field(default_factory=LineConfig)
    train: LineCourse = field(default_factory=LineCourse)


def names() -> list[str]:
    """Returns the names of everything that can be trained."""
    return sorted([CLOSED_FORM, *LINES, *models.available()])


def preset(name: str, *, from_scratch: bool = False) -> dict[str, Any]:
    """Returns the settings that the package brings for a model.

    Args:
        name: Of the model.
        from_scratch: Learn without the weights of the package. Only `LINES` start from any.

    Raises:
        ConfigError: If there is no such model.
    """
    if name not in names():
        raise ConfigError(f"no model is called {name!r}", hint=f"use one of {names()}")
    chosen = {"name": name, **_toml(name)}
    return config.merge(chosen, _toml(f"{name}-scratch")) if from_scratch else chosen


def resolve(settings: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Returns `settings` with every default written out, as TOML would give them back.

    Raises:
        ConfigError: If the model or a setting is unknown, or a value has the wrong type.
    """
    chosen = read(settings, seed=seed)
    complete: dict[str, Any] = {"name": chosen.name, "seed": chosen.seed, "model": chosen.model}
    complete |= {key: dataclasses.asdict(getattr(chosen, key)) for key in _tables(chosen.name)}
    return tomllib.loads(config.dump(complete))


def read(settings: Mapping[str, Any], *, seed: int) -> Settings | EmSettings | LineSettings:
    """Returns `settings` parsed and complete.

    Raises:
        ConfigError: If the model or a setting is unknown, or a value has the wrong type.
    """
    name = settings.get("name")
    if name not in names():
        raise ConfigError(f"no model is called {name!r}", hint=f"use one of {names()}")

    known = ["name", "seed", "model", *_tables(name)]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{name} has no setting {key!r}", hint=f"known: {known}")
    if settings.get("seed", seed) != seed:
        raise ConfigError(
            f"the settings say seed {settings['seed']}, the command {seed}",
            hint=f"pass --seed {settings['seed']}",
        )
    model = _model(name, _table(settings, "model"))
    if name in LINES:
        return LineSettings(
            name=name,
            seed=seed,
            model=model,
            lines=config.parse(LineConfig, _table(settings, "lines"), where="lines"),
            train=config.parse(LineCourse, _table(settings, "train"), where="train"),
        )
    patches = config.parse(PatchConfig, _table(settings, "patches"), where="patches")
    if name in EM:
        course = config.parse(EmCourse, _table(settings, "train"), where="train")
        return EmSettings(name=name, seed=seed, model=model, patches=patches, train=course)
    return Settings(
        name=name,
        seed=seed,
        model=model,
        patches=patches,
        train=config.parse(TrainConfig, _table(settings, "train"), where="train"),
    )


def _toml(name: str) -> dict[str, Any]:
    """Returns a file of the presets; nothing where there is none."""
    file = files("mriimpute").joinpath("presets", f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _tables(name: str) -> tuple[str, ...]:
    """Returns which tables of settings a model has, next to that of its own."""
    match name:
        case "cross-plane-ridge":
            return ()
        case "cross-plane" | "cross-plane-latent":
            return "lines", "train"
        case _:
            return "patches", "train"


def _table(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = settings.get(key, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{key} must be a table, got {table!r}", hint=f"write {key}.<name>=...")
    return table


def _model(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        CLOSED_FORM: RidgeConfig,
        CROSS_PLANE: NetworkConfig,
        LATENT: LatentConfig,
    }
    kind = (
        kinds.get(name)
        or import_module(f"mriimpute.methods.patches.models.{name.replace('-', '_')}").Config
    )
    return dataclasses.asdict(config.parse(kind, table, where="model"))
