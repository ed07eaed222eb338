"""Tests for mriimpute.evaluation.protocol and what the protocols change."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mriimpute.errors import ConfigError, OutputError
from mriimpute.evaluation import evaluate
from mriimpute.evaluation import methods as method_module
from mriimpute.evaluation.inpainting import inpainting_scores
from mriimpute.evaluation.protocol import INPAINT, PAPER, THICK, ProtocolName, resolve
from mriimpute.evaluation.simulated import find_simulated_scans, read_test_case, thickness_of
from mriimpute.methods.base import Imputation
from mriimpute.methods.interpolation import Interpolation
from mriimpute.volume import Volume

WINDOW = 5


class Witness(Interpolation):
    """Interpolates, and remembers how thick the slices were said to be."""

    def __init__(self) -> None:
        super().__init__("linear")
        self.told: list[float] = []

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns what interpolation does."""
        self.told.append(volume.thickness_mm)
        return super().impute(volume, seed=seed, case=case)


def record(sim: Path, thickness_mm: float) -> None:
    text = json.dumps({"settings": {"thickness_mm": thickness_mm, "truth": "point samples"}})
    (sim / "simulation.json").write_text(text)


@pytest.mark.parametrize(
    ("name", "thickness_mm", "protocol"),
    [
        ("simulated", 0.0, PAPER),
        ("simulated", 4.0, THICK),
        ("paper", 0.0, PAPER),
        ("thick", 4.0, THICK),
        ("brats-inpaint", 4.0, INPAINT),
    ],
)
def test_the_simulation_decides_between_paper_and_thick(
    name: ProtocolName, thickness_mm: float, protocol: object
) -> None:
    assert resolve(name, thickness_mm) is protocol


@pytest.mark.parametrize(("name", "thickness_mm"), [("paper", 4.0), ("thick", 0.0)])
def test_a_simulation_made_for_the_other_protocol_is_refused(
    name: ProtocolName, thickness_mm: float
) -> None:
    with pytest.raises(ConfigError, match=f"no --protocol {name}"):
        resolve(name, thickness_mm)


@pytest.mark.parametrize(
    "record", ['{"settings": 3', "[1]", '{"settings": [1]}', '{"settings": {"thickness_mm": "a"}}']
)
def test_damaged_record_of_a_simulation_is_named(sim: Path, record: str) -> None:
    (sim / "simulation.json").write_text(record)

    with pytest.raises(ConfigError, match=r"simulation\.json is damaged"):
        evaluate(sim, sim.parent / "report", methods=["linear"])


def test_a_truth_that_is_averaged_as_slices_are_is_refused(sim: Path) -> None:
    (sim / "simulation.json").write_text('{"settings": {"thickness_mm": 4.0}}')

    with pytest.raises(ConfigError, match="averaged the truth over 4 mm, too"):
        thickness_of(sim)


def test_methods_are_told_the_thickness_that_was_simulated(
    sim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(sim, 3.5)
    witness = Witness()
    monkeypatch.setattr(method_module, "load_imputer", lambda name, device: witness)

    summary = evaluate(sim, sim.parent / "report", methods=["linear"])

    assert witness.told == [3.5]
    assert summary.protocol is THICK
    assert (summary.settings["protocol"], summary.settings["thickness_mm"]) == ("thick", "3.5")


def test_rows_of_another_protocol_are_not_mixed_in(sim: Path) -> None:
    evaluate(sim, sim.parent / "report", methods=["linear"])

    with pytest.raises(OutputError, match="protocol was paper, is brats-inpaint"):
        evaluate(sim, sim.parent / "report", methods=["linear"], protocol="brats-inpaint")


def test_inpainting_scores_are_those_computed_by_hand(rng: np.random.Generator) -> None:
    truth = rng.uniform(1, 80, (14, 13, 12)).astype(np.float32)
    image = (truth + rng.normal(0, 6, truth.shape)).astype(np.float32)
    region = np.zeros(truth.shape, bool)
    region[2:9, 0:8, 3:12] = True

    found = inpainting_scores(truth, image, region)

    peak = truth[region].max()
    x, y = (np.where(region, part, 0).astype(np.float64) / peak for part in (truth, image))
    mse = np.mean((x - y)[region] ** 2)
    assert found.mse == pytest.approx(mse, rel=1e-9)
    assert found.psnr_db == pytest.approx(-10 * np.log10(mse), abs=1e-9)
    assert found.ssim == pytest.approx(ssim_by_hand(x, y)[region].mean(), abs=1e-9)


def ssim_by_hand(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The map, one voxel after the other, from its window of mirrored surroundings."""
    line = np.exp(-(np.arange(-WINDOW, WINDOW + 1) ** 2) / (2 * 1.5**2))
    weight = np.multiply.outer(np.multiply.outer(line, line), line)
    weight /= weight.sum()
    size = max(np.ptp(x), np.ptp(y))
    c1, c2 = (0.01 * size) ** 2, (0.03 * size) ** 2
    a, b = (np.pad(part, WINDOW, mode="reflect") for part in (x, y))
    out = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        window = tuple(slice(p, p + 2 * WINDOW + 1) for p in place)
        u, v = a[window], b[window]
        mu, nu = (weight * u).sum(), (weight * v).sum()
        uu, vv = (weight * u * u).sum() - mu**2, (weight * v * v).sum() - nu**2
        uv = (weight * u * v).sum() - mu * nu
        out[place] = ((2 * mu * nu + c1) * (2 * uv + c2)) / (
            (mu**2 + nu**2 + c1) * (max(uu, 0) + max(vv, 0) + c2)
        )
    return out


def test_inpainting_scores_agree_with_torchmetrics(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    image_metrics = pytest.importorskip("torchmetrics.functional.image")
    truth = rng.uniform(1, 80, (16, 14, 13)).astype(np.float32)
    image = (truth + rng.normal(0, 6, truth.shape)).astype(np.float32)
    region = rng.uniform(size=truth.shape) < 0.3

    found = inpainting_scores(truth, image, region)

    x, y = (
        torch.from_numpy(np.where(region, part, 0) / truth[region].max()).float()[None, None]
        for part in (truth, image)
    )
    _, similarity = image_metrics.structural_similarity_index_measure(y, x, return_full_image=True)
    inside = torch.from_numpy(region)
    psnr = image_metrics.peak_signal_noise_ratio(
        y[0, 0][inside], x[0, 0][inside], data_range=float(x.max())
    )
    assert found.ssim == pytest.approx(float(similarity[0, 0][inside].mean()), abs=1e-5)
    assert found.psnr_db == pytest.approx(float(psnr), abs=1e-3)


def test_truth_inpaints_itself_perfectly(rng: np.random.Generator) -> None:
    truth = rng.uniform(1, 80, (8, 8, 8)).astype(np.float32)

    found = inpainting_scores(truth, truth, truth > 40)

    assert (found.mse, found.psnr_db) == (0, np.inf)
    assert found.ssim == pytest.approx(1)


def test_inpainting_sees_nothing_outside_of_the_hole(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0], INPAINT)
    imputed = Interpolation("linear").impute(case.volume, seed=0, case="c").mean
    elsewhere = np.where(case.region, imputed, np.float32(np.nan))

    assert inpainting_scores(case.truth, elsewhere, case.region) == inpainting_scores(
        case.truth, imputed, case.region
    )


def test_inpainting_is_reported_in_its_own_units(sim: Path) -> None:
    case = read_test_case(find_simulated_scans(sim)[0], INPAINT)

    (row,) = evaluate(
        sim, sim.parent / "report", methods=["linear"], protocol="brats-inpaint"
    ).results

    imputed = Interpolation("linear").impute(case.volume, seed=0, case="c").mean
    scores = inpainting_scores(case.truth, imputed, case.region)
    assert row.data_range == case.truth[case.region].max()
    assert (row.psnr_db, row.ssim) == (scores.psnr_db, scores.ssim)
    assert row.rmse_percent**2 == pytest.approx(1e4 * scores.mse)


def test_scans_are_scored_on_the_brain_unless_asked_otherwise(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    write(tmp_path / "sim", {"sub-1": "test"})

    summary = evaluate(tmp_path / "sim", tmp_path / "report", methods=["linear"])

    assert summary.protocol is PAPER
    assert dataclasses.asdict(PAPER)["bias"] == ""
