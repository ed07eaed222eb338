"""Methods by name: the one place that knows all of them.

A method is a line of `METHODS`; a model of patches is found by its file in `patches/models`. Help
texts, `train`, `impute` and `evaluate` take them from here. Nothing is loaded before it is asked
for: the help of the commands is made of this table.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mriimpute.errors import ConfigError, listed, suggestion
from mriimpute.memory import LIBRARIES, require_loadable

if TYPE_CHECKING:
    from mriimpute.methods.base import Imputer, Learner

__all__ = [
    "DEFAULT",
    "METHODS",
    "descriptions",
    "identity",
    "learner_class",
    "load_imputer",
    "model_file",
    "trainable",
    "uses_device",
    "without_weights",
]

ROOT = "mriimpute.methods"

DEFAULT = "cross-plane"
"""Its weights come with the package."""


class Method(NamedTuple):
    """A method, before it is loaded.

    Attributes:
        about: One line of help.
        imputer: Module in this folder, and class; a subclass of `Imputer`.
        learner: The same of its `Learner`, if it can be trained.
        needs_weights: It imputes with what was trained alone.
        uses_device: It computes on a device, which takes torch.
    """

    about: str
    imputer: str
    learner: str = ""
    needs_weights: bool = False
    uses_device: bool = False


INTERPOLATION = "interpolation:Interpolation"
CROSS_PLANE = "cross_plane.imputer:CrossPlane", "cross_plane.learner:LineLearner"
PATCHES = "patches.imputer:PatchImputer"

METHODS = {
    "nearest": Method("the nearest acquired voxel", INTERPOLATION),
    "linear": Method("linear interpolation", INTERPOLATION),
    "pchip": Method("monotone cubic interpolation", INTERPOLATION),
    "makima": Method("modified Akima interpolation", INTERPOLATION),
    "cubic": Method("cubic spline", INTERPOLATION),
    "bspline": Method("cubic B-spline, as SimpleITK resamples", INTERPOLATION),
    "cross-plane": Method(
        "a network learnt from lines hidden inside slices; the default. It starts from the "
        "weights of the package: 10 minutes on a CPU; from scratch, an hour",
        *CROSS_PLANE,
        needs_weights=True,
        uses_device=True,
    ),
    "cross-plane-latent": Method(
        "the same network, and how its errors go together, by the evidence bound",
        *CROSS_PLANE,
        needs_weights=True,
        uses_device=True,
    ),
    "cross-plane-ridge": Method(
        "filters learnt inside slices; seconds on a CPU",
        "ridge.imputer:CrossPlaneRidge",
        "ridge.learner:RidgeLearner",
    ),
    "dictionary": Method(
        "patches made of a few atoms, learnt from the scan itself",
        "dictionary.imputer:DictionaryImputer",
        uses_device=True,
    ),
    "deep-image-prior": Method(
        "decoders fitted to the planes of the scan itself",
        "deep_image_prior.imputer:DeepImagePrior",
        uses_device=True,
    ),
}
"""All but models of patches."""

EM = ("mixture-ppca", "ppca-em")
"""Models of patches that learn by expectation maximisation; the others learn by gradients."""

MODEL = "model.safetensors"
"""What training leaves in a run folder."""


def without_weights() -> list[str]:
    """Returns the names of the methods that impute without having been trained."""
    return [name for name, method in METHODS.items() if not method.needs_weights]


def trainable() -> list[str]:
    """Returns the names of all models that can be trained."""
    return sorted({name for name, method in METHODS.items() if method.learner} | set(_models()))


def descriptions() -> dict[str, str]:
    """Returns a line of help for each model that can be trained, the default first.

    Of a model of patches it is the first line of its file.
    """
    found = {name: method.about for name, method in METHODS.items() if method.learner}
    for name, path in sorted(_models().items()):
        with path.open(encoding="utf-8") as file:
            found[name] = file.readline().strip().strip('".')
    return found


def learner_class(name: str) -> "type[Learner]":
    """Returns the learner of a model that can be trained."""
    kind: type[Learner] = _loaded(_method(name).learner)
    return kind


def load_imputer(name: str, *, device: str, adapt: bool = False, fast: bool = False) -> "Imputer":
    """Returns the imputer that `name` stands for.

    Args:
        name: A method without weights, `DEFAULT`, a run folder, or a `model.safetensors` in one.
        device: Where a method that uses one computes, "cpu" or "cuda:N".
        adapt: Let `cross-plane` learn from each scan before imputing it.
        fast: Let `cross-plane` compute faster and less exactly.

    Raises:
        ConfigError: If there is neither a method nor a run of that name, or it cannot do that.
        CheckpointError: If the run's weights are missing, damaged or of another version.
    """
    if name not in without_weights():
        return _trained(model_file(name), device, adapt=adapt, fast=fast)
    if adapt:
        raise _cannot_adapt(name)
    if fast:
        raise _not_faster(name)
    imputer: Imputer = _loaded(METHODS[name].imputer).without_weights(name, device)
    return imputer


def uses_device(name: str) -> bool:
    """Tells whether a method computes on a device; to ask for one loads torch."""
    return name not in METHODS or METHODS[name].uses_device


def identity(name: str) -> str:
    """Returns what tells one imputer from another: a method's name or a model file's SHA-256.

    Raises:
        ConfigError: If there is neither a method nor a run of that name.
    """
    from mriimpute.files import sha256

    return name if name in without_weights() else f"sha256:{sha256(model_file(name))}"


def model_file(name: str | Path) -> Path:
    """Returns the model file that a run folder, the file itself, or `DEFAULT` stands for.

    Raises:
        ConfigError: If there is neither.
    """
    from mriimpute.files import shipped

    path = shipped(DEFAULT) if str(name) == DEFAULT else Path(name)
    if not path.exists():
        raise _unknown(str(name))
    if not path.is_dir():
        return path
    if not (path / MODEL).is_file():
        raise ConfigError(
            f"{path} holds no {MODEL}", hint="pass a run folder that `mriimpute train` has filled"
        )
    return path / MODEL


def _models() -> dict[str, Path]:
    """Returns the models of patches: name and file."""
    files = (Path(__file__).parent / "patches" / "models").glob("[!_]*.py")
    return {path.stem.replace("_", "-"): path for path in files}


def _method(name: str) -> Method:
    learner = "patches.em_learner:EmLearner" if name in EM else "patches.learner:PatchLearner"
    return METHODS.get(name, Method("", PATCHES, learner, needs_weights=True, uses_device=True))


def _unknown(name: str) -> ConfigError:
    """Returns what is wrong with a name that stands for nothing that imputes."""
    known = [DEFAULT, *without_weights()]
    if (spelt := name.lower().replace("_", "-")) in trainable() and spelt not in known:
        return ConfigError(
            f"{spelt} has no weights in the package: it needs training first",
            hint=f"run `mriimpute train SCANS --model {spelt}` and pass its run folder, or use "
            f"one of {listed(known)}",
        )
    return ConfigError(
        f"no model is called {name!r}", hint=f"{suggestion(name, known)}, or pass a run folder"
    )


def _trained(path: Path, device: str, *, adapt: bool, fast: bool) -> "Imputer":
    require_loadable(*LIBRARIES, "torch")
    from mriimpute.checkpoint import load, understood  # loads torch

    tensors, metadata = load(path)
    with understood(path):
        name = metadata["name"]
    if adapt and name != DEFAULT:
        raise _cannot_adapt(name)
    if fast and _method(name).imputer != CROSS_PLANE[0]:
        raise _not_faster(name)

    options = {word: True for word, asked in (("adapt", adapt), ("fast", fast)) if asked}
    with understood(path):
        kind = _loaded(_method(name).imputer)
        imputer: Imputer = kind.from_checkpoint(tensors, metadata, device=device, **options)
        return imputer


def _loaded(place: str) -> Any:
    """Returns a class, which may load torch, by its module and name."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"{ROOT}.{module}"), name)


def _cannot_adapt(name: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot adapt to a scan", hint="leave --adapt out, or use --model cross-plane"
    )


def _not_faster(name: str) -> ConfigError:
    return ConfigError(
        f"{name} has no faster way", hint="leave --fast out, or use --model cross-plane"
    )
