"""Tests for mriimpute.bench as a whole, its report and its command: on tiny grids.

Nothing here asserts how long anything takes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mriimpute.bench import Bench, BenchConfig, bench, plain, startup
from mriimpute.bench import run as run_module
from mriimpute.bench.methods import measurable, measure
from mriimpute.bench.pipeline import FILES
from mriimpute.cli import app
from mriimpute.cli.output import show_table
from mriimpute.errors import ConfigError
from mriimpute.files import write_json
from mriimpute.methods.cross_plane import LATENT
from mriimpute.methods.patches.models import available
from mriimpute.methods.registry import trainable
from mriimpute.progress import silent
from mriimpute.report.bench import bench_tables

MACHINE = {"cpu": {"model": "Abacus", "usable_cores": 2}, "memory": {"total_bytes": 2**33}}

STAGES = {"read", "gunzip", "normalise", "network", "fuse", "draws", "gzip", "write"}

TINY = BenchConfig(
    size=(24, 22, 13),
    models=("linear",),
    repeats=1,
    budget=0.0,
    passes=2,
    draws=1,
    steps=1,
    dense_steps=1,
    prior_steps=1,
    starts=1,
    layer_edge=12,
    layer_repeats=1,
    layer_rows=1,
    product=16,
    copy_megabytes=1,
    shares=(0.5,),
    draw_counts=(1, 2),
    draw_share=1.0,
    scans=(1, 2),
    scan_size=(24, 22, 13),
)


def here(work: Callable[[], Any]) -> Any:
    """Does in this process what should be done in one of its own."""
    return work()


@pytest.fixture(scope="module")
def found() -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "in_subprocess", here)
        patch.setattr(startup, "_child", lambda *_: None)  # see test_layers
        return bench(TINY, "cpu", machine=MACHINE, track=silent)


def test_everything_is_there(found: Bench) -> None:
    assert [model.name for model in found.models] == ["cross-plane", "linear"]
    assert found.default.draw is not None
    assert found.default.step is not None
    assert found.models[1].draw is None
    assert list(found.dense) == ["mvae", "tae"]
    assert {step.items for step in found.dense.values()} == {20}
    assert [curve.name for curve in found.growth] == ["volume", "draws", "cohort"]
    assert found.growth[0].points[-1].size == 24 * 22 * 13
    assert found.device_name == "Abacus, 2 cores"
    assert len(found.layers) == 4


def test_the_first_voxel_waits_for_the_start_and_for_what_comes_before_the_network(
    found: Bench,
) -> None:
    stages = {name: timing.median for name, timing in found.pipeline.stages.items()}
    before = stages["read"] + stages["gunzip"] + stages["interpolate"] + stages["normalise"]

    assert found.first_voxel == pytest.approx(found.startup.tiny.median + before)


def test_stages_are_told_apart_and_none_is_counted_twice(found: Bench) -> None:
    pipeline = found.pipeline

    assert set(pipeline.stages) >= STAGES
    assert pipeline.stages["rest"].median >= 0
    total = sum(timing.median for timing in pipeline.stages.values())
    assert total == pytest.approx(pipeline.total.median)
    assert set(FILES) < set(pipeline.stages)


def test_the_share_outside_the_network_leaves_files_and_draws_out(found: Bench) -> None:
    stages = {name: timing.median for name, timing in found.pipeline.stages.items()}
    inside = stages["network"]
    own = sum(stages[name] for name in stages if name not in {*FILES, "draws"})

    assert found.pipeline.outside_fraction == pytest.approx(1 - inside / own)


def test_the_network_cannot_do_more_than_it_was_counted_to(found: Bench) -> None:
    pipeline = found.pipeline

    assert pipeline.macs * 2 > pipeline.convolutions.operations > 0
    expected = 2 * pipeline.macs / pipeline.stages["network"].median
    assert pipeline.network_fraction * pipeline.convolutions.per_second == pytest.approx(expected)


def test_json_holds_ratios_first_and_survives_a_round_trip(found: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"

    write_json(path, plain(found))

    read = json.loads(path.read_text())
    assert list(read)[:3] == ["layout", "ratios", "date"]
    assert set(read["ratios"]["over_default"]) == {"cross-plane", "linear", "simpleitk-bspline"}
    assert read["ratios"]["over_default"]["cross-plane"] == 1
    assert set(read["ratios"]["growth"]) == {"volume", "draws", "cohort"}
    assert read["ratios"]["prior_per_slice_over_default"] == pytest.approx(found.prior_ratio)
    parts = {"machine", "floor", "pipeline", "models", "prior", "growth"}
    assert parts | {"layers", "local", "startup"} <= set(read)


def test_seconds_stand_below_the_machine_and_the_day(found: Bench) -> None:
    ratios, models, *_ = bench_tables(found)

    assert "Abacus" in models.title
    assert found.date[:10] in models.title
    assert ratios.title.startswith("Ratios")


def test_a_step_of_training_is_told_for_each_model_that_takes_steps(found: Bench) -> None:
    steps = bench_tables(found)[2]

    assert [row[:2] for row in steps.rows] == [
        ["cross-plane", "4"],
        ["mvae, dense, 28 x 28", "20"],
        ["tae, dense, 28 x 28", "20"],
    ]


def test_tables_are_rectangular(found: Bench) -> None:
    for table in bench_tables(found):
        assert {len(row) for row in table.rows} == {len(table.headers)}, table.title


def test_tables_fit_the_terminal(
    found: Bench, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for table in bench_tables(found):
        show_table(table.headers, table.rows, title=table.title)

        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= columns, table.title
        assert all(cell.split()[-1] in shown for row in table.rows for cell in row if cell)


def test_all_that_can_be_trained_or_needs_no_weights_can_be_measured() -> None:
    assert set(trainable()) - {LATENT} <= set(measurable())  # it imputes as `cross-plane` does
    assert {"nearest", "linear", "pchip", "cubic"} <= set(measurable())


def test_an_unknown_model_is_refused_before_anything_is_measured() -> None:
    config = BenchConfig(models=("magic",))

    with pytest.raises(ConfigError, match="no model is called 'magic'"):
        bench(config, "cpu", machine=MACHINE, track=silent)


@pytest.mark.parametrize("setting", [{"repeats": 0}, {"shares": ()}, {"scans": (4, 4)}])
def test_a_setting_that_measures_nothing_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        BenchConfig(**setting)


@pytest.mark.slow
@pytest.mark.parametrize("name", available())
def test_every_model_of_patches_is_measured_untrained(name: str) -> None:
    model = measure(name, (64, 48, 49), "cpu", repeats=1, budget=0.0, steps=1)

    assert (model.weights, model.is_computed) == ("random", True)
    assert model.draw is not None


def command(*words: str) -> Result:
    return CliRunner().invoke(app, ["bench", *words])


@pytest.mark.parametrize("size", ["12", "8x64x64", "64x64", "axbxc"])
def test_a_wrong_size_is_a_usage_error(size: str) -> None:
    assert command("--size", size).exit_code == 2


def test_a_result_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "bench.json").touch()

    result = command("-o", str(tmp_path))

    assert result.exit_code == 1
    assert "pass --overwrite" in result.stderr


def test_the_command_prints_tables_and_writes_files_and_a_figure(
    tmp_path: Path, found: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mriimpute.bench.bench", lambda *_, **__: found)

    result = command("--quick", "-o", str(tmp_path), "--device", "cpu")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("Ratios")
    assert json.loads((tmp_path / "bench.json").read_text())["run"]["device"] == "cpu"
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_whole_command_runs(tmp_path: Path) -> None:
    words = ("--quick", "--size", "36x34x25", "--model", "linear", "--device", "cpu")

    result = command(*words, "-o", str(tmp_path), "-q")

    assert result.exit_code == 0, result.stderr
    assert len(json.loads((tmp_path / "bench.json").read_text())["models"]) == 2


@pytest.mark.gpu
def test_a_gpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "in_subprocess", here)

    found = bench(TINY, "cuda:0", machine=MACHINE, track=silent)

    assert found.default.memory.gpu_peak > 0
    assert [rate.name for rate in found.floor][-1] == "copy"
