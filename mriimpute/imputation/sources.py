"""What the words of a command line stand for: scans, and where the results of each may go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mriimpute.cohort.split import Split, scans_of
from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import located
from mriimpute.io import container_of, find_scans, holds_dicom, stem, study_of
from mriimpute.io.bids import Selection, entities, is_dataset

__all__ = ["LIST", "FoundScan", "find_sources", "protect_inputs", "session_of"]

LIST = ".txt"
"""Ending of a list of paths."""


@dataclass(frozen=True, slots=True)
class FoundScan:
    """A scan and how it was found.

    Attributes:
        scan: A file, or a folder that holds one scan.
        default: Folder for results where the user names none.
        below: Where the results go below a folder that the user names.
        tree: The BIDS tree it was found in, if in one.
    """

    scan: Path
    default: Path
    below: Path = Path()
    tree: Path | None = None


def find_sources(
    sources: Sequence[Path], *, split: Split | None = None, selection: Selection | None = None
) -> list[FoundScan]:
    """Returns the scans that `sources` stand for.

    A file stands for itself, even if it is missing: a batch goes on without it. A `.txt` file
    stands for the paths in it, one a line, relative to its folder; `#` begins a comment line.

    Args:
        sources: Files, folders, BIDS trees, lists.
        split: Of folders with a `participants.tsv`, the only split wanted.
        selection: Of BIDS trees, the only scans wanted.

    Raises:
        ConfigError: If a list cannot be read.
        VolumeError: If a folder holds no scan, or none is left.
    """
    found = [scan for source in sources for scan in _found(source, split)]
    if not selection:
        return found
    wanted = set(selection.of([each.scan for each in found]))
    return [each for each in found if each.scan in wanted]


def protect_inputs(
    sources: Sequence[Path], inputs: Sequence[Path], outputs: Sequence[Path]
) -> None:
    """Stops before a result is written over an input, or into a folder of inputs.

    Links are followed first: a link into a folder of inputs leads into it. A folder below
    `derivatives` of a BIDS tree is where BIDS wants results to be, and allowed.

    Args:
        sources: What the user names as input; a folder is one of inputs.
        inputs: Files that are read.
        outputs: Files that will be written.

    Raises:
        OutputError: If so.
    """
    trees = {tree.resolve() for source in sources for tree in _trees(source)}
    read = {path.resolve() for path in inputs}
    folders = {path.parent: path.parent.resolve() for path in outputs}
    for folder, place in folders.items():
        for tree in trees:
            if place.is_relative_to(tree) and not _is_derivative(place, tree):
                raise _among_inputs(folder, tree)
    # The file itself may be a link, which a rename replaces: its target is in no danger.
    for path in outputs:
        if (place := folders[path.parent] / path.name) in read:
            raise OutputError(
                f"{place} is input and would be replaced", hint="choose another folder with -o"
            )


def session_of(scan: Path) -> tuple[str, ...]:
    """Returns what names the exam that a scan belongs to.

    Of a BIDS name its folder, subject and session; of DICOM its study, in one folder, zip, or
    folder of such; otherwise the folder.

    Example:
        >>> session_of(Path("exams/sub-1_ses-2_T1w.nii.gz"))
        ('exams', '1', '2')
        >>> session_of(Path("exam/t1.nii.gz")) == session_of(Path("exam/flair.nii.gz"))
        True
    """
    container = container_of(scan)
    if container != scan:
        return (str(container), study_of(scan))
    named = entities(scan)
    exam = (str(scan.parent), named.get("sub", ""), named.get("ses", ""))
    return (*exam, study_of(scan)) if holds_dicom(scan) else exam


def _found(source: Path, split: Split | None) -> Iterator[FoundScan]:
    if source.suffix.lower() == LIST and source.is_file():
        for path in _listed(source):
            above = _place(path, located(source).parent)
            for found in _found(path, split):
                yield replace(found, below=above / found.below)
        return

    root = located(source)
    default = root.with_name(f"{stem(root)}_imputed")
    if not container_of(source).exists():
        yield FoundScan(source, default)
        return
    tree = source if is_dataset(source) else None
    for scan in scans_of(source, split) if split and source.is_dir() else find_scans(source):
        place = container_of(scan)
        below = place.parent.relative_to(source) if place != source and scan != source else Path()
        yield FoundScan(scan, default, below, tree)


def _place(path: Path, folder: Path) -> Path:
    """Returns where results of a listed path go: as deep as it lies in the folder of the list."""
    here = located(path)
    if not here.is_relative_to(folder):
        return Path()
    inside = here.relative_to(folder)
    return inside if path.is_dir() else inside.parent


def _listed(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read as a list of paths: {error}",
            hint="write one path a line, in UTF-8",
        ) from error
    words = [line.strip() for line in lines]
    paths = [file.parent / word for word in words if word and word[0] != "#"]
    if not paths:
        raise VolumeError(f"{file} lists no scan", hint="write one path a line")
    if nested := [path for path in paths if path.suffix.lower() == LIST]:
        raise ConfigError(f"{file} lists another list, {nested[0]}", hint="list scans and folders")
    return paths


def _trees(source: Path) -> Iterator[Path]:
    if container_of(source).is_dir():
        yield container_of(source)
        return
    if source.suffix.lower() == LIST and source.is_file():
        for path in _listed(source):
            yield from _trees(path)


def _among_inputs(folder: Path, tree: Path) -> OutputError:
    alternative = f", or {tree / 'derivatives' / 'NAME'}" if is_dataset(tree) else ""
    return OutputError(
        f"{folder} lies in {tree}, which is input",
        hint=f"choose a folder outside with -o{alternative}",
    )


def _is_derivative(place: Path, tree: Path) -> bool:
    return is_dataset(tree) and place.relative_to(tree).parts[:1] == ("derivatives",)
