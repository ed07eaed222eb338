"""Tests for mriimpute.doctor.machine."""

import json
import subprocess
import sys
from copy import deepcopy
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from mriimpute import __version__
from mriimpute.device import driver_version
from mriimpute.doctor import machine, machine_checks, machine_facts

CPUINFO = """processor : 0
model name\t: AMD EPYC 9654
flags\t\t: fpu sse4_2 avx avx2 fma avx512f amx_bf16 rdseed
"""


def test_facts_are_plain_values_and_name_every_library() -> None:
    facts = json.loads(json.dumps(machine_facts()))

    assert facts["versions"]["mriimpute"] == __version__
    assert {"python", "torch", "numpy", "nibabel", "simpleitk"} <= set(facts["versions"])
    assert "pytest" not in facts["versions"]
    assert facts["cpu"]["usable_cores"] >= 1


def test_facts_are_known_of_a_source_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "requires", absent)

    assert machine._dependencies().keys() >= {"torch", "numpy"}


def test_facts_hold_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = tmp_path / "DOE_JANE"
    patient.mkdir()
    monkeypatch.chdir(patient)
    monkeypatch.setenv("TMPDIR", str(patient))

    assert "DOE_JANE" not in json.dumps(machine_facts())


def test_facts_wait_for_no_heavy_library() -> None:
    code = (
        "import sys; from mriimpute.doctor import machine_facts; machine_facts()\n"
        "sys.exit(' '.join({'torch', 'scipy', 'nibabel', 'SimpleITK'} & set(sys.modules)) or 0)"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_cpu_is_read_from_what_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)

    found = machine._cpu(tmp_path / "cpuinfo")

    assert found["model"] == "AMD EPYC 9654"
    assert found["instruction_sets"] == ["sse4_2", "avx", "avx2", "fma", "avx512f", "amx_bf16"]


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.57.08  Sat Aug  9 01:02:03 UTC 2025",
    ],
)
def test_the_driver_is_read_from_what_the_kernel_says(line: str, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(line)

    assert driver_version(tmp_path / "version") == "575.57.08"
    assert driver_version(tmp_path / "absent") is None


SMI = """#!/bin/sh
echo "NVIDIA H200, 9.0, 143771, 143000, 575.57.08"
echo "NVIDIA A100, 8.0, [N/A], 40000, 575.57.08"
"""


def test_gpus_are_those_that_nvidia_smi_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    found = machine_facts()["gpu"]

    assert found["driver"] == "575.57.08"
    assert [gpu["name"] for gpu in found["devices"]] == ["NVIDIA H200", "NVIDIA A100"]
    assert found["devices"][0]["memory_total_bytes"] == 143771 * 2**20
    assert found["devices"][1]["memory_total_bytes"] is None


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, Any]]:
    return machine_facts()


@pytest.mark.parametrize(
    ("devices", "driver", "cuda", "seen", "verdict"),
    [(0, None, None, None, "skipped"), (1, "575.1", None, None, "warn"),
     (0, "575.1", "12.8", None, "warn"), (2, "575.1", "12.8", None, "ok"),
     (2, "390.48", "12.8", None, "warn"), (2, "575.1", "13.0", 0, "warn"),
     (2, "575.1", "12.8", 0, "warn"), (2, "575.1", "12.8", 2, "ok"),
     (0, None, "12.8", 1, "ok"), (0, "575.1", "12.8", 1, "ok"), (0, None, "12.8", 0, "skipped")],
)  # fmt: skip
def test_a_gpu_that_torch_cannot_use_is_a_warning(
    known: dict[str, dict[str, Any]], devices: int, driver: str | None, cuda: str | None,
    seen: int | None, verdict: str,
) -> None:  # fmt: skip
    facts = {**known, "gpu": {"devices": [{}] * devices, "driver": driver, "torch_cuda": cuda}}
    if seen is not None:
        facts["accelerator"] = {"devices": [{}] * seen}

    assert machine_checks(facts)[0].verdict == verdict


@pytest.mark.parametrize(
    ("room", "verdict"), [(64 * 2**30, "ok"), (2**29, "warn"), (0, "warn"), (None, "warn")]
)
def test_too_little_room_is_a_warning(room: int | None, verdict: str) -> None:
    facts: dict[str, dict[str, Any]] = deepcopy(machine_facts())
    facts["memory"]["available_bytes"] = room
    facts["disk"]["temporary_free_bytes"] = 2**40

    _, memory, temporary, _ = machine_checks(facts)

    assert (memory.verdict, temporary.verdict) == (verdict, "ok")


@pytest.mark.parametrize(
    ("system", "folder", "verdict"),
    [("Linux", ".", "ok"), ("Linux", "absent", "warn"), ("Darwin", "absent", "skipped")],
)
def test_shared_memory_that_cannot_be_used_is_a_warning(
    system: str, folder: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(machine, "SHARED_MEMORY", str(tmp_path / folder))

    assert machine_checks(machine_facts())[-1].verdict == verdict
