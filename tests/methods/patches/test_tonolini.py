"""Models with importance weights, or a prior of their own: from their presets to a draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mriimpute.config import merge
from mriimpute.errors import ConfigError
from mriimpute.progress import silent
from mriimpute.seeds import numpy_stream
from mriimpute.training import preset, train
from mriimpute.volume import Volume

SMALL: dict[str, Any] = {
    "model": {"patch": [8, 8, 8], "channels": 3, "latents": 2},
    "train": {"patches": 24, "batch": 4, "report": 8, "val_patches": 4},
}


def fit(sim: Path, run: Path, name: str, changed: dict[str, Any]) -> Path:
    settings = merge(merge(preset(name), SMALL), changed)
    return train(sim, run, settings, seed=0, device="cpu", max_minutes=None, track=silent)


@pytest.mark.parametrize("name", ["mvae", "miwae", "tae"])
def test_preset_trains_on_scans_and_imputes_them(name: str, sim: Path, tmp_path: Path) -> None:
    from mriimpute.methods.registry import load_imputer

    data = numpy_stream(0, "scan").random((9, 10, 13), np.float32)
    observed = np.zeros(data.shape, bool)
    observed[:, :, ::3] = True

    model = fit(sim, tmp_path / "run", name, {})
    made = load_imputer(str(model), device="cpu").impute(
        Volume(data, observed, np.eye(4)), seed=0, case="a"
    )

    assert made.draw is not None
    for image in (made.mean, made.draw(1)):
        assert np.isfinite(image).all()
        assert_array_equal(image[observed], data[observed])
    assert (made.draw(1) != made.draw(2))[~observed].all()


@pytest.mark.parametrize("objective", ["tomographic", "evidence"])
def test_objective_of_another_model_is_refused(objective: str, sim: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"Mvae has no objective '{objective}'"):
        fit(sim, tmp_path / "run", "mvae", {"train": {"objective": objective}})
