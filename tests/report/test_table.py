"""Tests for mriimpute.report.table: what a terminal shows of a ranking."""

import dataclasses
import math
from pathlib import Path

import pytest

from mriimpute.evaluation import Comparison, Estimate, MethodSummary, Summary
from mriimpute.evaluation.columns import METRICS
from mriimpute.evaluation.protocol import SLICES
from mriimpute.report import advice_of, table_of


def comparison(p: float) -> Comparison:
    gain = Estimate(mean=1.0, low=0.5, high=1.5)
    return Comparison(
        reference="pchip", mean=gain, median=gain, p=p, p_alone=p / 2, wins=6, subjects=6
    )


def summary_of(*, ranked: bool, p: float = 0.0312) -> Summary:
    scores = {name: Estimate(mean=0.5) for name in METRICS}
    rest = {"gain_db": Estimate(mean=1.0), "crps_ratio": Estimate(mean=0.7)}
    against = {"interpolator": comparison(p)} if ranked else {}
    return Summary(
        report=Path("report"),
        methods=(
            MethodSummary(
                method="ours", scores=scores, distances={}, labels=(), comparisons=against, **rest
            ),
        ),
        results=(),
        panels={},
        subjects=6 if ranked else 4,
        ranked=ranked,
        best_interpolator="pchip",
        protocol=SLICES,
    )


@pytest.mark.parametrize(("p", "text"), [(0.0312, "0.031"), (1.0, "1.000"), (1e-5, "<0.001")])
def test_p_stands_beside_the_gain_and_the_best_is_not_tested_against_itself(
    p: float, text: str
) -> None:
    summary = summary_of(ranked=True, p=p)
    (best,) = summary.methods
    other = dataclasses.replace(best, method="other", comparisons={"best": comparison(p)})

    table = table_of(dataclasses.replace(summary, methods=(best, other)))

    cells = dict(zip(table.headers, table.rows[0], strict=True))
    assert table.headers[2:5] == ["dB over pchip", "p", "p (best)"]
    assert (cells["p"], cells["p (best)"]) == (text, "-")


def test_too_few_subjects_have_no_p() -> None:
    table = table_of(summary_of(ranked=False))

    assert "p" not in table.headers
    assert len(table.headers) == len(table.rows[0])


def test_title_says_what_was_scored() -> None:
    assert table_of(summary_of(ranked=True)).title.startswith(SLICES.title)


def test_unknown_scores_are_dashes_and_no_column_has_nothing_else() -> None:
    summary = summary_of(ranked=True)
    (known,) = summary.methods
    scores = {**known.scores, "ssim": Estimate(mean=math.nan)}
    unknown = dataclasses.replace(known, method="other", scores=scores)

    both = table_of(dataclasses.replace(summary, methods=(known, unknown)))
    alone = table_of(dataclasses.replace(summary, methods=(unknown,)))

    column = both.headers.index("SSIM")
    assert [row[column] for row in both.rows] == ["0.5000", "-"]
    assert "SSIM" not in alone.headers
    assert {len(row) for row in alone.rows} == {len(alone.headers)}


@pytest.mark.parametrize(
    ("by_draws", "measure"), [(1.5, "every draw, pooled (mriimpute.pool)"), (6.0, "the mean")]
)
def test_what_to_measure_volumes_on_follows_their_errors(by_draws: float, measure: str) -> None:
    summary = summary_of(ranked=True)
    (ours,) = summary.methods
    scores = {
        "tissue_volume_error_percent": Estimate(mean=4.84),
        "tissue_volume_draws_percent": Estimate(mean=by_draws),
    }
    plain = {**ours.scores, "tissue_volume_draws_percent": Estimate(mean=math.nan)}
    methods = (
        dataclasses.replace(ours, scores={**ours.scores, **scores}),
        dataclasses.replace(ours, method="pchip", scores=plain),
    )

    advice = advice_of(dataclasses.replace(summary, methods=methods))

    assert advice == (
        f"By eye and for PSNR: the mean. Volumes of tissues: {measure}. Their error: 4.8 % in the "
        f"mean of ours, {by_draws} % pooled over its draws, 0.5 % with pchip."
    )


def test_without_draws_there_is_nothing_to_choose() -> None:
    summary = summary_of(ranked=True)
    (ours,) = summary.methods
    plain = {**ours.scores, "tissue_volume_draws_percent": Estimate(mean=math.nan)}

    assert advice_of(summary) != ""
    assert (
        advice_of(dataclasses.replace(summary, methods=(dataclasses.replace(ours, scores=plain),)))
        == ""
    )
