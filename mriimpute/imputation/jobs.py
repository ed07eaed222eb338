"""Which scans are imputed, and what the results of each are called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mriimpute.cohort.split import Split, observed_beside
from mriimpute.errors import OutputError
from mriimpute.imputation.sources import find_sources, protect_inputs, session_of
from mriimpute.imputation.space import Space
from mriimpute.io import stem
from mriimpute.io.bids import NAME, Selection, enclosing_dataset
from mriimpute.io.image_file import ending_of, has_ending, listed_endings

__all__ = ["Job", "plan_jobs"]


DESC = re.compile(r"_desc-[0-9A-Za-z]+")
"""What a name says of its content, which others of its kind say otherwise."""


@dataclass(frozen=True, slots=True)
class Job:
    """A scan and the folder its results go to.

    Attributes:
        scan: A file, a folder that holds one scan, or the address of a DICOM series.
        folder: For results.
        space: Where results lie.
        below: Where `folder` lies below the folder for all results.
        tree: The BIDS tree that the scan was found in, if in one.
        target: The file of the mean, where the user has named one; what else there is lies beside
            it, named alike.
        companions: Other scans of the same head, to help.
    """

    scan: Path
    folder: Path
    space: Space = "native"
    below: Path = Path()
    tree: Path | None = None
    target: Path | None = None
    companions: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What tells the scan from others in tables and reports."""
        return (self.below / self.scan.name).as_posix()

    def results(self) -> list[Path]:
        """Returns the images that are there, that of the mean first."""
        images = [self.file(label) for label in ("mean", "std", "observed", "interpolated")]
        while (draw := self.file(f"draw{len(images) - 3:03d}")).is_file():
            images.append(draw)
        return [path for path in images if path.is_file()]

    def file(self, label: str) -> Path:
        """Returns the path of a result such as "mean"; a BIDS name keeps its entities.

        It is of the kind of the scan, or of `target`; what is made of DICOM is a `.nii.gz`.
        """
        if self.target and label == "mean":
            return self.target
        named = self.target or self.scan
        name = stem(named)
        name = DESC.sub("", name) if self.target else name
        bids = NAME.fullmatch(name)
        start, suffix = bids.groups() if bids else (name, "")
        is_named = self.target is not None or self.space == "native"
        middle = "" if is_named else f"_space-{self.space}"
        if bids and label == "observed":  # a mask has no suffix of its own to tell T1w from FLAIR
            label, suffix = f"observed{suffix}", "mask"
        end = f"_{suffix}" if bids else ""
        return self.folder / f"{start}{middle}_desc-{label}{end}{ending_of(named)}"

    def sidecar(self, label: str) -> Path:
        """Returns the path of the JSON beside a result."""
        image = self.file(label)
        return image.with_name(f"{stem(image)}.json")

    @property
    def dataset(self) -> Path | None:
        """Root of the results of the BIDS tree that the scan was found in."""
        if self.tree is None or self.target:
            return None
        below = self.scan.parent.relative_to(self.tree)
        return self.folder.parents[len(below.parts) - 1] if below.parts else self.folder

    @property
    def record(self) -> Path:
        """The sidecar of the mean, written last."""
        return self.sidecar("mean")

    @property
    def page(self) -> Path:
        """Where a page about the results lies, if there is one."""
        return self.file("report").with_name(f"{stem(self.file('report'))}.html")


def plan_jobs(
    sources: Sequence[Path],
    out: Path | None,
    *,
    split: Split | None = None,
    space: Space = "native",
    selection: Selection | None = None,
    observed: Path | None = None,
    companions: Sequence[Path] = (),
    together: bool = False,
) -> list[Job]:
    """Returns the scans that `sources` stand for, each once.

    The results of a file go to `out`, by default to `<name>_imputed` beside it; those of a
    folder keep its structure below `out`, by default `<folder>_imputed` beside it. Where `out` is
    named like an image, the mean of the only scan becomes that file.

    Args:
        sources: Files, folders, BIDS trees, lists.
        out: Folder for all results, or file for the mean.
        split: Of folders with a `participants.tsv`, the only split to impute.
        space: Where results lie.
        selection: Of BIDS trees, the only scans to impute.
        observed: The image that marks acquired voxels, if not the one beside each scan.
        companions: Other scans of the same head, to help each scan.
        together: The other scans of its session help each scan.

    Raises:
        ConfigError: If a list of scans cannot be read.
        OutputError: If two scans would write the same files, results would lie among inputs, or
            `out` is a file of another kind, or one for several scans.
        VolumeError: If a folder holds no scan.
    """
    target = out if out is not None and has_ending(out) and not out.is_dir() else None
    if out is not None and target is None and out.is_file():
        raise OutputError(
            f"{out} is a file, and none ending in {listed_endings()}",
            hint="pass a folder, or the name of an image, with -o",
        )
    sought = find_sources(sources, split=split, selection=selection)
    if target and len(sought) > 1:
        raise OutputError(
            f"{target} is one file, for {len(sought)} scans", hint="pass a folder with -o"
        )

    sessions: dict[tuple[str, ...], list[Path]] = {}
    for found in sought if together else ():
        sessions.setdefault(session_of(found.scan), []).append(found.scan)
    jobs: dict[Path, Job] = {}
    for found in sought:
        here = found.scan.resolve()  # one file may be spelt in two ways
        others = [*companions, *sessions.get(session_of(found.scan), ())]
        apart = {place: other for other in others if (place := other.resolve()) != here}
        helping = tuple(apart.values())
        folder = target.parent if target else (out or found.default) / found.below
        job = Job(found.scan, folder, space, found.below, found.tree, target, helping)
        first = jobs.setdefault(job.record, job)  # images may be of several kinds
        if first != job:
            raise OutputError(
                f"{first.scan} and {job.scan} would both write {job.file('mean')}",
                hint="impute them in two calls with different -o",
            )
    planned = list(jobs.values())
    masks = [observed] if observed else [observed_beside(job.scan) for job in planned]
    enclosing = [enclosing_dataset(job.scan) for job in planned] if out else []
    protect_inputs(
        [*sources, *(tree for tree in enclosing if tree)],
        [*(job.scan for job in planned), *companions, *filter(None, masks)],
        [job.file(label) for job in planned for label in ("mean", "std", "observed")],
    )
    _require_separate(planned)
    return planned


def _require_separate(jobs: Sequence[Job]) -> None:
    """Stops before results lie beside their scan: the next call would read one as its input.

    `desc-observed` beside a scan says what of it was acquired, and ours lies on a finer grid.
    """
    for job in jobs:
        is_beside = job.folder.resolve() == job.scan.parent.resolve()
        if job.target and is_beside and DESC.sub("", stem(job.target)) == stem(job.scan):
            raise OutputError(
                f"{job.target} would have files beside it that are named like those of "
                f"{job.scan.name}, which is input",
                hint="give the result another name, or another folder, with -o",
            )
        if job.scan.is_file() and is_beside and not job.target:
            raise OutputError(
                f"{job.folder} holds {job.scan.name}, which is input",
                hint="choose another folder with -o",
            )
