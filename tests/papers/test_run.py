"""Tests for mriimpute.papers.run, store and tables, on an experiment made up for them."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute import workers
from mriimpute.errors import ConfigError, OutputError, TrainingError
from mriimpute.papers import available, store
from mriimpute.papers import run as runner
from mriimpute.papers.data import Data
from mriimpute.papers.experiment import Budget, Claim, Conclusion, Outcome, Outcomes, Table, Task
from mriimpute.papers.run import Failure, Work, results
from mriimpute.seeds import numpy_stream
from mriimpute.training.folder import RunFolder


class MadeUp:
    """Three tasks that square a number; remembers which it performed."""

    TITLE, SOURCE, DATA = "Squares", "Euclid, Fig. 1", ("mnist",)

    def __init__(self) -> None:
        self.performed: list[tuple[str, ...]] = []
        self.values = [1.5, 2.5, 3.5]
        self.broken = ""

    def tasks(self, budget: Budget, seed: int) -> list[Task]:
        return [
            Task(key=("square", str(n)), settings={"value": value})
            for n, value in enumerate(self.values)
        ]

    def perform(self, task: Task, data: Data, *, seed: int, device: str) -> Outcome:
        if task.key[1] in self.broken:
            raise TrainingError("it diverged", hint="lower the rate")
        self.performed.append(task.key)
        value = task.settings["value"]
        draw = numpy_stream(seed, *task.key).random(4, dtype=np.float32)
        numbers = {"square": np.float32(value**2), "pair": (1, float("nan"))}
        return Outcome(numbers, {"draw": draw})

    def conclude(self, outcomes: Outcomes, budget: Budget) -> Conclusion:
        rows = [[key[1], o.numbers["square"], None, "18.6 ms"] for key, o in outcomes.items()]
        table = Table("Squares", ["n", "ours", "std", "paper"], rows)
        return Conclusion([table, table], [], [Claim("they grow", True, "2.25 < 6.25")])


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    module = MadeUp()
    monkeypatch.setattr(runner, "experiment", lambda name: module)
    return module


def run(root: Path, out: Path, *, scans: Path | None = None, **options: Any) -> dict[str, Any]:
    runner.reproduce("squares", Data(root, scans), out, **options)
    record: dict[str, Any] = json.loads((out / "record.json").read_text())
    return record


def test_record_tells_what_was_done_with_what(made_up: MadeUp, root: Path, tmp_path: Path) -> None:
    words = ["mriimpute", "reproduce", "squares", "--data", "/home/someone/data"]

    record = run(root, tmp_path / "out", seed=7, budget="smoke", command=words)

    assert record["seed"] == 7
    assert record["settings"] == {"experiment": "squares", "budget": "smoke", "jobs": 1}
    assert record["source"] == "Euclid, Fig. 1"
    assert {"mriimpute", "python", "torch", "numpy"} <= set(record["versions"])
    assert [task["settings"] for task in record["tasks"]] == [
        {"value": v} for v in (1.5, 2.5, 3.5)
    ]
    assert [task["numbers"]["square"] for task in record["tasks"]] == [2.25, 6.25, 12.25]
    assert record["tables"][0]["rows"][0] == ["0", 2.25, None, "18.6 ms"]
    assert record["claims"] == [{"text": "they grow", "holds": True, "detail": "2.25 < 6.25"}]
    assert len(record["inputs"]) == 4
    assert "/home/someone" not in json.dumps(record)


def test_tables_are_written_for_programs_and_for_people(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    run(root, out)

    lines = (out / "table.tsv").read_text().splitlines()
    assert lines[:2] == ["n\tours\tstd\tpaper", "0\t2.25\tn/a\t18.6 ms"]
    assert (out / "table_2.tsv").is_file()
    text = (out / "table.md").read_text()
    assert "| 2 | 12.25 | - | 18.6 ms |" in text
    assert "- yes: they grow (2.25 < 6.25)" in text


def test_finished_tasks_are_not_done_again(made_up: MadeUp, root: Path, tmp_path: Path) -> None:
    first = run(root, tmp_path / "out")
    made_up.performed.clear()

    second = run(root, tmp_path / "out")

    assert made_up.performed == []
    assert second["tasks"] == first["tasks"]


def test_failed_tasks_cost_no_others_and_are_done_by_the_next_run(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    made_up.broken = "01"
    with pytest.raises(TrainingError, match="2 of 3 tasks failed: square 0: it div") as caught:
        run(root, tmp_path / "out")
    made_up.broken = ""

    record = run(root, tmp_path / "out")

    assert caught.value.hint == "lower the rate"
    assert made_up.performed == [("square", "2"), ("square", "0"), ("square", "1")]
    assert len(record["tasks"]) == 3


def test_task_with_other_settings_is_done_anew(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    run(root, tmp_path / "out")
    made_up.performed.clear()
    made_up.values[1] = 10.0

    record = run(root, tmp_path / "out")

    assert made_up.performed == [("square", "1")]
    assert record["tasks"][1]["numbers"]["square"] == 100.0


def test_record_tells_which_version_did_a_task(
    made_up: MadeUp,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made_up.broken = "1"
    with monkeypatch.context() as patch:
        patch.setattr(store, "version_of", lambda name: "0.0.9")
        with pytest.raises(TrainingError):
            run(root, tmp_path / "out")
    made_up.broken = ""

    record = run(root, tmp_path / "out")

    old = {"mriimpute": "0.0.9", "torch": "0.0.9"}
    new = {name: record["versions"][name] for name in old}
    assert [task["versions"] for task in record["tasks"]] == [old, new, old]
    assert "finished tasks are of mriimpute 0.0.9 and torch 0.0.9, 2 in all" in caplog.text


@pytest.mark.parametrize("other", [{"seed": 1}, {"budget": "smoke"}])
def test_another_seed_or_budget_replaces_a_result_only_when_told_so(
    made_up: MadeUp, root: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    first = run(root, out)
    made_up.performed.clear()

    with pytest.raises(OutputError, match="holds squares") as caught:
        run(root, out, **other)

    assert made_up.performed == []
    assert json.loads((out / "record.json").read_text()) == first
    assert "--overwrite" in caught.value.hint
    run(root, out, **other, overwrite=True)
    assert len(made_up.performed) == 3


def test_overwriting_leaves_nothing_of_the_old_result_and_all_of_everything_else(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(root, out)
    mine = [out / "notes.txt", out / "tasks" / "groceries.json", out / "tasks" / "a.txt"]
    for path in mine:
        path.write_text("{}")
    made_up.broken = "012"

    with pytest.raises(TrainingError):
        run(root, out, overwrite=True)

    assert {path for path in out.rglob("*") if path.is_file()} == set(mine)


def test_overwriting_leaves_nothing_of_the_runs_of_networks(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(root, out)
    whole, rest = (RunFolder(out / "runs" / name) for name in ("whole", "rest"))
    kept = (whole.checkpoint, whole.model, whole.journal, whole.unreadable, whole.settings)
    for path in (*kept, whole.gain, whole.cache / "0.slices", rest.gain):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    run(root, out, overwrite=True)

    assert list((out / "runs").iterdir()) == []
    with whole.locked(), rest.locked():
        pass


def test_folder_tasks_of_something_else_is_refused(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "groceries.json").write_text("{}")
    (tmp_path / "runs" / "ppca").mkdir(parents=True)
    (tmp_path / "runs" / "ppca" / "config.toml").touch()  # a report of `evaluate` has that, too

    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists and is no reproduction"):
            run(root, tmp_path, overwrite=overwrite)

    assert (tmp_path / "runs" / "ppca" / "config.toml").is_file()


def test_run_stopped_before_its_first_task_goes_on(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    made_up.broken = "012"
    with pytest.raises(TrainingError):
        run(root, tmp_path / "out")
    made_up.broken = ""

    assert len(run(root, tmp_path / "out")["tasks"]) == 3


@pytest.mark.parametrize("other", [{"budget": "smoke"}, {"device": "cuda:0"}])
def test_tasks_of_a_run_that_was_stopped_are_not_replaced_by_another(
    made_up: MadeUp, root: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    made_up.broken = "1"
    with pytest.raises(TrainingError):
        run(root, tmp_path / "out")
    kept = (tmp_path / "out" / "tasks" / "square__0.json").read_bytes()

    with pytest.raises(OutputError, match=r"holds squares with \w+ cpu"):
        run(root, tmp_path / "out", **other)

    assert (tmp_path / "out" / "tasks" / "square__0.json").read_bytes() == kept


def test_other_data_do_everything_anew_when_told_so(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    run(root, tmp_path / "out")
    made_up.performed.clear()
    name = "t10k-labels-idx1-ubyte.gz"
    (root / "fashion-mnist" / name).replace(root / "digits" / name)

    with pytest.raises(OutputError, match="holds squares with other data"):
        run(root, tmp_path / "out")
    run(root, tmp_path / "out", overwrite=True)

    assert len(made_up.performed) == 3


def test_tasks_of_an_earlier_version_are_replaced_only_when_told_so(
    made_up: MadeUp, root: Path, tmp_path: Path
) -> None:
    run(root, tmp_path / "out")
    path = tmp_path / "out" / "tasks" / "square__0.json"
    stored = json.loads(path.read_text())
    del stored["identity"]["budget"]  # 0.1.0 did not note it
    path.write_text(json.dumps(stored))

    with pytest.raises(OutputError, match="holds squares of an earlier version"):
        run(root, tmp_path / "out")


@pytest.mark.parametrize("change", ["name", "brain"])
def test_other_subjects_or_brains_are_other_data(
    made_up: MadeUp, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(made_up, "DATA", ("scans",))
    run(scans, tmp_path / "out", scans=scans)
    folder = scans / "sub-5" / "anat"
    if change == "name":  # subjects are split by name
        for path in list(folder.iterdir()):
            path.rename(path.with_name(path.name.replace("sub-5", "sub-6")))
    else:
        (folder / "sub-5_desc-x_dseg.nii.gz").write_bytes(b"another brain")

    with pytest.raises(OutputError, match="holds squares with other data"):
        run(scans, tmp_path / "out", scans=scans)


def test_series_of_dicom_are_recorded_though_they_are_no_file(
    made_up: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Data, "files", lambda self, name: [tmp_path / "series"])
    monkeypatch.setattr(runner, "checksum", lambda path: "of its slices")

    record = run(tmp_path, tmp_path / "out")

    assert record["inputs"] == [{"name": "series", "sha256": "of its slices"}]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:40],
    "no zip": lambda content: b"12" + content[2:],
    "no deflate": lambda content: content[:50] + b"\xff" * 20 + content[70:],
    "unknown packing": lambda content: content.replace(b"\x08\x00", b"\x63\x00"),
}


@pytest.mark.parametrize(
    ("ending", "damage"),
    [("json", "cut"), ("json", "no deflate"), *(("npz", damage) for damage in DAMAGES)],
)
def test_damaged_outcome_is_done_anew(
    made_up: MadeUp, root: Path, tmp_path: Path, ending: str, damage: str
) -> None:
    run(root, tmp_path / "out")
    made_up.performed.clear()
    path = tmp_path / "out" / "tasks" / f"square__2.{ending}"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))

    run(root, tmp_path / "out")

    assert made_up.performed == [("square", "2")]


def test_folder_of_something_else_is_refused(made_up: MadeUp, root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(OutputError, match="exists"):
        run(root, tmp_path)


def test_missing_data_stop_before_the_first_task(made_up: MadeUp, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match="holds no MNIST"):
        run(tmp_path / "empty", tmp_path / "out")

    assert made_up.performed == []
    assert not (tmp_path / "out").exists()


def test_unknown_experiment_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match="'fig99'") as caught:
        runner.experiment("fig99")

    assert "fig4" in caught.value.hint


@pytest.mark.parametrize("name", available())
def test_every_experiment_keeps_the_contract(name: str) -> None:
    module = runner.experiment(name)

    for budget in ("smoke", "cpu", "paper"):
        tasks = module.tasks(budget, 0)
        settings = [task.settings for task in tasks]
        assert tasks
        assert len({task.key for task in tasks}) == len(tasks)
        assert json.loads(json.dumps(settings)) is not None
    assert module.TITLE
    assert module.SOURCE
    assert set(module.DATA) <= {"mnist", "fashion", "activity", "depth", "scans", "simulation"}


TASKS = [Task(key=(str(n),), settings={}) for n in range(3)]


def end(task: Task, work: Work) -> None:
    """Ends the process, as a system does that is out of memory."""
    os._exit(1)


class Nothing:
    """An experiment whose tasks find nothing."""

    def perform(self, task: Task, data: Data, *, seed: int, device: str) -> Outcome:
        return Outcome({})


def work_in(out: Path) -> Work:
    shared: Any = {"name": "n", "budget": "smoke", "seed": 0, "device": "cpu", "files": []}
    return Work(data=Data(None), out=out, **shared)


def test_outcome_that_cannot_be_written_is_a_failure_that_passes_between_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "experiment", lambda name: Nothing())
    (tmp_path / "tasks").touch()  # no folder: nothing can be written below it

    ((_, result),) = results(work_in(tmp_path), TASKS[:1], jobs=1)

    assert isinstance(result, Failure)
    assert result.kind is OutputError
    assert "cannot write" in result.problem
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


def test_nothing_more_is_done_where_nothing_can_be_kept(
    made_up: MadeUp, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise OutputError("the disk is full", hint="free some space")

    monkeypatch.setattr(store.TaskStore, "keep", fill)

    with pytest.raises(OutputError, match="square 0: the disk is full"):
        run(root, tmp_path / "out")

    assert len(made_up.performed) == 1


@pytest.mark.usefixtures("quick_processes")
def test_killed_process_is_an_expected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_attempt", end)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    with pytest.raises(TrainingError, match="was killed") as caught:
        list(results(work_in(tmp_path), TASKS, jobs=2))

    assert "--jobs" in caught.value.hint


@pytest.mark.parametrize(
    ("jobs", "tasks", "cores", "expected"), [(1000, 3, 2, 2), (2, 3, 8, 2), (9, 3, 8, 3)]
)
def test_processes_are_no_more_than_jobs_tasks_or_cores(
    jobs: int,
    tasks: int,
    cores: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(
        workers, "_in_pool", lambda work, tasks, count, *_: iter([started.append(count)])
    )

    list(results(work_in(tmp_path), TASKS[:tasks], jobs))

    assert started == [expected]
