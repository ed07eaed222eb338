"""Tests for tests/gpu/measure.sh and what it needs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent

FAILED = """<testsuites><testsuite tests="3" failures="1" errors="0" skipped="1">
<testcase classname="tests.a" name="test_b"><failure/></testcase><testcase classname="a" name="c"/>
</testsuite></testsuites>"""


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", FOLDER / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_json_holds_what_each_part_found_and_how_it_ended(
    tmp_path: Path, measure: ModuleType
) -> None:
    for name, status in {"tests": 1, "heads": 0, "training": 0, "bench": 124}.items():
        (tmp_path / f"{name}.status").write_text(f"{status} 7\n")
        (tmp_path / f"{name}.log").write_text("one line\nand another\n")
    (tmp_path / "tests.xml").write_text(FAILED)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text('{"step": 1}\n{"step": 2}\n')

    status = measure.main(["together", str(tmp_path), "cuda", str(tmp_path / "gpu.json")])

    found = json.loads((tmp_path / "gpu.json").read_text())
    assert status == 1
    assert found["tests"] == {
        "tests": 3, "failures": 1, "errors": 0, "skipped": 1, "wrong": ["tests.a::test_b"],
    }  # fmt: skip
    assert found["training"] == {"step": 2}
    assert found["bench"] is None
    assert found["parts"]["heads"] == {"status": 0, "seconds": 7}
    assert found["parts"]["bench"]["said"] == ["one line", "and another"]


def test_heads_are_a_cohort_with_one_to_validate_on(tmp_path: Path, measure: ModuleType) -> None:
    from mriimpute.cohort.split import cohort

    measure.main(["heads", str(tmp_path), "3", "24", "24", "13"])

    found = cohort(tmp_path)
    assert (len(found.train), len(found.val)) == (2, 1)


@pytest.mark.slow
def test_the_script_runs_where_there_is_no_gpu(tmp_path: Path) -> None:
    folder, bash = Path(sys.executable).parent, shutil.which("bash")
    assert bash is not None
    environment = {**os.environ, "DEVICE": "cpu", "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [bash, str(FOLDER / "measure.sh"), str(tmp_path / "gpu.json")]

    subprocess.run(command, env=environment, cwd=FOLDER.parents[1], check=True)  # noqa: S603

    found = json.loads((tmp_path / "gpu.json").read_text())
    assert all(part["status"] == 0 for part in found["parts"].values())
    assert found["tests"]["tests"] > 0
    assert found["training"]["step"] == 8
    assert found["bench"]["device"] == "cpu"
