"""Which image beside a scan says where its brain is."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mriimpute.errors import ConfigError
from mriimpute.io import stem
from mriimpute.io.tree import SUFFIXES, has_ending, is_label, is_observed

__all__ = ["brain_beside"]

DESCRIBING = ("desc", "label", "seg", "atlas", "space", "res", "den")
"""Entities of BIDS that a label map has and its scan has not."""

NO_BRAIN = re.compile("lesion|tumou?r|wmh", re.IGNORECASE)


def brain_beside(path: Path) -> Path | None:
    """Returns the label map or mask beside a scan that says where its brain is; None without any.

    One with "brain" in its name comes before label maps, and these before other masks; of those
    alike, one with fewer words to its name comes first. Masks of lesions never count.

    Raises:
        ConfigError: If several are left.
    """
    start, _, suffix = stem(path).rpartition("_")
    if not (start and path.is_file()):  # a series of DICOM has no images beside it
        return None
    ranked: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for image in sorted(path.parent.iterdir()):
        words = _further_words(image, start.split("_"), suffix)
        if words is not None:
            ranked[_rank(image, words)].append(image)
    best = ranked[min(ranked)] if ranked else [None]
    if len(best) > 1:
        told = ", ".join(image.name for image in best if image)
        raise ConfigError(
            f"each of {told} may say where the brain of {path} is",
            hint="leave one of them there, or name one desc-brain_mask",
        )
    return best[0]


def _further_words(image: Path, entities: Sequence[str], suffix: str) -> list[str] | None:
    """Returns what a label map or mask has in its name beyond the entities of a scan.

    None if it is something else, or of another scan: `sub-1_run-2_dseg` is not of `sub-1_T1w`.
    """
    words = stem(image).split("_")[:-1]
    further = words[len(entities) :]
    if not (has_ending(image) and is_label(image)) or words[: len(entities)] != list(entities):
        return None
    if is_observed(image) or NO_BRAIN.search("_".join(further)):
        return None
    keys = [word.partition("-")[0] for word in further if "-" in word]
    is_other = not set(keys) <= set(DESCRIBING) or set(further) & {*SUFFIXES} - {suffix}
    return None if is_other else further


def _rank(image: Path, words: Sequence[str]) -> tuple[int, int]:
    kind = 0 if "brain" in "_".join(words).lower() else 1 if stem(image).endswith("_dseg") else 2
    return kind, len(words)
