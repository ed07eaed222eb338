"""mriimpute from Python: `impute`, `train`, `evaluate` and `simulate`, as the commands do it.

`pool` makes one answer of what was measured on each draw.

    >>> import mriimpute
    >>> imputed = mriimpute.impute("scan.nii.gz", samples=20)            # doctest: +SKIP
    >>> imputed.mean.to_filename("mean.nii.gz")                          # doctest: +SKIP

Names of options are those of the command line, which calls these functions. Errors are those of
`mriimpute.errors`, each with a problem and a hint. `import mriimpute` loads none of this: a
function loads what it needs when it is first asked for.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mriimpute import config as toml
from mriimpute.device import choose_device
from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, MriImputeError
from mriimpute.progress import Track, silent
from mriimpute.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mriimpute.evaluation import Summary
    from mriimpute.evaluation.simulated import ScoredSplit
    from mriimpute.io import Form, Scan
    from mriimpute.methods.external import External
    from mriimpute.metrics import Pooled
    from mriimpute.simulation import SimulationConfig, SimulationReport

__all__ = ["Imputed", "evaluate", "impute", "pool", "settings_of", "simulate", "train"]

Image: TypeAlias = Any
"""A nibabel image."""

PathLike: TypeAlias = str | Path

OnFailure: TypeAlias = Callable[[Any, MriImputeError], None]


@dataclass(frozen=True, slots=True, eq=False)
class Imputed:
    """An imputed scan, in the frame of the scan with its slice axis refined.

    Attributes:
        mean: Conditional mean, a nibabel image in the units of the scan.
        std: Predictive standard deviation, 0 where acquired; None where the method has none.
        draws: Posterior draws; draw 7 is the same for 7 and for 20 samples.
        observed: 1 where acquired, 0 where imputed.
        quality: What the scan's own slices say about the result ("verdict": "pass", "look" or
            "fail"; "reasons", "measures"), and what was assumed of it.
    """

    mean: Image
    std: Image | None
    draws: tuple[Image, ...]
    observed: Image
    quality: dict[str, Any] = field(default_factory=dict)


def impute(
    scan: PathLike | Image | Volume,
    *,
    samples: int = 0,
    companions: Sequence[PathLike] = (),
    model: PathLike = "cross-plane",
    seed: int = 0,
    device: str = "auto",
    spacing: float | None = None,
    observed: PathLike | None = None,
    thickness: float | Literal["auto"] = 0.0,
    adapt: bool = False,
    fast: bool = False,
    xform: "Form" = "auto",
    force: bool = False,
) -> Imputed:
    """Fills the slices that a scan skipped. Acquired voxels come back bit for bit.

    Example:
        >>> import numpy as np
        >>> from mriimpute.volume import Volume
        >>> data = np.random.default_rng(0).random((8, 8, 4), np.float32)
        >>> thick = Volume(data, np.ones(data.shape, bool), np.diag([1.0, 1.0, 3.0, 1.0]))
        >>> imputed = impute(thick, model="linear")
        >>> imputed.mean.shape
        (8, 8, 10)
        >>> bool((imputed.mean.get_fdata()[:, :, ::3] == data).all())
        True

    Args:
        scan: A path to all that `mriimpute impute` takes for one scan, a nibabel image, or a
            `Volume`.
        samples: Number of posterior draws.
        companions: Other scans of the same head, of any contrast, plane and spacing, to help
            cross-plane.
        model: A run folder of `train`, a model file, or the name of a method.
        seed: Names all random streams: same seed, same scan, same draws.
        device: "auto", "cpu", "cuda" or "cuda:N".
        spacing: Between output slices, in mm; None: as inside a slice.
        observed: An image that is 1 where acquired; None: geometry and NaN tell.
        thickness: Slice profile (FWHM) in mm, for cross-plane; 0: point samples; "auto": what the
            header states. A `Volume` says itself, unless it is given here and above 0.
        adapt: Let cross-plane learn from the scan's own slices first.
        fast: Compute faster and less exactly: bfloat16 where the CPU has it, two planes.
        xform: NIfTI form that says where the scan lies.
        force: Impute what seems to hold no intensities, too: phase, field maps, labels.

    Raises:
        MriImputeError: If the scan cannot be read or imputed, or an option does not fit it.
    """
    from mriimpute.imputation.request import Request
    from mriimpute.imputation.scan import imputed_scan
    from mriimpute.imputation.writing import require_finite
    from mriimpute.io.nifti import image_like
    from mriimpute.methods.registry import identity, load_imputer

    name = str(model)
    if isinstance(scan, Volume) and thickness in (0, "auto"):
        thickness = scan.thickness_mm
    request = Request(
        model=identity(name),
        samples=samples,
        seed=seed,
        spacing_mm=spacing,
        observed=None if observed is None else Path(observed),
        thickness_mm=thickness,
        adapt=adapt,
        fast=fast,
        form=xform,
        force=force,
    )
    imputer = load_imputer(name, device=device_of(name, device), adapt=adapt, fast=fast)
    source, content = _read(scan, request.observed, xform)
    grid, imputed, facts = imputed_scan(
        source, imputer, request, content=content, companions=[Path(one) for one in companions]
    )

    def as_image(voxels: Any) -> Image:
        return image_like(voxels, source, refine=(grid.axis, grid.factor))

    draws = []
    for number in range(1, samples + 1):
        voxels = imputed.drawn(number)
        require_finite(voxels, f"draw {number}", source.path, imputer)
        draws.append(as_image(voxels))
    return Imputed(
        mean=as_image(imputed.mean),
        std=None if imputed.std is None else as_image(imputed.std),
        draws=tuple(draws),
        observed=as_image(grid.volume.observed.astype("uint8")),
        quality={**facts, **imputed.quality},
    )


def pool(
    values: "Sequence[Any] | NDArray[Any]",
    variances: "Sequence[Any] | NDArray[Any] | None" = None,
    *,
    level: float = 0.9,
) -> "Pooled":
    """Returns what was measured on each draw, a volume say, pooled by Rubin's rules.

    Segment with what was fitted once, to acquired slices, not anew to each draw. The interval
    holds what draws differ in, which is too little for volumes of whole tissues: see Volumes in
    `mriimpute/evaluation/README.md`.

    Example:
        >>> pooled = pool([10.0, 12.0, 14.0])
        >>> pooled.estimate, pooled.between
        (12.0, 4.0)
        >>> [round(end, 2) for end in pooled.interval]
        [5.26, 18.74]

    Args:
        values: One per draw, at least two; or an array per draw, such as several volumes.
        variances: Of each value if no voxel were missing, of the same shape, as a segmentation or
            a regression states it; None: 0, a volume is then certain given the image.
        level: Of the interval, between 0 and 1.

    Raises:
        ValueError: If there are fewer than two draws, the shapes differ, or a number makes no
            sense.
    """
    from mriimpute.metrics import pooling

    return pooling.pool(values, variances, level=level)


def train(
    cohort: PathLike,
    out: PathLike | None = None,
    *,
    model: str | None = None,
    config: PathLike | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    from_scratch: bool = False,
    seed: int = 0,
    device: str = "auto",
    max_minutes: float | None = None,
    cache: PathLike | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    track: Track = silent,
    on_failure: OnFailure | None = None,
    world: World = ALONE,
) -> Path:
    """Fits a model to sparse scans alone; the same call goes on with a run that was stopped.

    Example:
        >>> run = train("cohort/", model="ppca", max_minutes=30)             # doctest: +SKIP
        >>> imputed = impute("scan.nii.gz", samples=20, model=run)           # doctest: +SKIP

    Args:
        cohort: A scan, a folder or a BIDS tree of sparse scans, or what `simulate` wrote.
        out: Run folder; None: COHORT_MODEL beside the cohort.
        model: What to fit; None: that of `config`, else the default.
        config: TOML file, laid over the preset of the model.
        settings: Such as "train.patches=20000", laid over it; or tables, such as
            `{"train": {"patches": 20000}}`; or, with the name of a model among them, all of them,
            as `settings_of` returns them.
        from_scratch: Do not start from the weights of the package.
        seed: Names all random streams.
        device: "auto", "cpu", "cuda" or "cuda:N".
        max_minutes: Stop after so long, with a model of what was learnt.
        cache: Folder where preprocessed scans are kept for other runs.
        jobs: Processes that read scans side by side; changes no byte.
        overwrite: Begin anew where the folder holds a run.
        track: Shows progress.
        on_failure: Told of every scan that cannot be read; None: the first one is an error.
        world: The processes that share the run, as `torchrun` starts them.

    Returns:
        The run folder.

    Raises:
        MriImputeError: If settings are wrong, nothing can be learnt from, or nothing written.
        KeyboardInterrupt: After a Ctrl-C, once the checkpoint is written.
    """
    from mriimpute.training import train as fit

    if isinstance(settings, Mapping) and "name" in settings:
        chosen = dict(settings)
        if model not in (None, chosen["name"]):
            raise ConfigError(
                f"the settings are those of {chosen['name']!r}, not of {model!r}",
                hint="leave model out, or the name in settings",
            )
    else:
        tables = settings if isinstance(settings, Mapping) else {}
        singles = () if isinstance(settings, Mapping) else settings
        chosen = settings_of(model, config=config, settings=singles, from_scratch=from_scratch)
        chosen = toml.merge(chosen, tables)
    run = _beside(cohort, chosen["name"]) if out is None else Path(out)
    fit(
        Path(cohort),
        run,
        chosen,
        seed=seed,
        device=choose_device(device),
        max_minutes=max_minutes,
        track=track,
        cache=None if cache is None else Path(cache),
        jobs=jobs,
        overwrite=overwrite,
        on_failure=on_failure,
        world=world,
    )
    return run


def settings_of(
    model: str | None = None,
    *,
    config: PathLike | None = None,
    settings: Sequence[str] = (),
    from_scratch: bool = False,
) -> dict[str, Any]:
    """Returns the settings of a run: preset, TOML file and single settings, one over the other.

    Example:
        >>> settings_of("ppca", settings=["train.batch=8"])["train"]["batch"]
        8

    Args:
        model: What to fit; None: that of `config`, else the default.
        config: TOML file, laid over the preset of the model.
        settings: Such as "train.patches=20000", laid over it.
        from_scratch: Do not start from the weights of the package.

    Raises:
        ConfigError: If there is no such model, or the file cannot be read.
    """
    from mriimpute.training import DEFAULT, preset

    given = toml.read_toml(Path(config)) if config is not None else {}
    name = model or given.get("name") or DEFAULT
    base = preset(name, from_scratch=from_scratch)
    chosen = toml.merge(toml.merge(base, given), {"name": name})
    return toml.assign(chosen, list(settings))


def simulate(
    source: PathLike,
    out: PathLike,
    config: "SimulationConfig | None" = None,
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    track: Track = silent,
    **options: Any,
) -> "SimulationReport":
    """Makes sparse scans of full ones, as a scanner would deliver them; keeps the truth apart.

    Example:
        >>> simulate("heads/", "sim/", keep_every=6, jobs=4)                 # doctest: +SKIP

    Args:
        source: Full scans: a file, a folder or a BIDS tree.
        out: Folder for the result.
        config: How scans are made sparse; None: the defaults, changed by `options`.
        seed: Names all random streams.
        jobs: Scans at once; changes no byte.
        overwrite: Replace what is there.
        track: Shows progress.
        options: In place of `config`, its fields, such as `keep_every`.

    Raises:
        MriImputeError: If an option is wrong, a scan cannot be read, or nothing written.
    """
    from mriimpute import simulation as library

    config = config or library.SimulationConfig(**options)
    return library.simulate(
        Path(source), Path(out), config, seed=seed, jobs=jobs, overwrite=overwrite, track=track
    )


def evaluate(
    source: PathLike | Sequence[PathLike],
    out: PathLike | None = None,
    *,
    methods: Sequence[str] | None = None,
    models: Sequence[PathLike] = (),
    externals: "Sequence[External]" = (),
    without_truth: bool = False,
    protocol: str = "simulated",
    split: "ScoredSplit | None" = None,
    samples: int = 20,
    seed: int = 0,
    device: str = "auto",
    jobs: int = 1,
    overwrite: bool = False,
    track: Track = silent,
    on_failure: OnFailure | None = None,
) -> "list[Summary]":
    """Scores imputed scans against truth, or real sparse scans without any: tables and a page.

    Example:
        >>> (summary,) = evaluate("sim/", models=["sim_ppca"])               # doctest: +SKIP
        >>> summary.report / "index.html"                                    # doctest: +SKIP
        PosixPath('sim_report/index.html')

    Args:
        source: What `simulate` wrote; without truth, sparse scans, any of several sources.
        out: Report folder; None: SOURCE_report beside it.
        methods: Names that `impute` or `train` knows; None: those of the command.
        models: Run folders of `train`.
        externals: Other programs.
        without_truth: Hide acquired slices, then lines inside of them, and score what is hidden.
        protocol: How predictions are scored; "simulated": as slices were simulated.
        split: Whom to score; None: "test", and without a table of subjects all.
        samples: Draws to score per scan, at least 2.
        seed: Names the random streams of draws, fitting and the bootstrap.
        device: "auto", "cpu", "cuda" or "cuda:N".
        jobs: Scans scored side by side; changes no score.
        overwrite: Do everything again.
        track: Shows progress.
        on_failure: Told of each scan, or method on a scan, that fails; None: an error.

    Returns:
        What was found, one summary for each report: two without truth, otherwise one.

    Raises:
        MriImputeError: If an option is wrong, or nothing can be scored or written.
    """
    from mriimpute import evaluation as library
    from mriimpute.report import write_figure, write_page

    several = not isinstance(source, str | Path)
    sources = [Path(one) for one in source] if several else [Path(source)]  # type: ignore[arg-type, union-attr]
    report = _beside(sources[0], "report") if out is None else Path(out)
    options: dict[str, Any] = {
        "methods": library.DEFAULT_METHODS if methods is None else methods,
        "models": [Path(model) for model in models],
        "externals": externals,
        "samples": samples,
        "seed": seed,
        "device": choose_device(device),
        "jobs": jobs,
        "track": track,
        "overwrite": overwrite,
        "on_failure": on_failure,
    }
    if without_truth:
        reports = library.without_truth(sources, report, split=split, **options)
        summaries = list(reports.values())
    else:
        options |= {"protocol": protocol, "split": split or "test"}
        summaries = [library.evaluate(sources[0], report, **options)]
    for summary in summaries:
        write_page(summary.report / "index.html", summary)
        write_figure(summary.report / "figure.png", summary)
    return summaries


def device_of(model: str, wanted: str) -> str:
    """Returns where a method computes: not all use a device, and asking for one loads torch."""
    from mriimpute.methods.registry import uses_device

    return "cpu" if wanted == "auto" and not uses_device(model) else choose_device(wanted)


def _beside(source: PathLike, word: str) -> Path:
    """Returns SOURCE_WORD beside a file or a folder, whatever it is called from."""
    from mriimpute.files import located
    from mriimpute.io.tree import stem

    home = located(Path(source))
    return home.with_name(f"{stem(home) if home.is_file() else home.name}_{word}")


def _read(
    scan: PathLike | Image | Volume, observed: Path | None, form: "Form"
) -> "tuple[Scan, str]":
    """Returns a scan, and what names it in random streams: a checksum of what it holds."""
    from mriimpute.cohort.split import observed_beside
    from mriimpute.io import checksum, read_scan
    from mriimpute.io.nifti import scan_of_image, scan_of_volume

    if isinstance(scan, str | Path):
        path = Path(scan)
        marks = observed or observed_beside(path)
        return read_scan(path, observed=marks, form=form, exact=True), checksum(path)
    if isinstance(scan, Volume):
        if observed is not None:
            raise ConfigError(
                "a volume says itself which voxels were observed", hint="leave observed out"
            )
        found = scan_of_volume(scan, Path("volume"))
    else:
        name = scan.get_filename() or "image"
        found = scan_of_image(scan, Path(name), observed=observed, form=form)
    volume = found.volume
    parts = (volume.data, volume.observed, volume.affine)
    content = hashlib.sha256(b"".join(part.tobytes() for part in parts))
    return found, content.hexdigest()
