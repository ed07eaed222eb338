"""The house: imports point downwards, no method imports another, each library has its rooms.

Read from the syntax trees, so imports inside functions count, too.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import mriimpute
from mriimpute.methods import registry

ROOT = Path(mriimpute.__file__).parent

LAYERS = [
    {"control_groups", "errors", "seeds", "progress", "stopwatch"},
    {"memory"},
    {"config", "files", "device", "distributed", "workers"},
    {"checkpoint", "geometry", "otsu", "provenance", "volume"},
    {"interpolation", "io", "metrics", "registration"},
    {"simulation"},
    {"cohort", "layers", "optim"},
    {"methods"},
    {"imputation", "training"},
    {"bench", "doctor", "evaluation", "papers"},
    {"report"},
    {"api", "demo"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a module imports from its own folder, and from below."""

HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

METHODS = ROOT / "methods"


def rooms() -> set[str]:
    """The methods, a folder or a file each, as the registry names them; they share the rest."""
    places = [place for method in registry.METHODS.values() for place in method[1:3] if place]
    return {"patches", "registry", *(re.split("[.:]", place)[0] for place in places)}


# Who alone may import what. The names of folders or modules directly in the package.
RESERVED = {
    "nibabel": {"io"},
    "pydicom": {"io"},
    "matplotlib": {"report"},
    "markupsafe": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "multiprocessing": {"doctor", "workers"},
    "pickle": set(),
    "click": set(),
}

MODULES = sorted(ROOT.rglob("*.py"))


def part(path: Path) -> str:
    """The folder or module directly in the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports; for `from a import b` both a and a.b."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(path: Path, package: str = "mriimpute") -> set[str]:
    """The parts of a package that a file imports."""
    above = f"{package}."
    names = (name for name in imported(path) if name.startswith(above))
    return {name.removeprefix(above).split(".")[0] for name in names}


def parts_imported(path: Path) -> set[str]:
    """The parts of this package that a file imports, its own left out."""
    return (inside(path) & set(HEIGHT)) - {part(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    if path == ROOT / "__init__.py":
        assert parts_imported(path) == {"api"}, "and it only when it is asked for"
        return
    assert part(path) in HEIGHT, f"give {part(path)} a height in LAYERS"

    wrong = {name for name in parts_imported(path) if HEIGHT[name] >= HEIGHT[part(path)]}

    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong} from its own height or above"


def test_every_folder_of_methods_is_a_room() -> None:
    folders = {path.name for path in METHODS.iterdir() if any(path.rglob("*.py"))}

    assert folders <= rooms()


def test_no_method_imports_another() -> None:
    for path in METHODS.rglob("*.py"):
        room = path.relative_to(METHODS).parts[0].removesuffix(".py")
        if room != "registry":  # it knows all methods, and none of them knows it
            others = inside(path, "mriimpute.methods") & rooms() - {room}

            assert not others, f"methods/{path.relative_to(METHODS)} imports {others}"


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
    source = "def f():\n    from mriimpute import cli\n    import mriimpute.training.loop\n"
    (tmp_path / "x.py").write_text(source)

    assert inside(tmp_path / "x.py") == {"cli", "training"}


def test_an_import_of_another_method_would_be_seen(tmp_path: Path) -> None:
    source = "from mriimpute.methods import noise\nfrom mriimpute.methods.ridge.moments import x\n"
    (tmp_path / "x.py").write_text(source)

    assert inside(tmp_path / "x.py", "mriimpute.methods") == {"noise", "ridge"}
