"""Tests for mriimpute.imputation.verdict."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mriimpute.cohort.consistency import Consistency
from mriimpute.files import shipped
from mriimpute.imputation import verdict as module
from mriimpute.imputation.measures import MEASURES
from mriimpute.imputation.verdict import NOT_COVERED, Verdict, judged
from mriimpute.methods.interpolation import Interpolation
from mriimpute.volume import Volume

USUAL = Consistency(
    slices=20,
    spacing_mm=6.0,
    pixel_mm=(1.0, 1.0),
    contrast=True,
    levels=(0.22, 0.26, 0.4, 0.56, 0.7, 0.84),
    concentration=0.02,
    smoothness=0.5,
    neighbour_correlation=0.6,
    slice_shift_mm=0.2,
    slice_shift_error_mm=0.15,
    brightness_step=0.01,
    brightness_step_error=0.0,
)

LINES = {
    "target_pixels": 9999, "error_over_std": 1.0, "shrinkage": 0.95, "gain_db": 1.8,
    "coverage_90": 0.91,
}  # fmt: skip

SLICES = {"error_over_std": 0.95, "gain_db": 2.0, "coverage_90": 0.92}

MEASURED = {"gaps": {"3": LINES}, "left_out_slices": {"3": SLICES}, "interpolated_share": 0.0}


def stack(slices: NDArray[np.float32], factor: int = 3, mm: float = 2.0) -> Volume:
    shape = (*slices.shape[:2], factor * (slices.shape[2] - 1) + 1)
    data, observed = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    data[:, :, ::factor], observed[:, :, ::factor] = slices, np.isfinite(slices)
    return Volume(data, observed, np.diag([mm, mm, mm, 1.0]))


def judge(volume: Volume, quality: Any = MEASURED, *, packaged: bool = True) -> Verdict:
    return judged(volume, quality, Interpolation("linear"), packaged=packaged)


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts measures in place of those of a scan, with some of them changed."""
    volume = stack(np.zeros((2, 2, 5), np.float32))

    def arrange(**changed: Any) -> Volume:
        values = {name: getattr(USUAL, name) for name in Consistency.__slots__}
        found = Consistency(**{**values, **changed})
        monkeypatch.setattr(module, "consistency", lambda volume: found)
        return volume

    return arrange


def measured(part: str, **changed: float) -> dict[str, Any]:
    own: Any = MEASURED[part]
    return {**MEASURED, part: {"3": {**own["3"], **changed}}}


def test_what_is_usual_passes_and_says_what_was_gained(scan: Any) -> None:
    verdict = judge(scan())

    assert verdict.status == "pass"
    assert verdict.reasons == (
        "1.80 dB better than interpolation on lines hidden in its slices, 90 % intervals cover "
        "91 % of them",
    )
    assert list(verdict.measures) == list(MEASURES)


def test_what_companions_gain_is_praised(scan: Any) -> None:
    verdict = judge(scan(), {**MEASURED, "companions_gain_db": 2.25})

    assert verdict.reasons[0].endswith("91 % of them; companions gain 2.25 dB more")


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        (
            {"slice_shift_mm": 10.0},
            "fail",
            "every second slice lies over 9.7 mm from its neighbours",
        ),
        ({"brightness_step": np.log(1.12)}, "look", "12 % brighter"),
        ({"brightness_step": np.log(1.3)}, "fail", "30 % brighter"),
        ({"neighbour_correlation": 0.01}, "fail", "little in common with their neighbours"),
        ({"smoothness": 0.0}, "fail", "foreign: slices hold little but noise"),
        ({"concentration": 0.15}, "look", "foreign: 15 % of the foreground"),
        ({"concentration": 0.5}, "fail", "foreign: 50 % of the foreground"),
        ({"levels": (0.9, 0.92, 0.95, 0.96, 0.97, 0.98)}, "fail", "foreign: intensities"),
        ({"spacing_mm": 20.0}, "look", "20 mm apart: 2.5 to 9 mm was learnt"),
        ({"spacing_mm": 1.5}, "look", "1.5 mm apart: 2.5 to 9 mm was learnt"),
        ({"pixel_mm": (0.3, 1.0)}, "look", "pixels are 0.30 mm"),
        ({"pixel_mm": (2.0, 3.0)}, "look", "pixels are 3.00 mm"),
    ],
)
def test_what_speaks_against_a_scan(
    scan: Any, changed: dict[str, Any], status: str, words: str
) -> None:
    verdict = judge(scan(**changed))

    assert verdict.status == status
    assert words in verdict.reasons[0]
    assert len(verdict.reasons) == 1


@pytest.mark.parametrize(
    ("quality", "status", "words"),
    [
        (measured("gaps", gain_db=0.1), "look", "only 0.10 dB better"),
        (measured("gaps", shrinkage=0.2), "look", "near interpolation (shrinkage 0.20)"),
        (measured("gaps", coverage_90=0.8), "look", "cover only 80 % of hidden pixels"),
        (measured("gaps", coverage_90=0.6), "fail", "cover only 60 % of hidden pixels"),
        (measured("gaps", error_over_std=4.0), "fail", "4.00 times what the model expects"),
        (measured("left_out_slices", error_over_std=1.6), "look", "1.60 times what lines"),
        (measured("left_out_slices", coverage_90=0.5), "fail", "only 50 % of left-out slices"),
        (measured("gaps", target_pixels=500), "look", "too little of a head"),
        ({**MEASURED, "interpolated_share": 1.0, "gaps": {}}, "look", "100 % of the missing"),
        ({}, "look", "linear does not measure on the scan itself"),
    ],
)
def test_what_speaks_against_a_prediction(
    scan: Any, quality: dict[str, Any], status: str, words: str
) -> None:
    verdict = judge(scan(), quality)

    assert verdict.status == status
    assert words in verdict.reasons[0]


@pytest.mark.parametrize(
    ("slices", "gap"), [((0, 1, 2, 3, 5, 6), "2"), ((0, 1, 2, 4, 7, 10), "3")]
)
def test_slices_without_a_gap_between_them_have_no_say(
    scan: Any, slices: tuple[int, ...], gap: str
) -> None:
    """What counts is the commonest gap, and between neighbours there is none."""
    usual = scan()
    observed = np.zeros((2, 2, slices[-1] + 1), bool)
    observed[:, :, slices] = True
    volume = Volume(np.zeros(observed.shape, np.float32), observed, usual.affine)
    quality = {"gaps": {gap: LINES}, "left_out_slices": {gap: SLICES}, "interpolated_share": 0.0}

    verdict = judge(volume, quality)

    assert verdict.status == "pass"
    assert verdict.measures["gain_db"] == LINES["gain_db"]
    assert verdict.measures["slices_gain_db"] == SLICES["gain_db"]


def test_a_shift_that_anatomy_explains_is_none(scan: Any) -> None:
    assert judge(scan(slice_shift_mm=1.8, slice_shift_error_mm=0.8)).status == "pass"
    assert judge(scan(slice_shift_mm=1.8, slice_shift_error_mm=0.1)).status == "fail"
    assert judge(scan(brightness_step=0.2, brightness_step_error=0.08)).status == "pass"
    far = judge(scan(slice_shift_mm=9.0, brightness_step=0.3, spacing_mm=20.0))
    assert [reason.split()[2] for reason in far.reasons] == ["20"]


@pytest.mark.parametrize("name", ["slice_shift", "brightness_step"])
def test_slices_too_few_to_compare_do_not_speak_against_a_scan(scan: Any, name: str) -> None:
    unknown = {each: np.nan for each in Consistency.__slots__ if each.startswith(name)}

    assert judge(scan(**unknown)).status == "pass"


def test_the_worst_reason_comes_first(scan: Any) -> None:
    verdict = judge(scan(spacing_mm=12.0, slice_shift_mm=9.0), measured("gaps", gain_db=0.1))

    assert verdict.status == "fail"
    assert [reason.split()[0] for reason in verdict.reasons] == ["every", "only", "slices"]


def test_nothing_is_foreign_to_a_model_of_other_scans(scan: Any) -> None:
    assert judge(scan(concentration=0.3, spacing_mm=20.0), packaged=False).status == "pass"


def test_noise_a_phantom_and_a_blank_do_not_pass(rng: np.random.Generator) -> None:
    shape = (40, 40, 7)
    noise = rng.normal(size=shape).astype(np.float32)
    x, y = np.indices(shape[:2])
    disc = np.hypot(x - 20, y - 20) < 14
    phantom = (disc[:, :, None] + 0.01 * rng.normal(size=shape)).astype(np.float32)

    verdicts = [judge(stack(data)) for data in (noise, phantom, np.ones(shape, np.float32))]

    assert [verdict.status for verdict in verdicts] == ["fail"] * 3
    assert any("noise" in reason for reason in verdicts[0].reasons)
    assert any("phantom" in reason for reason in verdicts[1].reasons)
    assert verdicts[2].reasons == ("every acquired voxel has the same value",)


def test_what_is_no_stack_is_looked_at(rng: np.random.Generator) -> None:
    observed = rng.random((9, 9, 9)) < 0.5
    volume = Volume(rng.normal(size=(9, 9, 9)).astype(np.float32), observed, np.eye(4))

    assert judge(volume, {}).status == "look"


def test_plain_values_are_json_with_units_and_limits(scan: Any) -> None:
    plain = judge(scan(smoothness=np.nan)).plain()

    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text) == plain
    assert plain["verdict"] == "pass"
    assert plain["not_covered"] == NOT_COVERED
    assert plain["measures"]["gain_db"] == {"value": 1.8, "unit": "dB", "usual": [0.3, None]}
    assert plain["measures"]["smoothness"]["value"] is None


def test_every_limit_has_a_reason_and_failing_is_worse_than_looking() -> None:
    for name, measure in MEASURES.items():
        (low, high), (lowest, highest) = measure.usual, measure.usable
        assert lowest <= low < high <= highest, name
        assert measure.low or low in (-np.inf, 0.0), name
        assert measure.high or high in (np.inf, 1.0), name


def test_reference_scans_lie_in_the_package_and_rise() -> None:
    levels = module._reference()

    assert shipped("cross-plane").with_name("reference.json").is_file()
    assert levels.shape[1] == len(USUAL.levels)
    assert (np.diff(levels, axis=1) > 0).all()
    assert ((levels > 0) & (levels < 1)).all()
