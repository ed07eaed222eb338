"""The layers of the package: a module imports from its own package and from below, never sideways.

Read from the syntax trees, so imports inside functions count, too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mriimpute

ROOT = Path(mriimpute.__file__).parent

LAYERS = [
    {"errors", "seeds", "progress", "stopwatch"},
    {"config", "files", "device", "distributed", "memory", "statistics", "workers"},
    {"provenance", "volume", "geometry"},
    {"io", "metrics"},
    {"simulate"},
    {"data"},
    {"nn"},
    {"models"},
    {"inference", "checkpoint"},
    {"train", "impute"},
    {"evaluate", "bench", "reproduce", "doctor"},
    {"report"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

# Who alone may import what. The names of folders or modules directly in the package.
RESERVED = {
    "nibabel": {"io"},
    "pydicom": {"io"},
    "matplotlib": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "pickle": set(),
    "click": set(),
}

MODULES = sorted(ROOT.rglob("*.py"))


def part(path: Path) -> str:
    """The folder or module directly in the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports; for `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(path: Path) -> set[str]:
    """The parts of this package that a file imports, its own left out."""
    inside = (name.split(".") for name in imported(path))
    named = {words[1] for words in inside if words[0] == "mriimpute" and len(words) > 1}
    return (named & set(HEIGHT)) - {part(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    if path == ROOT / "__init__.py":
        assert not parts_imported(path), "importing the package must load nothing"
        return
    assert part(path) in HEIGHT, f"give {part(path)} a height in LAYERS"

    wrong = {name for name in parts_imported(path) if HEIGHT[name] >= HEIGHT[part(path)]}

    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong} from its own height or above"


@pytest.mark.parametrize("library", sorted(RESERVED))
def test_libraries_stay_where_they_belong(library: str) -> None:
    users = {
        part(path)
        for path in MODULES
        if any(name.split(".")[0] == library for name in imported(path))
    }

    assert users <= RESERVED[library]


def test_every_part_on_disk_has_a_height() -> None:
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.rglob("*.py"))}

    assert folders <= set(HEIGHT)


def test_an_import_from_above_would_be_seen(tmp_path: Path) -> None:
    source = "def f():\n    from mriimpute import cli\n    import mriimpute.train.loop\n"
    (tmp_path / "x.py").write_text(source)

    found = {name for name in imported(tmp_path / "x.py") if name.startswith("mriimpute.")}

    assert found == {"mriimpute.cli", "mriimpute.train.loop"}
