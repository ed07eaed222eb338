"""The methods that are compared: by name, from a run folder, or fitted for the occasion.

`cross-plane-ridge` is fitted on the train split like every model; `cross-plane-ridge@scan` is the
same method that learns from each scan alone. `cross-plane@package` are the weights that come with
the package, as `mriimpute impute` takes them, `cross-plane@adapt` the same with `--adapt`, and
`cross-plane@exam` with the other scans of the same session, as with `--together`.
Other programs take part by their command line: see `mriimpute.methods.external`.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mriimpute import __version__
from mriimpute.errors import ConfigError, MriImputeError, listed, suggestion
from mriimpute.evaluation.failures import as_mriimpute_error
from mriimpute.evaluation.simulated import OnFailure, ScoredSplit
from mriimpute.files import sha256
from mriimpute.io import stem
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.external import External
from mriimpute.methods.registry import (
    DEFAULT,
    load_imputer,
    model_file,
    uses_device,
    without_weights,
)
from mriimpute.progress import Track
from mriimpute.volume import Volume

__all__ = [
    "DEFAULT_METHODS",
    "Method",
    "load_methods",
    "require_known",
    "require_own_device",
    "require_unseen",
    "require_unshared",
    "to_fit",
]

SCAN = "@scan"
PACKAGE, ADAPT, EXAM = (f"{DEFAULT}{ending}" for ending in ("@package", "@adapt", "@exam"))
DEFAULT_METHODS = ("linear", "pchip", "cubic", PACKAGE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Method:
    """A method in the comparison.

    Attributes:
        name: In tables and file names; unique among them.
        fingerprint: Checksum of its weights, or the version of the package where it has none;
            of another program, its command line.
        imputer: What imputes.
        together: The other scans of its session help each scan.
    """

    name: str
    fingerprint: str
    imputer: Imputer
    together: bool = False


def require_known(
    methods: Sequence[str], models: Sequence[Path], externals: Sequence[External] = ()
) -> None:
    """Stops where there is nothing to compare, or a method that is neither built in nor a model.

    An external method must have a name that no other method has.

    Raises:
        ConfigError: If so; the hint lists the known names.
    """
    known = [*_ready(), *_fittable()]
    if not methods and not models and not externals:
        raise ConfigError(
            "no method to evaluate", hint=f"pass some of {listed(known)} with --methods"
        )
    for name in methods:
        if name not in known:
            raise ConfigError(
                f"no method is called {name!r}",
                hint=f"{suggestion(name, known)}; pass a run folder with --model",
            )
    taken = {*known, DEFAULT}
    for external in externals:
        if external.name in taken:
            raise ConfigError(
                f"{external.name!r} is the name of another method",
                hint="give the external method a name of its own",
            )
        taken.add(external.name)


def require_unseen(methods: Sequence[str], split: ScoredSplit) -> None:
    """Stops where a method would be fitted on the scans that it is then scored on.

    Raises:
        ConfigError: If so.
    """
    fitted = to_fit(methods)
    if fitted and split in ("train", "all"):
        raise ConfigError(
            f"{fitted[0]} would be fitted on the train split, which --split {split} scores",
            hint="leave it out of --methods; pass a model that learnt elsewhere with --model",
        )


def require_own_device(methods: Sequence[str], device: str, jobs: int) -> None:
    """Stops where several processes would share one GPU: now, not when methods are fitted.

    Raises:
        ConfigError: If so.
    """
    if any(uses_device(name.partition("@")[0]) for name in methods):
        require_unshared({device}, jobs)


def require_unshared(devices: Set[str], jobs: int) -> None:
    """Stops where several processes would share one GPU.

    Raises:
        ConfigError: If so.
    """
    if jobs > 1 and (busy := sorted(devices - {"cpu"})):
        raise ConfigError(
            f"{jobs} processes would share {busy[0]}",
            hint="leave --jobs out with a GPU, or pass --device cpu",
        )


def to_fit(methods: Sequence[str]) -> list[str]:
    """Returns the methods that have to be fitted to a cohort first."""
    return [name for name in methods if name not in _ready()]


def load_methods(
    methods: Sequence[str],
    models: Sequence[Path],
    *,
    cohort: Path,
    runs: Path,
    seed: int,
    device: str,
    track: Track,
    overwrite: bool,
    on_failure: OnFailure | None = None,
    externals: Sequence[External] = (),
) -> list[Method]:
    """Returns the methods, in the order of `methods`, then of `externals` and of `models`.

    A method that needs fitting is fitted on the train split of `cohort`, unless one of `models`
    is of that kind.

    Args:
        methods: Names.
        models: Run folders or checkpoints.
        cohort: The sparse scans to fit on.
        runs: Where fitted methods are kept, one run folder each.
        seed: Of the training.
        device: "cpu" or "cuda:N".
        track: Shows progress.
        overwrite: Fit again where a fitted method is kept.
        on_failure: Called for each scan of the train split that cannot be read; None: the first
            failure is raised. With it, a method that cannot be fitted fails on every scan.
        externals: Other programs; names that are no method's.
    """
    # Resolved: a run folder called cross-plane is not the package's model of that name.
    given = [(path, load_imputer(str(path.resolve()), device=device)) for path in models]
    supplied = {imputer.name for _, imputer in given}

    loaded = []
    for name in dict.fromkeys(methods):
        if name in supplied:
            continue
        if name in (PACKAGE, ADAPT, EXAM):
            imputer = load_imputer(DEFAULT, device=device, adapt=name == ADAPT)
            fingerprint = sha256(model_file(DEFAULT))
            loaded.append(
                Method(name=name, fingerprint=fingerprint, imputer=imputer, together=name == EXAM)
            )
        elif name in _ready():
            imputer = load_imputer(name.removesuffix(SCAN), device=device)
            loaded.append(Method(name=name, fingerprint=__version__, imputer=imputer))
        else:
            fit = partial(_fitted, name, cohort, runs / name, seed, device, track, overwrite)
            loaded.append(_fit_and_load(name, fit, device, on_failure))
    loaded += [Method(name=e.name, fingerprint=e.command, imputer=e) for e in externals]
    for (path, imputer), name in zip(given, _names(loaded, given), strict=True):
        fingerprint = sha256(model_file(path.resolve()))
        loaded.append(Method(name=name, fingerprint=fingerprint, imputer=imputer))

    return loaded


def _fittable() -> list[str]:
    from mriimpute.methods.registry import trainable

    return trainable()


def _ready() -> list[str]:
    """Returns the methods that need no cohort."""
    plain = [f"{name}{SCAN}" if name in _fittable() else name for name in without_weights()]
    return [*plain, PACKAGE, ADAPT, EXAM]


class _FailedFit(Imputer):
    """Stands for a method that could not be fitted: it fails on every scan, with that error."""

    gives_draws = False

    def __init__(self, name: str, error: MriImputeError) -> None:
        self.name = name
        self.error = error

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Raises the error of the fit."""
        raise as_mriimpute_error(self.error, self.name)


def _fit_and_load(
    name: str,
    fit: Callable[[OnFailure | None], Path],
    device: str,
    on_failure: OnFailure | None,
) -> Method:
    """Returns the method, fitted; a failure to fit must not stop the scoring of the others."""
    try:
        weights = fit(on_failure)
        imputer = load_imputer(str(weights), device=device)
    except Exception as error:
        if on_failure is None or isinstance(error, ConfigError):
            raise
        unfit = _FailedFit(name, as_mriimpute_error(error, f"fitting {name}"))
        return Method(name=name, fingerprint="", imputer=unfit)
    return Method(name=name, fingerprint=sha256(weights), imputer=imputer)


def _fitted(
    name: str,
    cohort: Path,
    run: Path,
    seed: int,
    device: str,
    track: Track,
    overwrite: bool,
    on_failure: OnFailure | None,
) -> Path:
    from mriimpute.training import preset, train

    def leave_out(scan: Path, error: MriImputeError) -> None:
        if on_failure is not None:
            on_failure(stem(scan), error)

    return train(
        cohort,
        run,
        preset(name),
        seed=seed,
        device=device,
        max_minutes=None,
        track=track,
        overwrite=overwrite,
        on_failure=leave_out if on_failure else None,
    )


def _names(taken: Sequence[Method], given: Sequence[tuple[Path, Imputer]]) -> list[str]:
    """Returns the models' names, with the run folder's name where two would be alike."""
    plain = [imputer.name for _, imputer in given]
    counts = Counter([*plain, *(method.name for method in taken)])
    names = [
        f"{name}@{(path if path.is_dir() else path.parent).resolve().name}"
        if counts[name] > 1
        else name
        for name, (path, _) in zip(plain, given, strict=True)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name}#{seen[name]}"
    return names
