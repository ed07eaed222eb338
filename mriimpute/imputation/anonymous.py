"""Messages without folders, whose names are often those of patients."""

import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["without_folders"]

MIN_NAME_LENGTH = 3
"""Letters: a folder called `a` names nobody, and texts are full of it."""

START = r"(?<![\w./~-])"
"""Of a path in running text, whatever sign stands before it."""

# A blank may stand inside of a name, but neither at its ends nor after what ends a clause.
NAMED = r"(?:[^\s/'\"](?:(?![:,;]\s)[^/'\"\n])*(?<!\s)/|[^\s/'\"]/)"

ABSOLUTE = re.compile(rf"{START}(?<!:/)(?:~|\.{{1,2}})?/(?![/\s]|$){NAMED}*")
"""The folders of a path that begins at the root, at home or here."""

RELATIVE = re.compile(
    rf"{START}[A-Za-z_][^\s/'\"=:()\[\]]*/(?:[^\s/'\"]+/)*(?=[^\s/'\"]*\.[A-Za-z])"
)
"""Those of any other path of a file with an ending; `mm/s` and `n/a` are none."""


def without_folders(text: str, paths: Iterable[Path]) -> str:
    """Returns a message with the names of files, but not of the folders they are in.

    Args:
        text: What is told.
        paths: Files that it may be about: their folders are known, blanks and all.
    """
    parents = [path.parent for path in paths]
    spelt = {str(form) for each in parents for form in (each, each.absolute(), each.resolve())}
    for folder in sorted(spelt - {".", "/"}, key=len, reverse=True):
        name = f"{START}{re.escape(folder)}"
        text = re.sub(f"{name}/", "", text)
        if len(folder) >= MIN_NAME_LENGTH:
            text = re.sub(rf"{name}(?![\w.-])", "the folder", text)
    return RELATIVE.sub("", ABSOLUTE.sub("", text))
