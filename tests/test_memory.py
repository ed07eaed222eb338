"""Tests for mriimpute.memory."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mriimpute.errors import ResourceError
from mriimpute.memory import (
    LARGE_PAGES,
    available_bytes,
    is_shortage,
    keep_freed_memory,
    main_memory,
    require_memory,
    shortage_as_error,
)

GIB = 2**30

Files = dict[str, str]
Root = Callable[[Files], Path]

MEMINFO = {"proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n"}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Writes files below a folder that stands for the root of a file system."""

    def written(files: Files) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return written


def v2(group: str, limit: str, current: int, inactive: int = 0) -> Files:
    folder = f"sys/fs/cgroup/{group}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{current}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {inactive}\n",
    }


def v1(group: str, limit: int, usage: int, inactive: int = 0) -> Files:
    folder = f"sys/fs/cgroup/memory/{group}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"{folder}/memory.stat": f"cache 5\ntotal_inactive_file {inactive}\n",
    }


def test_a_machine_without_limits_gives_what_is_available(root: Root) -> None:
    found = main_memory(root(MEMINFO))

    assert (found.total, found.available, found.limit) == (16 * GIB, 8 * GIB, None)


def test_a_system_that_tells_nothing_is_not_made_up(root: Root) -> None:
    found = main_memory(root({}))

    assert (found.total, found.available, found.limit) == (None, None, None)


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", **v2("", str(4 * GIB), 3 * GIB)},
        {"proc/self/cgroup": "0::/job/step\n", **v2("job/step", str(4 * GIB), 3 * GIB)},
        {"proc/self/cgroup": "0::/job/step\n", **v2("job", str(4 * GIB), 3 * GIB)},
        {"proc/self/cgroup": "0::/not/seen/from/inside\n", **v2("", str(4 * GIB), 3 * GIB)},
        {"proc/self/cgroup": "4:cpu,memory:/job\n0::/\n", **v1("job", 4 * GIB, 3 * GIB)},
        {"proc/self/cgroup": "4:memory:/docker/abc\n", **v1("", 4 * GIB, 3 * GIB)},
    ],
    ids=["v2 container", "v2 own", "v2 parent", "v2 unseen path", "v1 own", "v1 unseen path"],
)
def test_a_control_group_limits_what_may_be_taken(files: Files, root: Root) -> None:
    found = main_memory(root({**MEMINFO, **files}))

    assert (found.available, found.limit) == (GIB, 4 * GIB)


def test_the_tightest_of_nested_groups_counts(root: Root) -> None:
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        **v2("a/b", str(6 * GIB), 1 * GIB),
        **v2("a", str(7 * GIB), 5 * GIB),
    }

    found = main_memory(root({**MEMINFO, **files}))

    assert (found.available, found.limit) == (2 * GIB, 6 * GIB)


def test_cached_files_that_can_be_dropped_do_not_count_as_taken(root: Root) -> None:
    files = {"proc/self/cgroup": "0::/\n", **v2("", str(4 * GIB), 4 * GIB, inactive=GIB)}

    assert main_memory(root({**MEMINFO, **files})).available == GIB


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", **v2("", "max", GIB)},
        {"proc/self/cgroup": "4:memory:/\n", **v1("", 9223372036854771712, GIB)},
    ],
)
def test_a_group_without_a_limit_limits_nothing(files: Files, root: Root) -> None:
    found = main_memory(root({**MEMINFO, **files}))

    assert (found.available, found.limit) == (8 * GIB, None)


def test_an_overdrawn_group_leaves_nothing_rather_than_less(root: Root) -> None:
    files = {"proc/self/cgroup": "0::/\n", **v2("", str(GIB), 2 * GIB)}

    assert main_memory(root({**MEMINFO, **files})).available == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_limit_of_the_shell_counts() -> None:
    code = (
        "import resource; from mriimpute.memory import available_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({GIB}, {GIB}))\n"
        "print(available_bytes('cpu'))"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    assert 0 < int(done.stdout) < GIB


def test_a_gpu_leaves_what_is_free_and_what_torch_holds_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB)

    assert available_bytes("cuda:0") == 4 * GIB


def test_more_than_there_is_is_refused_with_both_numbers() -> None:
    require_memory(GIB, GIB, what="x.nii")
    require_memory(GIB, None, what="x.nii")

    with pytest.raises(ResourceError, match=r"x.nii: needs about 3.0 GiB .* 1.0 GiB are free"):
        require_memory(3 * GIB, GIB, what="x.nii")


SHORTAGES = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory"),
    RuntimeError("Failed to allocate memory for image."),
    RuntimeError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=str)
def test_every_library_s_shortage_is_known(error: Exception) -> None:
    with pytest.raises(ResourceError, match=r"scan.nii: out of memory on the [CG]PU") as failure:  # noqa: SIM117
        with shortage_as_error("scan.nii"):
            raise error

    assert ("GPU" in str(failure.value)) == ("CUD" in str(error))


def test_other_errors_pass_through() -> None:
    assert not is_shortage(RuntimeError("shapes differ"))

    with pytest.raises(RuntimeError, match="shapes differ"), shortage_as_error("scan.nii"):
        raise RuntimeError("shapes differ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_kept() -> None:
    code = """
import resource, sys
from mriimpute.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(10):
    x = bytearray(32 << 20)
    del x
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", code, how]
        done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
        return int(done.stdout)

    assert faults("keep") < faults("leave") / 2


@pytest.mark.parametrize("said", ["", "0"])
def test_torch_is_told_to_ask_for_large_pages(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {LARGE_PAGES: said} if said else {}
    monkeypatch.setattr(os, "environ", environment)

    keep_freed_memory()

    assert environment == {LARGE_PAGES: said or "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of Linux")
@pytest.mark.parametrize("mebibytes", [80, 250, 2000])
def test_what_does_not_fit_below_ulimit_v_is_told_before_it_is_loaded(mebibytes: int) -> None:
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({mebibytes} << 20, {mebibytes} << 20))
from mriimpute.errors import ResourceError
from mriimpute.memory import require_loadable
try:
    require_loadable("numpy", "scipy.linalg")
except ResourceError as error:
    sys.exit(f"{{error}} / {{error.hint}}")
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    if mebibytes == 2000:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert "of address space are left by `ulimit -v`, too little to load scipy" in done.stderr
        assert "raise that limit" in done.stderr
