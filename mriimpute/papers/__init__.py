"""The experiments of the papers, one per file; the file name, dashes for underscores, is its name.

`supervised` is in no paper: it measures how much is kept without full scans to learn from.
Importing this package loads nothing.
"""

import ast
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "available", "listing", "module_of"]

FOLDER = Path(__file__).parent

PLACES = ("supervised.py", "dalca/fig*.py", "tonolini/tae_*.py")
"""Where experiments lie; other modules are what they share."""


class Entry(NamedTuple):
    """What an experiment says about itself.

    Attributes:
        title: What it is about.
        source: The figure or table of which paper.
        data: Names of the data that it reads.
    """

    title: str
    source: str
    data: tuple[str, ...]


def available() -> list[str]:
    """Returns the names of all experiments."""
    return sorted(_files())


def module_of(name: str) -> str:
    """Returns the module of the experiment `name`, to be imported."""
    path = _files()[name].relative_to(FOLDER).with_suffix("")
    return ".".join((__name__, *path.parts))


def listing() -> dict[str, Entry]:
    """Returns all experiments by name, read from the source, not imported."""
    return {name: _entry(path) for name, path in sorted(_files().items())}


def _files() -> dict[str, Path]:
    paths = [path for pattern in PLACES for path in FOLDER.glob(pattern)]
    return {path.stem.replace("_", "-"): path for path in paths}


def _entry(path: Path) -> Entry:
    constants = {}
    for line in ast.parse(path.read_text("utf-8")).body:
        match line:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name in ("TITLE", "SOURCE", "DATA"):
                constants[name] = ast.literal_eval(value)
    return Entry(constants["TITLE"], constants["SOURCE"], constants["DATA"])
