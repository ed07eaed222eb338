"""Tests for mriimpute.demo."""

from pathlib import Path

import numpy as np
import pytest

from mriimpute import demo
from mriimpute.demo import DemoConfig, make_cohort
from mriimpute.progress import silent


def test_brains_that_are_there_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(*_: object, name: str, **__: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made.append(name)
        if name == "sub-03" and made.count(name) == 1:
            raise KeyboardInterrupt
        return np.ones((3, 3, 3), np.float32), np.ones((3, 3, 3), np.uint8), np.eye(4)

    monkeypatch.setattr(demo, "make_brain", make)
    monkeypatch.setattr(demo, "load_template", lambda _: None)

    with pytest.raises(KeyboardInterrupt):
        make_cohort(tmp_path, DemoConfig(subjects=4), seed=0, track=silent)
    make_cohort(tmp_path, DemoConfig(subjects=4), seed=0, track=silent)

    assert made == ["sub-01", "sub-02", "sub-03", "sub-03", "sub-04"]
