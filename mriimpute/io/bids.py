"""The Brain Imaging Data Structure (BIDS): names, trees, and which scans of one are wanted."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mriimpute.errors import ConfigError, VolumeError
from mriimpute.io.tree import SUFFIXES, stem

__all__ = [
    "DESCRIPTION",
    "NAME",
    "Query",
    "Selection",
    "enclosing_dataset",
    "entities",
    "is_dataset",
    "read_queries",
    "require_description",
]

log = logging.getLogger(__name__)

NAME = re.compile(r"(sub-[0-9A-Za-z]+(?:_[a-z]+-[0-9A-Za-z]+)*)_([0-9A-Za-z]+)")
"""Entities and suffix of a file name without its ending."""

DESCRIPTION = "dataset_description.json"

LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "task": "task",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "chunk": "chunk",
    "space": "space",
    "suffix": "suffix",
    "datatype": "datatype",
    "extension": "extension",
}
"""Entities as filter files spell them, and as file names do."""

INDICES = ("run", "echo", "flip", "inv", "chunk")
"""Entities that count: `run-1` and `run-01` are the same."""

ANATOMICAL = {suffix.lower(): suffix for suffix in SUFFIXES}
"""The suffix that a key of a filter file stands for: "t1w", "t2w", "flair" and others."""

OTHERS = (
    *("fmap", "func", "bold", "sbref", "roi", "dwi", "perf", "asl", "m0scan", "pet"),
    *("meg", "eeg", "ieeg", "nirs", "micr", "motion", "beh"),
)
"""Keys of a filter file that no anatomical scan is asked for with."""

ANY = "*"

Query = Mapping[str, tuple[str | None, ...]]
"""Allowed values by entity as in file names. None: the entity is absent; "*": it is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which scans of a BIDS tree are wanted; by default all.

    Attributes:
        participants: Labels, with or without `sub-`; empty: all.
        sessions: Labels, with or without `ses-`; empty: all.
        queries: A scan is wanted if it meets one of them; empty: all.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    queries: tuple[Query, ...] = ()

    def __bool__(self) -> bool:
        """Tells whether anything is left out."""
        return bool(self.participants or self.sessions or self.queries)

    def of(self, scans: Sequence[Path]) -> list[Path]:
        """Returns those of `scans` that are wanted.

        Raises:
            VolumeError: If a label is that of no scan, or nothing is left.
        """
        named = {scan: entities(scan) | {"extension": _extension(scan)} for scan in scans}
        for what, entity, labels in (
            ("participant", "sub", self.participants),
            ("session", "ses", self.sessions),
        ):
            there = sorted({names[entity] for names in named.values() if entity in names})
            if absent := sorted(set(_stripped(labels, entity)) - set(there)):
                raise VolumeError(
                    f"no scan is of {what} {', '.join(absent)}",
                    hint=f"use labels that are there: {_shortened(there)}"
                    if there
                    else f"pass a BIDS tree, where names of files hold {entity}-LABEL",
                )
        wanted = [scan for scan, names in named.items() if self._wants(names)]
        if not wanted:
            raise VolumeError(
                f"none of {len(named)} scans is of the participants, sessions and filters wanted",
                hint="leave one of these options out",
            )
        return wanted

    def _wants(self, names: Mapping[str, str]) -> bool:
        participants = _stripped(self.participants, "sub")
        sessions = _stripped(self.sessions, "ses")
        return (
            (not participants or names.get("sub") in participants)
            and (not sessions or names.get("ses") in sessions)
            and (not self.queries or any(_meets(names, query) for query in self.queries))
        )


def entities(scan: Path) -> dict[str, str]:
    """Returns what the name and the folder of a scan say; nothing for a name that is not BIDS.

    Example:
        >>> entities(Path("sub-01/anat/sub-01_acq-ax_T1w.nii.gz"))
        {'sub': '01', 'acq': 'ax', 'suffix': 'T1w', 'datatype': 'anat'}
    """
    match = NAME.fullmatch(stem(scan))
    if not match:
        return {}
    pairs = dict(pair.split("-", 1) for pair in match[1].split("_"))
    return pairs | {"suffix": match[2], "datatype": scan.parent.name}


def is_dataset(folder: Path) -> bool:
    """Tells whether `folder` is the root of a BIDS tree: a folder with `sub-*` folders."""
    return any(path.is_dir() for path in folder.glob("sub-*"))


def enclosing_dataset(path: Path) -> Path | None:
    """Returns the innermost described BIDS tree that `path` lies in, or None."""
    return next((up for up in path.parents if (up / DESCRIPTION).is_file()), None)


def require_description(folder: Path) -> None:
    """Stops if a folder is no BIDS dataset.

    Raises:
        VolumeError: If it has no `dataset_description.json` with a name and a version of BIDS.
    """
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        absent = [name for name in ("Name", "BIDSVersion") if name not in content]
    except (OSError, RecursionError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise VolumeError(
            f"{folder} is not a BIDS dataset: {DESCRIPTION} cannot be read ({reason})",
            hint="check the path, or pass --skip-bids-validation",
        ) from error
    if absent:
        raise VolumeError(
            f"{folder} is not a BIDS dataset: {path.name} has no {' and no '.join(absent)}",
            hint="add it, or pass --skip-bids-validation",
        )


def read_queries(path: Path) -> tuple[Query, ...]:
    """Returns what a BIDS filter file asks for, as fMRIPrep spells it.

    Example of a file: `{"t1w": {"session": ["pre", "post"], "acquisition": null, "run": "*"}}`.
    A key stands for a suffix, and for magnitude where parts of a complex image are told apart,
    unless its query says otherwise. A list holds alternatives; null: the entity is absent; "*":
    it is there, whatever its value. Keys of other modalities are ignored.

    References:
        niworkflows, `utils/bids.py`, `collect_data`: the queries that a filter file changes.

    Raises:
        ConfigError: If it cannot be read or asks for something unknown.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        queries = tuple(_query(*item) for item in content.items() if item[0] not in OTHERS)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is no BIDS filter file: {error}",
            hint='write {"t1w": {"session": ["pre"]}}, with keys t1w, t2w, flair and other '
            f"suffixes in lower case, and entities out of {', '.join(LONG_NAMES)}",
        ) from error
    if ignored := [key for key in content if key in OTHERS]:
        log.info("%s: ignored, not of anatomical scans: %s", path.name, ", ".join(ignored))
    return queries


def _query(key: str, wanted: Mapping[str, object]) -> Query:
    if key.lower() not in ANATOMICAL:
        raise ValueError(f"unknown key {key!r}")
    query: dict[str, tuple[str | None, ...]] = {
        "suffix": (ANATOMICAL[key.lower()],),
        "part": ("mag", None),
    }
    for name, value in wanted.items():
        if name not in LONG_NAMES:
            raise ValueError(f"unknown entity {name!r}")
        values = value if isinstance(value, list) else [value]
        query[LONG_NAMES[name]] = tuple(_allowed(item, name) for item in values)
    return query


def _allowed(value: object, name: str) -> str | None:
    """Returns a value as names of files hold it: some write `ses-pre`, or `nii.gz`."""
    if value is None:
        return None
    if not isinstance(value, str | int):
        raise ValueError(f"{name} must be text, a number, null or a list of these, got {value!r}")
    (label,) = _stripped([str(value)], LONG_NAMES[name])
    return label if name != "extension" or label == ANY else f".{label.removeprefix('.')}"


def _meets(names: Mapping[str, str], query: Query) -> bool:
    return all(
        any(_is(names.get(entity), entity, value) for value in values)
        for entity, values in query.items()
    )


def _is(found: str | None, entity: str, value: str | None) -> bool:
    if found is None or value is None:
        return found is value
    if value == ANY:
        return True
    if entity in INDICES:
        return found.lstrip("0") == value.lstrip("0")
    return found == value


def _extension(scan: Path) -> str:
    return scan.name.removeprefix(stem(scan))


def _shortened(labels: Sequence[str], limit: int = 12) -> str:
    rest = f" and {len(labels) - limit} more" if len(labels) > limit else ""
    return ", ".join(labels[:limit]) + rest


def _stripped(labels: Sequence[str], entity: str) -> list[str]:
    return [label.removeprefix(f"{entity}-") for label in labels]
