"""Which scans are simulated, what their files are called, and who is in which split."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mriimpute.errors import VolumeError
from mriimpute.io import find_scans, stem
from mriimpute.io.tree import SUFFIXES
from mriimpute.seeds import numpy_stream
from mriimpute.simulation.brain import entities, find_labels

__all__ = ["SourceScan", "find_sources", "split"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceScan:
    """One source scan and the names of what is made of it.

    Attributes:
        path: The fully observed scan.
        subject: BIDS label, `sub-01`.
        entities: Start of the name of every file made of it, `sub-01_ses-2`.
        suffix: BIDS suffix, `T1w`.
        labels: Brain masks and label maps beside the source, the best brain mask first.
    """

    path: Path
    subject: str
    entities: str
    suffix: str
    labels: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name without ending; its name in random streams."""
        return f"{self.entities}_{self.suffix}"

    def label_ending(self, path: Path) -> str:
        """Returns what the name of a label map adds to the entities, `_desc-tissue_dseg`."""
        return stem(path).removeprefix(entities(self.path))


def find_sources(source: Path) -> list[SourceScan]:
    """Returns the scans that `source` stands for, with BIDS names made up where it has none.

    Raises:
        VolumeError: If there is none, or two would get the same name.
    """
    paths = find_scans(source)
    named = [(_bids_entities(path), _bids_suffix(path)) for path in paths]
    for (start, suffix), count in Counter(named).items():
        if count > 1:
            files = [
                str(path)
                for path, name in zip(paths, named, strict=True)
                if name == (start, suffix)
            ]
            raise VolumeError(
                f"{', '.join(files)} would all become {start}_{suffix}", hint="rename all but one"
            )

    shared = Counter(start for start, _ in named)
    scans = []
    for path, (start, suffix) in zip(paths, named, strict=True):
        # A T1w and a FLAIR of one session are turned differently: each needs its own brain mask.
        unique = start if shared[start] == 1 else f"{start}_acq-{suffix}"
        scans.append(
            SourceScan(
                path=path,
                subject=start.split("_")[0],
                entities=unique,
                suffix=suffix,
                labels=tuple(find_labels(path)),
            )
        )
    return scans


def split(subjects: Sequence[str], *, seed: int) -> dict[str, str]:
    """Returns "train", "val" or "test" for each subject: 50, 30 and 20 per cent, shuffled.

    Fractions are rounded to the nearest whole subject. Few subjects go to test first, then to val,
    but one always stays in train.

    Example:
        >>> sorted(split(["sub-1", "sub-2", "sub-3"], seed=0).values())
        ['test', 'train', 'val']
    """
    names = sorted(set(subjects))
    not_train = len(names) - 1  # at most
    test = min(max(round(0.2 * len(names)), 1), not_train)
    val = min(max(round(0.3 * len(names)), 1), not_train - test)
    order = numpy_stream(seed, "simulate", "split").permutation(len(names)).tolist()
    parts = ["test"] * test + ["val"] * val + ["train"] * (len(names) - test - val)
    split_of = {names[n]: part for n, part in zip(order, parts, strict=True)}
    return {name: split_of[name] for name in names}


def _bids_entities(path: Path) -> str:
    start = entities(path)
    if start.startswith("sub-"):
        return start
    label = re.sub(r"[^0-9A-Za-z]", "", start)
    return f"sub-{label or 'unnamed'}"


def _bids_suffix(path: Path) -> str:
    suffix = stem(path).removeprefix(f"{entities(path)}_")
    return suffix if suffix in SUFFIXES else "T1w"
