"""Finding scans: a file, a folder of files, or a BIDS tree."""

from pathlib import Path

from mriimpute.errors import VolumeError
from mriimpute.io._load import ENDINGS, has_ending

__all__ = ["ENDINGS", "find_scans", "has_ending", "is_label", "stem", "subject"]

SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2star", "inplaneT1", "inplaneT2")


def find_scans(source: Path) -> list[Path]:
    """Returns the scans that `source` stands for, sorted by name.

    A file stands for itself. A BIDS tree (a folder with `sub-*` folders) stands for its
    anatomical scans, another folder for the images in it; derivatives (`desc-`), masks and label
    maps are left out.

    Raises:
        VolumeError: If `source` does not exist or holds no scan.
    """
    if not source.exists():
        raise VolumeError(f"{source} does not exist", hint="check the path")
    if source.is_file():
        return [source]

    subjects = [path for path in source.glob("sub-*") if path.is_dir()]
    if subjects:
        found = [
            path
            for folder in subjects
            for path in folder.rglob("*")
            if stem(path).endswith(tuple(f"_{suffix}" for suffix in SUFFIXES))
        ]
    else:
        found = list(source.iterdir())
    scans = [
        path
        for path in found
        if has_ending(path)
        and "_desc-" not in path.name
        and not is_label(path)
        and path.name[0] != "."
    ]
    if not scans:
        raise VolumeError(f"{source} holds no scan", hint=f"put files ending in {ENDINGS} there")

    return sorted(scans)


def is_label(path: Path) -> bool:
    """Tells whether a file is a label map or a mask by its name."""
    return stem(path).endswith(("_dseg", "_mask"))


def stem(path: Path) -> str:
    """Returns the file name without its image ending, which may be in capitals.

    Example:
        >>> stem(Path("scan.v2.nii.gz"))
        'scan.v2'
    """
    for ending in ENDINGS:
        if has_ending(path, (ending,)):
            return path.name[: -len(ending)]
    return path.stem


def subject(path: Path) -> str:
    """Returns the BIDS subject label (`sub-01`) of a file, or its stem where there is none.

    Example:
        >>> subject(Path("sub-01_ses-2_T1w.nii.gz")), subject(Path("head.nii"))
        ('sub-01', 'head')
    """
    first = stem(path).split("_")[0]
    return first if first.startswith("sub-") else stem(path)
