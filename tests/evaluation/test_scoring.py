"""Tests for mriimpute.evaluation.scoring: many scans, many methods, stops and failures."""

import csv
import json
import multiprocessing
import signal
import subprocess
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mriimpute.errors import (
    ConfigError,
    GeometryError,
    MriImputeError,
    OutputError,
    ResourceError,
    TrainingError,
    VolumeError,
)
from mriimpute.evaluation import Result, Summary, evaluate, run
from mriimpute.evaluation import methods as method_module
from mriimpute.evaluation.case import TestCase
from mriimpute.evaluation.columns import METRICS as SCORES
from mriimpute.evaluation.failures import comparable
from mriimpute.evaluation.simulated import SimulatedScan, find_simulated_scans, read_test_case
from mriimpute.evaluation.without_truth import without_truth
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.methods.interpolation import Interpolation
from mriimpute.progress import Track
from mriimpute.volume import Volume

T = TypeVar("T")

METHODS = ["linear", "pchip"]
HARD = VolumeError("too hard", hint="ask for less")
CLOCKED = {"seconds", "seconds_per_draw"}

COMMAND = """
import sys
from pathlib import Path
from mriimpute.evaluation import evaluate

if __name__ == "__main__":
    evaluate(Path(sys.argv[1]), Path(sys.argv[2]), methods=["linear", "pchip"], jobs=2)
"""


class Picky(Interpolation):
    """Interpolates, but not every scan."""

    def __init__(self, refused: Callable[[Volume], bool], error: BaseException) -> None:
        super().__init__("linear")
        self.name = "picky"
        self.refused = refused
        self.error = error

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns what interpolation does, or refuses."""
        if self.refused(volume):
            raise self.error
        return super().impute(volume, seed=seed, case=case)


def content(report: Path) -> dict[str, object]:
    """All that a report holds, without what a clock said."""
    found: dict[str, object] = {}
    # What a killed process left of a file is removed by the next command on this machine.
    for path in sorted(path for path in report.rglob("*") if ".partial." not in path.name):
        name = path.relative_to(report).as_posix()
        if path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix in (".csv", ".tsv"):
            with path.open(newline="") as file:
                found[name] = [timeless(row) for row in csv.DictReader(file)]
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in CLOCKED}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return "NaN" if value != value else value


@pytest.fixture
def four(tmp_path: Path, write: Callable[..., None]) -> Path:
    """Four test subjects."""
    write(tmp_path / "sim", {f"sub-{n}": "test" for n in range(4)})
    return tmp_path / "sim"


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes the place of `pchip`."""
    real = method_module.load_imputer

    def install(refused: Callable[[Volume], bool], error: BaseException = HARD) -> None:
        def load(name: str, *, device: str) -> Imputer:
            return Picky(refused, error) if name == "pchip" else real(name, device=device)

        monkeypatch.setattr(method_module, "load_imputer", load)

    return install


def brightness_of(sim: Path, number: int) -> float:
    return float(np.nansum(read_test_case(find_simulated_scans(sim)[number]).volume.data))


def evaluated(
    sim: Path, *, out: Path | None = None, **changes: object
) -> tuple[Summary, list[str]]:
    failures: list[str] = []
    arguments = {"methods": METHODS, "on_failure": lambda name, _: failures.append(name)} | changes
    return evaluate(sim, out or sim.parent / "report", **arguments), failures  # type: ignore[arg-type]


def stopped_after(count: int) -> Track:
    """Ctrl-C, once so many rows are finished."""

    def track(items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        for number, item in enumerate(items, start=1):
            yield item
            if label == "scoring" and number == count:
                raise KeyboardInterrupt

    return track


@pytest.mark.usefixtures("quick_processes")
def test_any_number_of_jobs_gives_the_same_report(four: Path) -> None:
    find_simulated_scans(four)[1].path.write_bytes(b"no image")
    alone = evaluated(four, out=four.parent / "one", jobs=1)

    others = evaluated(four, out=four.parent / "two", jobs=2)

    assert alone[1] == others[1] == ["sub-1_T1w"]
    assert others[0].subjects == 3
    assert content(four.parent / "two") == content(four.parent / "one")


def test_a_stopped_run_keeps_its_rows_and_goes_on_to_the_same_report(four: Path) -> None:
    evaluate(four, four.parent / "whole", methods=METHODS)
    report = four.parent / "report"

    with pytest.raises(KeyboardInterrupt):
        evaluate(four, report, methods=METHODS, track=stopped_after(3))

    finished = {path: path.stat().st_mtime_ns for path in report.glob("rows/*.json")}
    assert len(finished) == 3
    evaluate(four, report, methods=METHODS)
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert content(report) == content(four.parent / "whole")


@pytest.mark.slow
def test_workers_end_with_a_stop_and_leave_only_finished_rows(four: Path) -> None:
    report = four.parent / "report"

    with pytest.raises(KeyboardInterrupt):
        evaluate(four, report, methods=METHODS, jobs=2, track=stopped_after(1))

    assert not multiprocessing.active_children()
    rows = [json.loads(path.read_text())["row"] for path in report.glob("rows/*.json")]
    assert rows
    assert all(row["psnr_db"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_run_goes_on_to_the_same_report(four: Path) -> None:
    evaluate(four, four.parent / "whole", methods=METHODS)
    script, report = four.parent / "command.py", four.parent / "killed"
    script.write_text(COMMAND)
    with subprocess.Popen([sys.executable, script, four, report]) as process:  # noqa: S603
        while process.poll() is None and not list(report.glob("rows/*.json")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finished = {path: path.stat().st_mtime_ns for path in report.glob("rows/*.json")}

    evaluate(four, report, methods=METHODS)

    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert content(report) == content(four.parent / "whole")


def test_method_that_fails_on_a_scan_stops_no_other_and_no_scan_counts_for_some_only(
    four: Path, picky: Callable[..., None]
) -> None:
    hard = brightness_of(four, 2)
    picky(lambda volume: float(np.nansum(volume.data)) == hard)

    summary, failures = evaluated(four)

    assert failures == ["pchip on sub-2_T1w"]
    assert summary.failed == {"pchip": ("sub-2_T1w",)}
    assert summary.failures("pchip") == "1 of 4"
    assert (summary.left_out, summary.not_compared) == ((), ())
    assert {result.subject for result in summary.results} == {"sub-0", "sub-1", "sub-3"}
    assert summary.subjects == 3
    rows = {path.name for path in (four.parent / "report" / "rows").iterdir()}
    assert "sub-2_T1w_linear.json" in rows
    assert "sub-2_T1w_pchip.json" not in rows


def test_method_that_failed_is_tried_again(four: Path, picky: Callable[..., None]) -> None:
    hard = brightness_of(four, 2)
    picky(lambda volume: float(np.nansum(volume.data)) == hard)
    evaluated(four)
    picky(lambda volume: False)

    summary, failures = evaluated(four)

    assert not failures
    assert summary.subjects == 4


def test_method_that_always_fails_leaves_the_others_to_be_compared(
    four: Path, picky: Callable[..., None]
) -> None:
    picky(lambda volume: True)

    summary, failures = evaluated(four)

    assert len(failures) == 4
    assert {result.method for result in summary.results} == {"linear"}
    assert summary.subjects == 4
    assert set(summary.fingerprints) == {"linear"}
    assert summary.not_compared == ("pchip",)
    assert summary.failures("pchip") == "4 of 4"


def test_failure_is_an_error_where_nobody_is_told(four: Path, picky: Callable[..., None]) -> None:
    picky(lambda volume: True)

    with pytest.raises(VolumeError, match="too hard") as caught:
        evaluate(four, four.parent / "report", methods=METHODS)

    assert caught.value.hint == "ask for less"


def test_a_bug_in_a_method_stops_no_other_and_is_named_with_its_traceback(
    four: Path, picky: Callable[..., None]
) -> None:
    hard = brightness_of(four, 2)
    picky(lambda volume: float(np.nansum(volume.data)) == hard, KeyError("slab"))
    failures: dict[str, MriImputeError] = {}

    summary = evaluate(
        four, four.parent / "report", methods=METHODS, on_failure=failures.__setitem__
    )

    assert summary.failed == {"pchip": ("sub-2_T1w",)}
    assert summary.subjects == 3
    error = failures["pchip on sub-2_T1w"]
    assert str(error) == "pchip on sub-2_T1w: unexpected KeyError: 'slab'"
    assert "this is a bug" in error.hint
    assert "raise self.error" in "".join(traceback.format_exception(error))


def test_after_a_bug_only_what_failed_is_tried_again(
    four: Path, picky: Callable[..., None]
) -> None:
    hard = brightness_of(four, 2)
    picky(lambda volume: float(np.nansum(volume.data)) == hard, KeyError("slab"))
    evaluated(four)
    rows = {p: p.stat().st_mtime_ns for p in (four.parent / "report" / "rows").iterdir()}
    picky(lambda volume: float(np.nansum(volume.data)) != hard, AssertionError("asked again"))

    summary, failures = evaluated(four)

    assert not failures
    assert not summary.failed
    assert all(path.stat().st_mtime_ns == written for path, written in rows.items())
    assert summary.subjects == 4


@pytest.mark.parametrize(
    "error", [TrainingError("no finite loss", hint="lower the rate"), KeyError("slab")]
)
def test_method_that_cannot_be_fitted_fails_on_every_scan_and_stops_no_other(
    four: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> Path:
        raise error

    monkeypatch.setattr(method_module, "_fitted", fail)

    summary, failures = evaluated(four, methods=["ppca", "linear"])

    assert summary.not_compared == ("ppca",)
    assert summary.failures("ppca") == "4 of 4"
    assert failures == [f"ppca on sub-{n}_T1w" for n in range(4)]
    assert summary.subjects == 4


def test_setting_that_fitting_refuses_stops_at_once(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise ConfigError("no scan to train on", hint="simulate more")

    monkeypatch.setattr(method_module, "_fitted", refuse)

    with pytest.raises(ConfigError, match="no scan to train on"):
        evaluated(four, methods=["ppca", "linear"])


def test_scan_that_reading_stumbles_over_stops_no_other(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(scan: SimulatedScan, **rest: object) -> TestCase:
        if scan.subject == "sub-1":
            raise IndexError("out of bounds")
        return read_test_case(scan)

    monkeypatch.setattr(run, "read_test_case", stumble)

    summary, failures = evaluated(four)

    assert failures == list(summary.left_out) == ["sub-1_T1w"]
    assert summary.scans_tried == summary.subjects == 3
    assert not summary.failed


@pytest.mark.parametrize(
    ("error", "stop"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), ResourceError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ResourceError),
    ],
)
def test_ctrl_c_and_too_little_memory_stop_everything(
    four: Path,
    picky: Callable[..., None],
    error: BaseException,
    stop: type[BaseException],
) -> None:
    picky(lambda volume: True, error)

    with pytest.raises(stop):
        evaluated(four)

    rows = {path.name for path in (four.parent / "report" / "rows").iterdir()}
    assert rows == {"sub-0_T1w_linear.json"}


def test_failure_is_written_where_the_numbers_are(four: Path, picky: Callable[..., None]) -> None:
    hard = brightness_of(four, 2)
    picky(lambda volume: float(np.nansum(volume.data)) == hard, KeyError("slab"))

    evaluated(four)

    stored = json.loads((four.parent / "report" / "summary.json").read_text())
    assert stored["failed"] == {"pchip": ["sub-2_T1w"]}
    assert (stored["scans_tried"], stored["scans"], stored["left_out"]) == (4, 3, [])


def row(scan: str, method: str) -> Result:
    """A row of which nothing counts but whose it is."""
    counts = {"draws": 0, "voxels": 1, "data_range": 1.0, "bins": (), "regions": ()} | {
        "volumes": ()
    }
    scores = dict.fromkeys(SCORES, 0.5)
    return Result(subject=scan, scan=scan, method=method, **scores, **counts)  # type: ignore[arg-type]


def compared(have: dict[str, str]) -> tuple[set[str], set[str]]:
    """Methods and scans that are compared, of methods that have these scans."""
    rows = {(scan, method): row(scan, method) for method, own in have.items() for scan in own}
    left = comparable(rows, sorted({scan for scan, _ in rows}), list(have))
    assert len({(r.scan, r.method) for r in left}) == len(left)
    methods, scans = {r.method for r in left}, {r.scan for r in left}
    assert len(left) == len(methods) * len(scans)
    return methods, scans


def test_methods_that_fail_most_are_left_out_until_half_of_the_scans_are_shared() -> None:
    assert compared({"a": "12345678", "b": "1234567"}) == ({"a", "b"}, set("1234567"))
    assert compared({"a": "12345678", "b": "123"}) == ({"a"}, set("12345678"))
    assert compared({"a": "1234567", "b": "45", "c": "2345678"}) == ({"a", "c"}, set("234567"))
    assert compared({"a": "123", "b": "456", "c": ""})[1] in (set("123"), set("456"))


@given(st.lists(st.sets(st.sampled_from("12345678")), min_size=1, max_size=5))
def test_whatever_fails_there_is_a_comparison(have: list[set[str]]) -> None:
    named = {f"m{number}": "".join(scans) for number, scans in enumerate(have)}
    if not any(have):
        return

    methods, scans = compared(named)

    assert methods
    assert scans
    assert all(scans <= set(named[method]) for method in methods)


def test_errors_keep_hint_and_notes_on_the_way_from_a_worker() -> None:
    error = GeometryError("shifted", hint="shift it back")
    error.add_note("where")

    arrived = ForkingPickler.loads(ForkingPickler.dumps(error))

    assert isinstance(arrived, GeometryError)
    assert (str(arrived), arrived.hint) == ("shifted", "shift it back")
    assert arrived.__notes__ == ["where"]


def test_several_processes_never_share_a_gpu(
    four: Path, picky: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Picky, "device", "cuda:0", raising=False)
    picky(lambda volume: False)

    with pytest.raises(ConfigError, match="2 processes would share cuda:0"):
        evaluate(four, four.parent / "report", methods=METHODS, jobs=2)


@pytest.mark.parametrize("score", [evaluate, without_truth])
def test_a_gpu_that_processes_would_share_is_noticed_before_anything_is_done(
    score: Callable[..., object], tmp_path: Path
) -> None:
    source = tmp_path / "cohort"
    source.mkdir()

    with pytest.raises(ConfigError, match="2 processes would share cuda:0") as failure:
        score(
            source if score is evaluate else [source],
            tmp_path / "report",
            methods=["linear", "dictionary"],
            device="cuda:0",
            jobs=2,
        )

    assert "--device cpu" in failure.value.hint


def test_other_weights_are_noticed_before_anything_is_scored(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(four, four.parent / "report", methods=["linear"])
    monkeypatch.setattr(method_module, "__version__", "another")

    with pytest.raises(OutputError, match="was made by another linear"):
        evaluate(four, four.parent / "report", methods=["linear", "cubic"])


def test_what_a_method_imputed_is_gone_before_the_next_one_begins(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, images, alive = Interpolation.impute, [], []

    def impute(self: Interpolation, volume: Volume, **rest: Any) -> Imputation:
        alive.append(sum(image() is not None for image in images))
        answer = real(self, volume, **rest)
        images.append(weakref.ref(answer.mean))
        return answer

    monkeypatch.setattr(Interpolation, "impute", impute)

    evaluated(four)

    assert alive == [0] * 8


def test_every_row_has_its_picture_and_only_the_first_scan_its_draws(four: Path) -> None:
    summary, _ = evaluated(four, methods=["cross-plane-ridge@scan", "linear"])

    panels = four.parent / "report" / "panels"
    assert len(list(panels.iterdir())) == 8
    assert {panel.scan for panel in summary.panels.values()} == {"sub-0_T1w"}
    assert len(summary.panels["cross-plane-ridge@scan"].views[0].draws) == 2
    worst = summary.worst["cross-plane-ridge@scan"]
    assert worst.scan == summary.worst["linear"].scan


def test_worst_scan_is_that_of_the_smallest_gain(four: Path) -> None:
    summary, _ = evaluated(four, methods=["cross-plane-ridge@scan", "linear"])

    scores = {(result.method, result.subject): result.psnr_db for result in summary.results}
    gains = {
        subject: scores["cross-plane-ridge@scan", subject] - scores["linear", subject]
        for subject in ("sub-0", "sub-1", "sub-2", "sub-3")
    }
    assert summary.worst["linear"].scan == f"{min(gains, key=gains.__getitem__)}_T1w"
