"""The experiments of the papers, one per file; the file name, dashes for underscores, is its name.

A file that begins with an underscore is what they share. Importing this package loads nothing.
"""

import re
from pathlib import Path

__all__ = ["available", "titles"]

TITLE = re.compile(r'^TITLE(?:: \w+)? = "(.+)"$', re.MULTILINE)


def available() -> list[str]:
    """Returns the names of all experiments."""
    return sorted(path.stem.replace("_", "-") for path in _files())


def titles() -> dict[str, str]:
    """Returns the name of each experiment and its title, read from the source, not imported."""
    found = {
        path.stem.replace("_", "-"): TITLE.search(path.read_text("utf-8")) for path in _files()
    }
    return {name: match[1] if match else "" for name, match in sorted(found.items())}


def _files() -> list[Path]:
    return list(Path(__file__).parent.glob("[!_]*.py"))
