"""The experiments of Tonolini et al., on made-up data and with a handful of steps."""

import dataclasses
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mriimpute.config import parse
from mriimpute.errors import ConfigError
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Outcome, Task
from mriimpute.papers.sparse import Sparse, random_missing
from mriimpute.papers.tonolini import (
    tae_c_lambda,
    tae_depth,
    tae_fig3,
    tae_fig5,
    tae_structured,
    tae_table1,
)
from mriimpute.papers.tonolini.classifier import ClassifierConfig, classify, raw
from mriimpute.papers.tonolini.posteriors import (
    SMOKE,
    RecoveryConfig,
    corrupted,
    perform,
    task,
    train_model,
)
from mriimpute.papers.tonolini.recovery import SCORES, average, evaluate, gallery, recover
from mriimpute.seeds import numpy_stream

NAMES = ("table1", "fig3", "fig5", "structured", "depth", "c_lambda")
TINY = dataclasses.replace(
    SMOKE, images=40, steps=3, batch=8, tested=20, bound_steps=2, drawn=8, draws=20
)
WINDOW = 4  # the made-up images are 8 x 8


def module_of(name: str) -> Any:
    return import_module(f"mriimpute.papers.tonolini.tae_{name}")


def shrunk(job: Task) -> Task:
    """The same task with hardly any work in it."""
    settings = job.settings | {"effort": dataclasses.asdict(TINY)}
    if settings.get("window"):
        settings |= {"window": WINDOW}
    return Task(key=job.key, settings=settings)


def scored(**numbers: float) -> Outcome:
    """An outcome with made-up scores and images."""
    image = np.zeros((4, 8, 8), np.float32)
    scores = {"elbo": 1.0, **dict.fromkeys(SCORES, 0.5), **numbers}
    draws = np.zeros((4, 4, 8, 8), np.float32)
    return Outcome(scores, {"truth": image, "y": image, "mean": image, "draws": draws})


def test_bound_of_the_cpu_budget_takes_the_steps_that_it_needs() -> None:
    jobs = [job for name in NAMES for job in module_of(name).tasks("cpu", 0)]

    steps = {effort["bound_steps"] for job in jobs if (effort := job.settings.get("effort"))}

    assert steps == {2000}  # after 500, that of tae was 15 to 18 nats lower


@pytest.mark.parametrize("budget", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_tasks_have_names_of_their_own_and_plain_settings(name: str, budget: str) -> None:
    tasks = module_of(name).tasks(budget, 0)

    assert len({job.key for job in tasks}) == len(tasks)
    for job in tasks:
        assert json.loads(json.dumps(job.settings)) == job.settings


@pytest.mark.parametrize("name", ["table1", "fig3", "structured", "c_lambda"])
def test_the_paper_budget_is_the_published_schedule(name: str) -> None:
    config = parse(RecoveryConfig, module_of(name).tasks("paper", 0)[0].settings)

    assert (config.effort.steps, config.effort.batch, config.effort.rate) == (500_000, 20, 2e-4)
    assert (config.effort.gamma_start, config.effort.gamma_end) == (0.1, 0.2)


def test_every_model_sees_the_same_corruption_and_every_repeat_another(root: Path) -> None:
    images = Data(root).images("mnist", "train").images[:5]
    mvae = RecoveryConfig(data="mnist", model="mvae", missing=0.5, effort=TINY)
    tae = dataclasses.replace(mvae, model="tae", strength=1.0)
    again = dataclasses.replace(mvae, repeat=1)

    first, second, other = (corrupted(config, images, "train", 0) for config in (mvae, tae, again))

    np.testing.assert_array_equal(first.y, second.y)
    assert (np.isnan(first.y) != np.isnan(other.y)).any()


def test_training_and_recovery_never_see_the_truth(root: Path) -> None:
    config = RecoveryConfig(data="mnist", model="tae", missing=0.5, effort=TINY)
    images = Data(root).images("mnist", "train").images[:16]
    sparse = corrupted(config, images, "train", 0)
    blind = Sparse(sparse.y, np.full_like(sparse.truth, np.nan))

    draws = [
        recover(
            train_model(config, part, seed=0, device="cpu")[0], part, 2, seed=0, device="cpu"
        ).draws
        for part in (sparse, blind)
    ]

    np.testing.assert_array_equal(*draws)


def test_a_model_that_knows_the_noise_starts_with_the_same_means_but_quieter_draws(
    root: Path,
) -> None:
    images = Data(root).images("mnist", "test").images[:10]
    noisy = RecoveryConfig(data="mnist", model="mvae", missing=0.5, effort=TINY)
    quiet = dataclasses.replace(noisy, model="mvae-denoised")
    sparse = corrupted(noisy, images, "test", 0)

    models = [train_model(config, sparse, seed=0, device="cpu")[0] for config in (noisy, quiet)]
    y = torch.from_numpy(sparse.y)
    z = torch.zeros(1, len(y), 20)

    # Trained alike, their p(y | z) differ little; what is drawn from lacks the noise.
    scales = [model.recovery(y, y.isfinite()).voxels(z).scale for model in models]
    assert scales[1].mean() <= models[1].likelihood(z).scale.mean()
    assert models[0].likelihood(z).scale.mean() == scales[0].mean()


def test_a_longer_fit_of_the_bound_does_not_lower_it(root: Path) -> None:
    config = RecoveryConfig(data="mnist", model="mvae", missing=0.5, effort=TINY)
    test = corrupted(config, Data(root).images("mnist", "test").images, "test", 0)
    model, _ = train_model(config, test, seed=0, device="cpu")

    short, long = (
        evaluate(model, test, bound_steps=steps, drawn=4, draws=20, seed=0, device="cpu")
        for steps in (1, 60)
    )

    assert long.numbers["elbo"] > short.numbers["elbo"]
    assert long.numbers["elbo_per_value"] == long.numbers["elbo"] / 64


@pytest.mark.parametrize("name", ["table1", "fig3", "structured", "c_lambda"])
def test_an_experiment_ends_with_a_row_per_setting(name: str, root: Path) -> None:
    module = module_of(name)
    tasks = module.tasks("smoke", 0)

    outcomes = {
        job.key: module.perform(shrunk(job), Data(root), seed=0, device="cpu") for job in tasks
    }
    conclusion = module.conclude(outcomes, "smoke")

    cells = [cell for table in conclusion.tables for row in table.rows for cell in row[1:]]
    assert all(np.isfinite(cell) for cell in cells if isinstance(cell, float))
    assert all(len(t.columns) == len(row) for t in conclusion.tables for row in t.rows)
    assert conclusion.claims
    assert conclusion.plots


@pytest.mark.parametrize(("ratio", "holds"), [(1.6, True), (1.4, False)])
def test_the_claim_about_the_ratio_of_densities_follows_the_numbers(
    ratio: float, holds: bool
) -> None:
    outcomes = {
        job.key: scored(elbo=800 * ratio if job.key[2] == "tae" else 800.0)
        for job in tae_table1.tasks("cpu", 0)
    }

    claims = tae_table1.conclude(outcomes, "cpu").claims

    assert [claim.holds for claim in claims if "1.5 times" in claim.text] == [holds]


def test_a_negative_density_is_never_beaten_by_a_ratio() -> None:
    outcomes = {
        job.key: scored(elbo=-100.0 if job.key[2] == "tae" else -800.0)
        for job in tae_table1.tasks("cpu", 0)
    }

    claims = tae_table1.conclude(outcomes, "cpu").claims

    assert [claim.holds for claim in claims if "1.5 times" in claim.text] == [False]


def verdicts(module: Any, scores: Callable[[Task], dict[str, float]]) -> dict[str, bool]:
    """Whether each claim holds for made-up scores of the tasks, by its first words."""
    outcomes = {job.key: scored(**scores(job)) for job in module.tasks("cpu", 0)}
    claims = module.conclude(outcomes, "cpu").claims
    return {claim.text.removeprefix("MNIST, 50 % missing: ")[:20]: claim.holds for claim in claims}


@pytest.mark.parametrize("covered", [0.03, 0.6])
def test_draws_have_collapsed_where_their_intervals_cover_little(covered: float) -> None:
    holds = verdicts(tae_table1, lambda job: {"lit_latent_coverage90": covered})

    assert holds["MVAE draws collapse "] == (covered < 0.1)
    assert holds["TAE draws do not col"] == (covered > 0.1)


@pytest.mark.parametrize("baseline", ["mvae", "miwae"])
def test_a_density_that_is_beaten_once_is_not_the_highest_everywhere(baseline: str) -> None:
    def scores(job: Task) -> dict[str, float]:
        lost = job.key[:3] == ("fashion", "0.5", baseline)
        return {"elbo": 2000.0 if lost else 1500.0 if job.key[2] == "tae" else 500.0}

    holds = verdicts(tae_table1, scores)

    assert not holds["TAE has the highest "]
    assert holds["the ELBO of TAE is a"]


def test_draws_that_differ_less_do_not_differ_more_because_they_are_better() -> None:
    def scores(job: Task) -> dict[str, float]:
        # An error of 0.01 and a standard deviation of 0.009; of MVAE 0.1 and 0.05.
        tae = {"psnr_db": 40.0, "latent_spread_skill": 0.9}
        return tae if job.key == ("tae",) else {"psnr_db": 20.0, "latent_spread_skill": 0.5}

    claims = tae_structured.conclude(
        {job.key: scored(**scores(job)) for job in tae_structured.tasks("cpu", 0)}, "cpu"
    ).claims

    assert not claims[1].holds
    assert "TAE 0.009, MVAE 0.050" in claims[1].detail


@pytest.mark.parametrize(("better", "holds"), [(4, False), (5, True)])
def test_a_broad_range_is_most_of_the_grid(better: int, holds: bool) -> None:
    points = [job.key for job in tae_c_lambda.tasks("cpu", 0) if job.key != ("mvae",)]
    above = points[:better]

    claims = verdicts(tae_c_lambda, lambda job: {"elbo": 9.0 if job.key in above else 1.0})

    assert len(points) == 9
    assert list(claims.values()) == [holds]


def test_means_are_alike_within_two_db_whichever_is_better() -> None:
    alike = [
        verdicts(tae_fig3, lambda job, tae=tae: {"psnr_db": tae if "tae" in job.key else 20.0})[
            "The means of MVAE an"
        ]
        for tae in (17.9, 18.1, 21.9, 22.1)
    ]

    assert alike == [False, True, True, False]


def test_a_gap_that_grows_as_more_is_observed_does_not_shrink() -> None:
    def scores(job: Task, slope: float) -> dict[str, float]:
        gap = 100.0 + slope * float(job.key[1]) if "tae" in job.key else 0.0
        return {"elbo": gap}

    shrinking, growing = (
        verdicts(tae_fig3, lambda job, slope=slope: scores(job, slope)) for slope in (-50, 50)
    )

    assert shrinking["Without noise the ga"]
    assert not growing["Without noise the ga"]


def test_repeats_are_averaged_with_their_standard_deviation() -> None:
    averaged = average([scored(elbo=1.0), scored(elbo=3.0)])

    assert averaged["elbo"] == 2.0
    assert averaged["elbo_std"] == pytest.approx(np.sqrt(2))


def test_a_gallery_shows_each_model_in_a_panel() -> None:
    panels = gallery("digits", {"a": scored(), "b": scored()}, images=3)

    assert [panel.title for panel in panels] == ["digits: a", "digits: b"]
    assert [len(row) for row in panels[0].rows] == [len(panels[0].columns)] * 3


def test_a_classifier_of_images_that_tell_their_class_is_right() -> None:
    labels = np.arange(90) % 3
    images = np.zeros((90, 4, 4), np.float32)
    images[np.arange(90), labels, labels] = 1.0
    sparse = random_missing(images, 0.0, 0.05, numpy_stream(0, "noise"))

    frequencies = classify(
        raw,
        sparse,
        labels[:30],
        ClassifierConfig(steps=150, runs=2, rate=0.05),
        classes=3,
        seed=0,
        device="cpu",
    )

    np.testing.assert_array_equal(frequencies.argmax(1), labels[30:])


def test_draws_of_different_classes_are_told_apart_in_the_frequencies() -> None:
    labels = np.arange(40) % 2
    images = np.zeros((40, 2, 2), np.float32)
    images[:, 0, 0] = 2 * labels - 1.0
    undecided = np.where(np.arange(40) < 20, images[:, 0, 0], np.nan)[:, None, None, None]
    sparse = Sparse(np.broadcast_to(undecided, (40, 1, 2, 2)).copy(), images[:, None])

    def draw(y: torch.Tensor, draws: int, generator: torch.Generator) -> torch.Tensor:
        sign = torch.rand((draws, *y.shape), generator=generator)[..., :1, :1].round() * 2 - 1
        return torch.where(y.isfinite(), y, sign.expand(draws, *y.shape))

    config = ClassifierConfig(steps=80, runs=400, rate=0.05)
    frequencies = classify(draw, sparse, labels[:20], config, classes=2, seed=0, device="cpu")

    np.testing.assert_allclose(frequencies.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(frequencies, 0.5, atol=0.12)


def test_classification_after_imputation_ends_with_a_row_per_input(root: Path) -> None:
    tasks = tae_fig5.tasks("smoke", 0)
    few = {"images": 60, "labelled": 30, "classifier": {"steps": 3, "runs": 2}}

    outcomes = {
        job.key: tae_fig5.perform(
            Task(key=job.key, settings=shrunk(job).settings | few),
            Data(root),
            seed=0,
            device="cpu",
        )
        for job in tasks
    }
    conclusion = tae_fig5.conclude(outcomes, "smoke")

    assert len(conclusion.tables[0].rows) == 3 * len(tasks)
    for outcome in outcomes.values():
        assert 0 <= outcome.numbers["accuracy_tae"] <= 1
        assert outcome.numbers["doubt_raw"] == 0


def test_maps_lose_what_lies_under_the_mirrored_holes_of_others() -> None:
    truth = np.ones((2, 3, 4), np.float32)
    truth[0, 0, 0] = np.nan
    holes = np.zeros((5, 3, 4), bool)
    holes[:, 1, 0] = True

    sparse = tae_depth.with_holes(truth, holes)

    assert np.isnan(sparse.y[:, 0, 1, 3]).all()
    assert np.isnan(sparse.y).sum() == 3  # and the hole of its own
    np.testing.assert_array_equal(sparse.truth[:, 0], truth)


def test_depth_maps_are_filled_by_every_method(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    depth = np.full((20, 16, 24), 2000, np.uint16) + rng.integers(50, size=(20, 16, 24))
    depth[:, 3:11, 4:12] = 0
    np.savez(tmp_path / "depth.npz", depth=depth.astype(np.uint16))
    tiny = {"stride": 1, "tested": 3, "steps": 3, "levels": 2, "batch": 2}

    outcomes = {
        job.key: tae_depth.perform(
            Task(key=job.key, settings=job.settings | tiny), Data(tmp_path), seed=0, device="cpu"
        )
        for job in tae_depth.tasks("smoke", 0)
    }
    conclusion = tae_depth.conclude(outcomes, "smoke")

    rows = {row[0]: row for row in conclusion.tables[0].rows}
    assert rows["median, 5 x 5"][1] > rows["median, 11 x 11"][1]  # what cannot be filled
    assert rows["MVAE"][1] == rows["TAE"][1] == 0
    assert rows["median, 5 x 5"][2] < 0.05  # metres


def test_the_seed_decides_what_a_task_finds(root: Path) -> None:
    job = task(RecoveryConfig(data="mnist", model="tae", missing=0.5, effort=TINY), "x")

    first, second, other = (perform(job, Data(root), seed=s, device="cpu") for s in (0, 0, 1))

    assert first.numbers["elbo"] == second.numbers["elbo"] != other.numbers["elbo"]


def test_data_without_images_to_classify_are_refused(root: Path) -> None:
    job = tae_fig5.tasks("smoke", 0)[0]
    job = Task(key=job.key, settings=job.settings | {"images": 1000, "labelled": 340})

    with pytest.raises(ConfigError, match="are 340 images of MNIST to train, and 1000 are needed"):
        tae_fig5.perform(job, Data(root), seed=0, device="cpu")
