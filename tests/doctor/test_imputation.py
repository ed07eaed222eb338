"""Tests for mriimpute.doctor.imputation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute.doctor import imputation
from mriimpute.doctor.imputation import imputation_checks, package_checks, phantom
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.registry import load_imputer
from mriimpute.volume import Volume


class Spoilt(Imputer):
    """Interpolates, and spoils the result in one way."""

    name = "spoilt"

    def __init__(self, way: str) -> None:
        self.way, self.calls = way, 0

    def impute(self, volume: Volume, **given: Any) -> Imputation:
        self.calls += 1
        found = load_imputer("pchip", device="cpu").impute(volume, **given)
        mean = found.mean.copy()
        match self.way:
            case "acquired voxels kept":
                mean[3, 4, 0] = np.nextafter(mean[3, 4, 0], np.float32(np.inf))
            case "same imputation twice":
                mean[3, 4, 1] += np.float32(1e-3) * self.calls
            case "change of units":
                mean[~volume.observed] += np.float32(1)
            case "phantom":
                middle = volume.data[volume.observed].mean()
                mean[~volume.observed] += np.float32(0.2) * (middle - mean[~volume.observed])
        return replace(found, mean=mean)


def failed() -> list[str]:
    checks = imputation_checks("cpu")
    return [c.name.removesuffix(", cpu") for c in checks if c.verdict == "fail"]


def test_the_package_is_whole_and_imputes_the_phantom() -> None:
    checks = [*package_checks(), *imputation_checks("cpu")]

    assert {check.verdict for check in checks} == {"ok"}


@pytest.mark.parametrize(
    "way", ["acquired voxels kept", "same imputation twice", "change of units", "phantom"]
)
def test_each_way_of_imputing_wrongly_is_caught(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imputation, "load_imputer", lambda *_, **__: Spoilt(way))

    assert failed() == [way]


def test_damaged_weights_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(imputation.shipped("cross-plane").read_bytes())
    content[-5] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    monkeypatch.setattr(imputation, "shipped", lambda _: tmp_path / "x.safetensors")

    weights, template = package_checks()

    assert (weights.verdict, template.verdict) == ("fail", "ok")
    assert "checksum" in weights.note
    assert "/" not in weights.note


@pytest.mark.parametrize("size", [None, 1000], ids=["missing", "cut off"])
def test_a_template_that_cannot_be_read_is_caught(
    size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "template.nii.gz"
    if size:
        copy.write_bytes(imputation.mni152().read_bytes()[:size])
    monkeypatch.setattr(imputation, "mni152", lambda: copy)

    weights, template = package_checks()

    assert (weights.verdict, template.verdict) == ("ok", "fail")
    assert "/" not in template.note


def test_the_phantom_shows_only_every_fourth_slice() -> None:
    truth, sparse = phantom()

    assert sparse.observed.mean() == pytest.approx(10 / 37)
    np.testing.assert_array_equal(sparse.data[sparse.observed], truth[sparse.observed])
    assert np.isnan(sparse.data[~sparse.observed]).all()
