"""What the pages for readers say can be done: commands parse, links lead on, code compiles."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer

from mriimpute import __version__
from mriimpute.cli import app
from mriimpute.cli.bids import translated

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "mriimpute").rglob("*.md")),
    *sorted((ROOT / "tests").rglob("*.md")),
]
COMMANDS: Any = typer.main.get_command(app)

MOST_LINES, MOST_WORDS = 150, 1300

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """Returns what is fenced as code of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yields the words after `mriimpute` of each command in a bash block."""
    for block in blocks(page, "bash"):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if words[:1] == ["mriimpute-bids"]:
                yield translated([*words[1:], "--skip-bids-validation"])
            for place, word in enumerate(words[:-1]):  # behind torchrun or docker, too
                if word in ("mriimpute", "mriimpute.sif") and words[place + 1].isalpha():
                    yield words[place + 1 :]


def parse(words: list[str]) -> None:
    """Fails unless there is such a command that has these options; nothing is run."""
    above = COMMANDS.make_context("mriimpute", list(words))
    name, command, rest = COMMANDS.resolve_command(above, list(words))
    command.make_context(name, rest, parent=above)


def heading_anchors(page: Path) -> set[str]:
    """Returns the anchors of a page as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@every_page
def test_every_command_parses(page: Path) -> None:
    for words in command_lines(page):
        parse(words)


def test_the_readme_shows_commands() -> None:
    assert {words[0] for words in command_lines(README)} >= {"inspect", "impute", "evaluate"}


@pytest.mark.parametrize(
    "line", ["fill scan.nii.gz", "impute scan.nii.gz --resume", "simulate full/"]
)
def test_a_wrong_command_would_be_seen(line: str) -> None:
    with pytest.raises(typer.BadParameter.__mro__[1]):  # a usage error of any kind
        parse(line.split())


@every_page
def test_commands_in_running_text_parse_where_they_are_whole(page: Path) -> None:
    for span in re.findall(r"`mriimpute ([a-z][^`]+)`", page.read_text()):
        words = shlex.split(span)
        assert words[0] in COMMANDS.commands, span
        options = {o for p in COMMANDS.commands[words[0]].params for o in (*p.opts, "--help")}
        assert {word for word in words if word.startswith("-")} <= options, span


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in heading_anchors(target), link


@every_page
def test_every_module_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`([\w/*-]+/[\w*-]+\.py)`", page.read_text()):
        places = (ROOT, ROOT / "mriimpute", ROOT / "tests", page.parent)
        assert any(any(place.glob(name)) for place in places), name


@every_page
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_python_of_the_readme_runs_as_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rng: np.random.Generator,
) -> None:
    data = rng.integers(0, 900, (16, 14, 5)).astype(np.int16)
    nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)

    for block in blocks(README, "python"):
        exec(compile(block, str(README), "exec"), {})  # noqa: S102

    printed = re.findall(r"[\d.]+", capsys.readouterr().out)
    estimate, low, high = map(float, printed)
    assert 0 < low < estimate < high < 16 * 14 * 13


def test_the_readme_is_a_front_page() -> None:
    text = README.read_text()

    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.split()) < MOST_WORDS


def test_the_command_that_runs_the_tests_stands_in_one_place() -> None:
    (line,) = re.findall(
        r"^.*(?:^\s*|&& )(?:python -m )?pytest(?: .*)?$", README.read_text(), re.M
    )

    assert line == "pip install -c constraints.txt -e '.[test]' && pytest -n auto --dist worksteal"


def test_citation_and_changelog_name_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text()
