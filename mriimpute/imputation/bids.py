"""The files that make the results of a BIDS tree a BIDS derivative dataset of their own."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mriimpute.errors import ConfigError, OutputError
from mriimpute.files import atomic, read_json, read_tsv, write_json, write_tsv
from mriimpute.io import stem
from mriimpute.io.bids import DESCRIPTION, NAME
from mriimpute.provenance import versions

__all__ = ["CONTENTS", "NOTICE", "dataset_files", "describe", "require_own", "sidecar"]

NOTICE = "For research; not a medical device. Imputed voxels were never measured."

CONTENTS = {
    "mean": "Conditional mean of the imputed scan, in the units of the input",
    "std": "Predictive standard deviation, in the units of the input; 0 where acquired",
    "draw": "Draw from the posterior of the scan given what was acquired",
    "observed": "1 where acquired, 0 where imputed",
    "interpolated": "Interpolated between acquired slices (monotone cubic), nothing imputed",
}
"""What an image of each label holds."""

VERSION = "1.10.0"
"""Of BIDS."""

LINK = "raw"
"""Name of the input in BIDS URIs."""

DOI = re.compile(r"(doi:|https://doi\.org/)?10\.[0-9]{4,9}/[-0-9A-Za-z._;()/:]+")

LABELS = "descriptions.tsv"

IGNORED = "*.html\nquality.tsv\n"
"""What validators should not look at: pages and tables about results are no part of BIDS."""

README = f"""Slices that brain MRI scans skipped, imputed by mriimpute.

{NOTICE}

Voxels marked 1 in the images desc-observed*_mask were acquired and are those of the input. All
others are estimates: desc-mean is their conditional mean, desc-std how far they may be from it,
desc-drawNNN samples of what the anatomy may be. The JSON file beside each image says how it was
made; descriptions.tsv lists all labels.
"""

TEXTS = {"README": README, ".bidsignore": IGNORED}


def dataset_files(out: Path) -> list[Path]:
    """Returns the files that `describe` has written."""
    return [path for name in (DESCRIPTION, LABELS, *TEXTS) if (path := out / name).is_file()]


def describe(out: Path, tree: Path, scans: Iterable[Path], *, samples: int) -> None:
    """Writes what BIDS asks of a derivative dataset: its description, its labels, a README.

    Calls for parts of one tree, at the same time or one after another, end with the same files.
    A README that is there stays.

    Args:
        out: Root of the results.
        tree: Root of the BIDS tree that was imputed.
        scans: All scans of it that are imputed, in this call or its parts.
        samples: Number of posterior draws.

    Raises:
        ConfigError: If `descriptions.tsv` in `out` is no table.
        OutputError: If `out` is another data set, or nothing can be written there.
    """
    source = _description_of(tree)
    doi = _doi(source)
    generator = {"Name": "mriimpute", "Version": versions()["mriimpute"], "Description": NOTICE}
    description = {
        "Name": "Brain MRI scans with skipped slices imputed",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "SourceDatasets": [{"DOI": doi} if doi else {"URL": _named_by_content(source)}],
        "DatasetLinks": {LINK: doi or _way(out, tree) or _named_by_content(source)},
    }
    require_own(out)
    if not (out / DESCRIPTION).is_file() or read_json(out / DESCRIPTION) != description:
        write_json(out / DESCRIPTION, description)
    _write_labels(out / LABELS, scans, samples)
    for name, text in TEXTS.items():
        if not (out / name).exists():
            with atomic(out / name) as temporary:
                temporary.write_text(text, encoding="ascii")


def require_own(out: Path) -> None:
    """Stops before results are mixed with another dataset.

    Raises:
        OutputError: If `out` is the root of a dataset that this package did not make.
    """
    path = out / DESCRIPTION
    if not path.is_file():
        return
    makers = read_json(path).get("GeneratedBy")
    names = [maker.get("Name") for maker in makers or [] if isinstance(maker, dict)]
    if "mriimpute" not in names:
        raise OutputError(f"{out} is another dataset", hint="choose a folder of its own with -o")


def sidecar(scan: Path, tree: Path) -> dict[str, Any]:
    """Returns what BIDS asks of the JSON beside an image that was made of `scan`."""
    place = _quoted(scan.relative_to(tree))
    return {"Sources": [f"bids:{LINK}:{place}"], "SkullStripped": _skull_stripped(scan)}


def _write_labels(path: Path, scans: Iterable[Path], samples: int) -> None:
    draws = [f"draw{number:03d}" for number in range(1, samples + 1)]
    labels = {label: CONTENTS[label] for label in ("mean", "std", "interpolated")}
    labels |= dict.fromkeys(draws, CONTENTS["draw"])
    suffixes = {match[2] for scan in scans if (match := NAME.fullmatch(stem(scan)))}
    labels |= {f"observed{suffix}": CONTENTS["observed"] for suffix in suffixes}
    wanted = {f"desc-{label}": text for label, text in labels.items()}

    there = _labels(path)
    if wanted.items() <= there.items():
        return
    rows = sorted((there | wanted).items())
    write_tsv(path, [{"desc_id": label, "description": text} for label, text in rows])


def _labels(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return {row["desc_id"]: row["description"] for row in read_tsv(path)}
    except KeyError as error:
        raise ConfigError(
            f"{path} has no column {error}", hint="move it away and run the same command again"
        ) from error


def _description_of(tree: Path) -> bytes:
    file = tree / DESCRIPTION
    return (
        file.read_bytes()
        if file.is_file()
        else tree.resolve().name.encode(errors="surrogateescape")
    )


def _way(out: Path, tree: Path) -> str:
    """Returns where `tree` lies as seen from `out`, unless that names folders on the way."""
    way = Path(os.path.relpath(tree.resolve(), out.resolve()))
    named = [part for part in way.parts if part != ".."]
    return _quoted(way) if len(named) <= 1 else ""


def _quoted(path: Path) -> str:
    """Returns a path as part of a URI, byte for byte where it is not UTF-8."""
    return quote(path.as_posix(), errors="surrogateescape")


def _named_by_content(description: bytes) -> str:
    """Returns a URI that anyone who has the input can compute and nobody else (RFC 6920)."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(description).digest())
    return f"ni:///sha-256;{digest.decode().rstrip('=')}"


def _doi(description: bytes) -> str:
    try:
        doi = json.loads(description).get("DatasetDOI", "")
    except (AttributeError, ValueError):
        return ""
    return doi if isinstance(doi, str) and DOI.fullmatch(doi) else ""


def _skull_stripped(scan: Path) -> bool:
    """Returns what the input says of itself; a scan that says nothing has its skull."""
    beside = scan.with_name(f"{stem(scan)}.json")
    try:
        return json.loads(beside.read_text(encoding="utf-8")).get("SkullStripped") is True
    except (AttributeError, OSError, ValueError):
        return False
