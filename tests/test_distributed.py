"""Tests for mriimpute.distributed that need one process; see `distributed` for those of two."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.distributed import HashStore

from mriimpute.distributed import (
    ALONE,
    CHUNK_BYTES,
    FAILED,
    World,
    _fresh_store,
    device_for,
    joined,
    launched,
)
from mriimpute.errors import DeviceError, PeerError

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "node",
    "MASTER_PORT": "29500",
}


def together(*jobs: Callable[[World], Any]) -> list[Any]:
    """Runs a job in each of several worlds of one store, and returns their results."""
    store = HashStore()
    store.set_timeout(timedelta(seconds=60))
    worlds = [World(rank, len(jobs), rank, store) for rank in range(len(jobs))]
    with ThreadPoolExecutor(len(jobs)) as pool:
        begun = [pool.submit(job, world) for job, world in zip(jobs, worlds, strict=True)]
        return [job.result(60) for job in begun]


@given(some.integers(1, 9), some.integers(0, 40))
def test_everything_is_the_share_of_exactly_one_process(size: int, total: int) -> None:
    things = list(range(total))

    shares = [things[World(rank, size).shard(total)] for rank in range(size)]

    assert [thing for share in shares for thing in share] == things
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "changed", [*({name: None} for name in TORCHRUN), {"WORLD_SIZE": "1"}, {"RANK": "x"}]
)
def test_process_without_a_launcher_is_alone(changed: dict[str, str | None]) -> None:
    environment = {k: v for k, v in (TORCHRUN | changed).items() if v is not None}

    assert launched(environment) is ALONE
    assert launched(TORCHRUN).size == 4


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 3])
def test_all_get_what_the_main_process_tells(size: int) -> None:
    message = bytes(n % 251 for n in range(size))

    def listen(world: World) -> bytes:
        return world.broadcast()

    heard = together(lambda world: world.broadcast(message), listen, listen)

    assert heard == [message] * 3


def test_each_turn_is_taken_once() -> None:
    def take(world: World) -> list[int]:
        return [world.take("scans") for _ in range(50)]

    first, second = together(take, take)

    assert sorted(first + second) == list(range(100))
    assert first == sorted(first)


def test_the_main_process_goes_first_and_leaves_last() -> None:
    order: list[str] = []

    def lead(world: World) -> None:
        with world.main_first():
            time.sleep(0.1)
            order.append("main")
        world.dismiss()
        order.append("main is dismissed")

    def follow(world: World) -> None:
        with world.main_first():
            order.append("other")
        time.sleep(0.1)
        order.append("other is done")
        world.dismiss()

    together(lead, follow)

    assert order == ["main", "other", "other is done", "main is dismissed"]


def test_after_a_restart_nobody_hears_what_was_said_before_it() -> None:
    store = HashStore()

    def meet(rank: int, seconds: float, turn: int) -> int:
        time.sleep(seconds)
        part = _fresh_store(World(rank, 2), store)
        if rank == 0:
            part.set("turn", str(turn))
        return int(part.get("turn"))

    for turn, seconds in enumerate([(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)]):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(meet, (0, 1), seconds, (turn, turn))) == [turn, turn]


def test_who_waits_hears_of_a_process_that_failed() -> None:
    def fail(world: World) -> None:
        world.send(FAILED, b"")

    def wait(world: World) -> None:
        with pytest.raises(PeerError, match="another process of this run has ended"):
            world.broadcast()

    together(fail, wait)


def test_a_store_that_is_gone_is_an_error_of_ours() -> None:
    class Gone:
        def check(self, keys: Sequence[str]) -> bool:
            raise torch.distributed.DistNetworkError("Broken pipe")

    with pytest.raises(PeerError, match="another process of this run has ended"):
        World(1, 2, 1, Gone()).broadcast()


def test_alone_nothing_is_added_waited_for_or_joined() -> None:
    x = torch.tensor([1.0, float("nan")])

    with joined(ALONE, device="cpu") as world, world.main_first():
        world.all_reduce([x])
        world.dismiss()

    assert world is ALONE
    assert (world.broadcast(b"x"), world.total(3), world.any(condition=True)) == (b"x", 3, True)
    assert x[0] == 1
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("wanted", "gpus", "own"),
    [
        ("cpu", 4, "cpu"),
        ("auto", 4, "cuda:1"),
        ("auto", 0, "auto"),
        ("cuda", 4, "cuda:1"),
        ("cuda", 0, "cuda:1"),
    ],
)
def test_each_process_of_a_machine_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, own: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    assert device_for(wanted, World(3, 4, 1)) == own
    assert device_for(wanted, ALONE) == wanted


def test_too_few_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(DeviceError, match="1 GPUs, and 2 processes") as failure:
        device_for("auto", World(3, 4, 1))

    assert "--nproc-per-node 1" in failure.value.hint


def test_one_gpu_for_several_processes_is_refused() -> None:
    with pytest.raises(DeviceError, match="4 processes cannot share cuda:2"):
        device_for("cuda:2", World(3, 4, 1))
