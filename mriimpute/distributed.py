"""Processes that share one task, on one machine or several, as `torchrun` starts them.

The first one, the main process, alone speaks and keeps the journal; the others help. They talk in
two ways: by a store of keys, which needs nothing but that the first machine can be reached, and,
for training, by sums over all processes.

All gradients are added up as one tensor after the backward pass. The networks here have some
hundred thousand parameters: a megabyte or two, for which one exchange is little more than its
start, so there is nothing to gain from hiding many small ones behind the backward pass, as
DistributedDataParallel does. And a sum is exact where its mean of means would not be: shares of
a batch need not be equal, and losses are relative to the whole batch.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mriimpute.errors import DeviceError, PeerError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "World", "device_for", "joined", "launched"]

TIMEOUT = timedelta(days=1)
"""For another process that lives; where one has ended, its connections or `torchrun` say so."""

JOIN_TIMEOUT = timedelta(minutes=30)
"""Until all are there: machines load libraries at different speeds."""

POLL_SECONDS = 0.02
"""Between two looks whether a message is there."""

CHUNK_BYTES = 2**22
"""Bytes: the store takes 8 MiB at once."""

FAILED = "failed"
"""The key of a process that ends before its time."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The place of this process among those that share its task.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        local: Its number among those on this machine.
        store: Where keys are kept for all; None for a process that is alone, or has not joined.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    store: Any = None
    _messages: Iterator[int] = field(default_factory=count)

    @property
    def main(self) -> bool:
        """Tells whether this is the process that speaks and keeps the journal."""
        return self.rank == 0

    def shard(self, total: int) -> slice:
        """Returns which of `total` things are this process's; every one is exactly one's.

        Example:
            >>> [World(rank, 3).shard(8) for rank in range(3)]
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        least, rest = divmod(total, self.size)
        start = self.rank * least + min(self.rank, rest)
        return slice(start, start + least + (self.rank < rest))

    def broadcast(self, message: bytes = b"") -> bytes:
        """Returns what the main process passes; the others wait for it.

        All processes call this equally often, in the same order.

        Raises:
            PeerError: If another process has ended.
        """
        if self.size == 1:
            return message
        key = f"told/{next(self._messages)}"
        if self.main:
            chunks = [message[n : n + CHUNK_BYTES] for n in range(0, len(message), CHUNK_BYTES)]
            for n, chunk in enumerate(chunks):
                self.send(f"{key}/{n}", chunk)
            self.send(key, str(len(chunks)).encode())
            return message
        return b"".join(self.wait_for(f"{key}/{n}") for n in range(int(self.wait_for(key))))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Lets the main process through the block before the others.

        What is wrong it finds, and says, alone.

        Raises:
            PeerError: If another process has ended.
        """
        key = f"first/{next(self._messages)}" if self.size > 1 else ""
        if not self.main:
            self.wait_for(key)
        yield
        if key and self.main:
            self.send(key, b"")

    def dismiss(self) -> None:
        """Makes the main process wait until the others need it no more.

        Raises:
            PeerError: If another process has ended before its time.
        """
        if not self.main:
            self.send(f"dismissed/{self.rank}", b"")
            return
        for rank in range(1, self.size):
            self.wait_for(f"dismissed/{rank}")

    def take(self, queue: str) -> int:
        """Returns 0, 1, 2 ...: each number once, whichever process asks."""
        with _peer_errors():
            return int(self.store.add(f"queue/{queue}", 1)) - 1

    def send(self, key: str, message: bytes) -> None:
        """Leaves a message for `wait_for`."""
        with _peer_errors():
            self.store.set(key, message)

    def wait_for(self, key: str) -> bytes:
        """Waits for a message and returns it.

        Raises:
            PeerError: If another process has ended.
        """
        while not self.is_sent(key):
            if self.is_sent(FAILED):
                raise _peer_ended()
            time.sleep(POLL_SECONDS)  # the store would wait, too, and no signal interrupt it
        with _peer_errors():
            return bytes(self.store.get(key))

    def is_sent(self, key: str) -> bool:
        """Tells whether `wait_for` would return at once."""
        with _peer_errors():
            return bool(self.store.check([key]))

    def all_reduce(self, tensors: Sequence["Tensor"]) -> None:
        """Replaces tensors by their sums over all processes, which have the same bits in each.

        Args:
            tensors: Of one type and on one device; as many and as large ones in every process.

        Raises:
            PeerError: If another process has ended.
        """
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _peer_errors():
            distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def any(self, condition: bool) -> bool:
        """Tells whether the condition holds in a process.

        Raises:
            PeerError: If another process has ended.
        """
        return condition if self.size == 1 else self.total(condition) > 0

    def total(self, number: float | int) -> float | int:
        """Returns the sum over all processes, in double precision.

        Raises:
            PeerError: If another process has ended.
        """
        if self.size == 1:
            return number
        import torch

        sums = torch.tensor([number], dtype=torch.float64)  # on the CPU: no GPU has to wait
        self.all_reduce([sums])
        return float(sums)


ALONE = World()


def launched(environment: Mapping[str, str] = os.environ) -> World:
    """Returns the place that a launcher gave to this process; `ALONE` without one.

    Args:
        environment: Variables as `torchrun` sets them.

    Example:
        >>> variables = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
        >>> world = launched(variables | {"MASTER_ADDR": "node", "MASTER_PORT": "29500"})
        >>> world.rank, world.size, world.local
        (3, 4, 1)
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, size, local = (environment.get(name, "") for name in names)
    is_complete = "MASTER_ADDR" in environment and "MASTER_PORT" in environment
    if not (is_complete and rank.isdecimal() and size.isdecimal() and local.isdecimal()):
        return ALONE
    return World(int(rank), int(size), int(local)) if int(size) > 1 else ALONE


def device_for(wanted: str, world: World) -> str:
    """Returns the device of this process: where there are GPUs, each has one of its own.

    Args:
        wanted: auto, cpu, cuda or cuda:N.
        world: The processes that share the task, and the place of this one among them.

    Raises:
        DeviceError: If one GPU was named for all of them, or there are too few.
    """
    if world.size == 1 or wanted == "cpu":
        return wanted
    if wanted.startswith("cuda:"):
        raise DeviceError(
            f"{world.size} processes cannot share {wanted}",
            hint="leave --device out: each takes a GPU of its own; or pass --device cpu",
        )
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < gpus <= world.local:
        raise DeviceError(
            f"this machine has {gpus} GPUs, and {world.local + 1} processes or more",
            hint=f"pass --nproc-per-node {gpus} to torchrun, or --device cpu behind the command",
        )
    return f"cuda:{world.local}" if gpus or wanted == "cuda" else wanted


@contextmanager
def joined(world: World, *, device: str = "") -> Iterator[World]:
    """Brings the processes together and yields the world in which they can talk.

    Args:
        world: What `launched` returned.
        device: Whose tensors are to be added up, "cpu" or "cuda:N"; empty for none.

    Raises:
        PeerError: If the processes do not find each other.
    """
    if world.size == 1:
        yield world
        return
    from torch.distributed import destroy_process_group
    from torch.distributed.rendezvous import rendezvous

    with _peer_errors():
        store, _, _ = next(rendezvous("env://", world.rank, world.size))
        team = replace(world, store=_fresh_store(world, store), _messages=count())
    try:
        if device:
            _form_group(team, device)
        yield team
    except BaseException:
        with suppress(PeerError):
            team.send(FAILED, b"")
        raise
    if device:
        destroy_process_group()


def _fresh_store(world: World, store: Any) -> Any:
    """Returns a part of the store that is for those alone who are together now.

    After a restart the store still holds what was said before it, the addresses of processes that
    are gone among it. So the main process names a new part, and each of the others takes a name
    only from a main process that can repeat a word which it has just made up.
    """
    from torch.distributed.distributed_c10d import PrefixStore

    word, deadline = uuid4().hex, time.monotonic() + JOIN_TIMEOUT.total_seconds()
    if world.main:
        store.set("part", word)
        for rank in range(1, world.size):
            while not store.check([f"{word}/{rank}/word"]):
                _wait(deadline)
            store.set(f"{word}/{rank}/repeated", store.get(f"{word}/{rank}/word"))
        return PrefixStore(word, store)

    while True:
        if store.check(["part"]):
            name = store.get("part").decode()
            store.set(f"{name}/{world.rank}/word", word)
            key = f"{name}/{world.rank}/repeated"
            if store.check([key]) and store.get(key).decode() == word:
                return PrefixStore(name, store)
        _wait(deadline)


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise PeerError(
            "not all processes of this run have come together",
            hint="start as many as torchrun was told, on machines that can reach the first one",
        )
    time.sleep(POLL_SECONDS)


def _form_group(world: World, device: str) -> None:
    import torch
    from torch import distributed

    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    with _peer_errors():
        distributed.init_process_group(
            backend, store=world.store, rank=world.rank, world_size=world.size, timeout=TIMEOUT
        )


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Turns what torch raises when another process is gone into an error of ours."""
    try:
        yield
    except RuntimeError as error:
        raise _peer_ended() from error


def _peer_ended() -> PeerError:
    return PeerError(
        "another process of this run has ended",
        hint="see what it said; then run the same command again, which goes on",
    )
