"""Which scans are imputed, and what the results of each are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mriimpute.cohort.split import Split, observed_beside
from mriimpute.errors import OutputError
from mriimpute.impute.sources import gather, protect
from mriimpute.impute.space import Space
from mriimpute.io import stem
from mriimpute.io.bids import NAME, Selection, enclosing_dataset

__all__ = ["Case", "plan"]


@dataclass(frozen=True, slots=True)
class Case:
    """A scan and the folder its results go to."""

    scan: Path
    folder: Path
    space: Space = "native"
    below: Path = Path()
    """Where `folder` lies below the folder for all results."""
    tree: Path | None = None
    """The BIDS tree that the scan was found in, if in one."""

    @property
    def name(self) -> str:
        """What tells the scan from others in tables and reports."""
        return (self.below / self.scan.name).as_posix()

    def results(self) -> list[Path]:
        """Returns the images that are there, that of the mean first."""
        images = [self.file(label) for label in ("mean", "std", "observed")]
        while (draw := self.file(f"draw{len(images) - 2:03d}")).is_file():
            images.append(draw)
        return [path for path in images if path.is_file()]

    def file(self, label: str) -> Path:
        """Returns the path of a result such as "mean"; a BIDS name keeps its entities."""
        name = stem(self.scan)
        bids = NAME.fullmatch(name)
        start, suffix = bids.groups() if bids else (name, "")
        middle = "" if self.space == "native" else f"_space-{self.space}"
        if bids and label == "observed":  # a mask has no suffix of its own to tell T1w from FLAIR
            label, suffix = f"observed{suffix}", "mask"
        end = f"_{suffix}" if bids else ""
        return self.folder / f"{start}{middle}_desc-{label}{end}.nii.gz"

    def sidecar(self, label: str) -> Path:
        """Returns the path of the JSON beside a result."""
        image = self.file(label)
        return image.with_name(f"{stem(image)}.json")

    @property
    def dataset(self) -> Path | None:
        """Root of the results of the BIDS tree that the scan was found in."""
        if self.tree is None:
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


def plan(
    sources: Sequence[Path],
    out: Path | None,
    *,
    split: Split | None = None,
    space: Space = "native",
    selection: Selection | None = None,
    observed: Path | None = None,
) -> list[Case]:
    """Returns the cases that `sources` stand for, each once.

    The results of a file go to `out`, by default to `<name>_imputed` beside it; those of a
    folder keep its structure below `out`, by default `<folder>_imputed` beside it.

    Args:
        sources: Files, folders, BIDS trees, lists.
        out: Folder for results.
        split: Of folders with a `participants.tsv`, the only split to impute.
        space: Where results lie.
        selection: Of BIDS trees, the only scans to impute.
        observed: The image that marks acquired voxels, if not the one beside each scan.

    Raises:
        ConfigError: If a list of scans cannot be read.
        OutputError: If two scans would write the same files, results would lie among inputs, or
            `out` names a file.
        VolumeError: If a folder holds no scan.
    """
    if out is not None and (out.is_file() or out.name.lower().endswith((".nii", ".nii.gz"))):
        raise OutputError(f"{out} is a file name", hint="pass a folder with -o")

    cases: dict[Path, Case] = {}
    for found in gather(sources, split=split, selection=selection):
        folder = (out or found.default) / found.below
        case = Case(found.scan, folder, space, found.below, found.tree)
        other = cases.setdefault(case.file("mean"), case)
        if other != case:
            raise OutputError(
                f"{other.scan} and {case.scan} would both write {case.file('mean')}",
                hint="impute them in two calls with different -o",
            )
    chosen = list(cases.values())
    marks = [observed] if observed else [observed_beside(case.scan) for case in chosen]
    enclosing = [enclosing_dataset(case.scan) for case in chosen] if out else []
    protect(
        [*sources, *(tree for tree in enclosing if tree)],
        [*(case.scan for case in chosen), *filter(None, marks)],
        [case.file(label) for case in chosen for label in ("mean", "std", "observed")],
    )
    _require_apart(chosen)
    return chosen


def _require_apart(cases: Sequence[Case]) -> None:
    """Stops before results lie beside their scan: the next call would read one as its input.

    `desc-observed` beside a scan says what of it was acquired, and ours lies on a finer grid.
    """
    for case in cases:
        if case.scan.is_file() and case.folder.resolve() == case.scan.parent.resolve():
            raise OutputError(
                f"{case.folder} holds {case.scan.name}, which is input",
                hint="choose another folder with -o",
            )
