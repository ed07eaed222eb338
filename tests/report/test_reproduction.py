"""Tests for mriimpute.report.reproduction."""

from pathlib import Path

import numpy as np
import pytest

from mriimpute.papers.dalca.config import METHODS
from mriimpute.papers.experiment import Bars, Conclusion, Images, Lines, Plot
from mriimpute.report import write_panels
from mriimpute.report._styles import COLOURS
from mriimpute.report.reproduction import _rows, _styles

LINES = Lines(
    "l", "x", "y", {"a": ([1, 2], [3, 4], [0.1, 0.2]), "b": ([1], [2], None)}, log_y=True
)
BARS = Bars("b", "y", ["g", "h"], {"b": [1, float("nan")], "c": [2, 3]}, {"b": [0.1, 0.1]})
HOLES = np.where(np.eye(4) > 0, np.nan, 0.5)
IMAGES = Images("i", ["truth", "ours"], [[HOLES, HOLES], [HOLES, HOLES]])


@pytest.mark.parametrize("plots", [[IMAGES], [LINES] * 4, [LINES, BARS, IMAGES, LINES]])
def test_every_kind_of_panel_becomes_a_picture(tmp_path: Path, plots: list[Plot]) -> None:
    write_panels(tmp_path / "figure.png", "title", Conclusion([], plots, []))

    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_same_panels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_panels(tmp_path / name, "title", Conclusion([], [BARS], []))

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_series_is_drawn_alike_in_all_panels_and_unlike_any_other() -> None:
    styles = _styles([LINES, BARS, IMAGES])

    assert list(styles) == ["a", "b", "c"]
    assert len({style.colour for style in styles.values()}) == 3
    assert len({style.marker for style in styles.values()}) == 3


def test_more_series_than_colours_still_have_a_style() -> None:
    names = [str(n) for n in range(len(COLOURS) + 3)]
    many = Lines("l", "x", "y", {name: ([1], [1], None) for name in names})

    styles = _styles([many])
    assert list(styles) == names
    assert len(set(styles.values())) == len(names)


def test_the_ten_methods_of_a_figure_have_ten_colours() -> None:
    bars = Bars("b", "y", ["g"], {name: [1.0] for name in METHODS})

    assert len({style.colour for style in _styles([bars]).values()}) == len(METHODS) == 10


def test_charts_stand_three_side_by_side_and_images_alone() -> None:
    rows = [len(row) for row in _rows([LINES, BARS, LINES, LINES, IMAGES, BARS])]

    assert rows == [3, 1, 1, 1]
