"""What a GPU that is not here should take: computed, from what there is to do and what it can do.

Operations, bytes and kernels are counted while the work is done on tensors without contents, or on
few voxels. Bytes are those of every operation that reads its inputs from memory and writes its
outputs there: libraries that fuse operations move less.

    floor      the longest of arithmetic at the peak, bytes at the full bandwidth, and launches
    expected   arithmetic at a third of the peak, then the bytes; at least the launches
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mriimpute.bench.phantom import GAP, Shape, fine_shape
from mriimpute.methods.cross_plane.conditioning import offsets as offsets_of
from mriimpute.methods.cross_plane.loss import objective
from mriimpute.methods.cross_plane.network import LineNetwork, build
from mriimpute.methods.cross_plane.predict import CPU_BATCH as BATCH
from mriimpute.methods.draws import CorrelatedNoise, Draws
from mriimpute.methods.noise import WIDTHS
from mriimpute.train.settings import preset, read

__all__ = [
    "H200",
    "Expected",
    "Processor",
    "Span",
    "Work",
    "draw_work",
    "expected",
    "line_work",
    "step_work",
]

SHARE = 1 / 3
"""Of the peak that convolutions of a few dozen channels come to, about."""

BYTES = 4
"""Of a voxel of a draw."""

DRAWS = 20
PLANES = 4
"""In which the network looks at a volume: each is a batch on a GPU."""

SMALL: Shape = (64, 60, 49)
"""Grid on which the work of a draw is counted."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a GPU can do.

    Attributes:
        name: Of the GPU.
        operations: In a second, of large products in bfloat16; measured.
        single: In a second, in float32 without tensor cores; as published.
        bytes: In a second, copied from its memory to its memory, both counted; measured.
        link: In a second, to the memory of the host; as published, less a fifth.
        launch: Seconds from one kernel to the next where the host tells it each by itself.
    """

    name: str
    operations: float
    single: float
    bytes: float
    link: float
    launch: float


H200 = Processor(
    "NVIDIA H200", operations=788e12, single=67e12, bytes=4.3e12, link=50e9, launch=5e-6
)


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do.

    Attributes:
        operations: Of arithmetic, two per multiply-accumulate.
        bytes: Read and written.
        kernels: Operations that are launched one by one.
    """

    operations: float
    bytes: float
    kernels: float


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds that work takes, computed.

    Attributes:
        floor: It cannot take less.
        expected: See the top of this file.
    """

    floor: float
    expected: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What a GPU should take.

    Attributes:
        processor: The GPU.
        shape: Of the imputed grid.
        mean: Of the network, for the conditional mean and its spread.
        draws: Of 20 draws, with their way to the host.
        step: Of training.
        step_operations: Of it.
        items: Crops of a step.
    """

    processor: Processor
    shape: Shape
    mean: Span
    draws: Span
    step: Span
    step_operations: float
    items: int

    @property
    def step_share(self) -> float:
        """Share of the peak that a step is expected to reach."""
        return self.step_operations / self.step.expected / self.processor.operations


def expected(wanted: Shape, macs: int, processor: Processor = H200) -> Expected:
    """Returns what a GPU should take.

    Args:
        wanted: Of the imputed grid, about.
        macs: Multiply-accumulates of the network for such a grid, counted.
        processor: What it can do.
    """
    shape = fine_shape(wanted)
    one = line_work((shape[2] - 1) // GAP + 1, shape[0])
    more = 2 * macs / one.operations
    mean = Work(more * one.operations, more * one.bytes, PLANES * one.kernels)
    step, items = step_work()
    return Expected(
        processor=processor,
        shape=shape,
        mean=_span(mean, processor),
        draws=_draws(shape, processor),
        step=_span(step, processor),
        step_operations=step.operations,
        items=items,
    )


def line_work(lines: int, width: int) -> Work:
    """Returns the work of the default network on a batch of images, in half precision."""
    network, _ = _default()
    with _counted() as counts, torch.inference_mode():
        network(_empty(BATCH, 1, lines, width), _empty(BATCH, 4), offsets_of(GAP, "meta"))
    return _halved(counts())


def step_work() -> tuple[Work, int]:
    """Returns the work of a training step but for the optimiser's, and its crops."""
    network, tables = _default()
    config = tables["lines"]
    batch, lines, edge = tables["train"].batch, config.lines, config.edge
    kept = _empty(batch, lines, edge)
    hidden = _empty(batch, GAP - 1, lines - 1, edge)
    with _counted() as counts:
        objective(network, kept, hidden, _empty(batch, 4)).total.backward()
    return _halved(counts()), batch


def draw_work(shape: Shape) -> Work:
    """Returns the work of a draw, but for its way to the host."""
    few = fine_shape(SMALL)
    along, edges = few[2], (few[0], few[1] // 2 + 1)
    roots = np.ones((len(WIDTHS), along, along), np.float32)
    filters = np.ones((len(WIDTHS), *edges), np.float32)
    blank = np.zeros(few, np.float32)
    texture = CorrelatedNoise(few, 2, roots, filters, device="cpu")
    draws = Draws(texture, blank, blank, blank > 0)
    draws.draw(0, "bench")  # the first one makes a table
    with _counted() as counts:
        draws.draw(0, "bench")
    one, more = counts(), float(np.prod(shape)) / blank.size
    # Every position along the slice axis is a sum over all of them.
    return Work(one.operations * more * shape[2] / along, one.bytes * more, one.kernels)


def _default() -> tuple[LineNetwork, Any]:
    tables = read(preset("cross-plane"), seed=0).tables
    return build(tables["model"], seed=0).to("meta"), tables


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _draws(shape: Shape, processor: Processor) -> Span:
    """Returns the seconds of all draws, with their way to the host."""
    one = draw_work(shape)
    home = float(np.prod(shape)) * BYTES / processor.link
    made = _span(one, processor, peak=processor.single)
    return Span(DRAWS * max(made.floor, home), DRAWS * (made.expected + home))


def _span(work: Work, processor: Processor, *, peak: float | None = None) -> Span:
    arithmetic = work.operations / (peak or processor.operations)
    copies, launches = work.bytes / processor.bytes, work.kernels * processor.launch
    floor = max(arithmetic, copies, launches)
    return Span(floor, max(arithmetic / SHARE + copies, launches))


def _halved(work: Work) -> Work:
    """Returns work that was counted in single precision, in half precision."""
    return Work(work.operations, work.bytes / 2, work.kernels)


class _Moved(TorchDispatchMode):
    """Counts operations, and the bytes that they read and write; a view is none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            found = tree_leaves((args, kwargs, out))
            self.bytes += sum(part.nbytes for part in found if isinstance(part, Tensor))
            self.kernels += 1
        return out


@contextmanager
def _counted() -> Iterator[Callable[[], Work]]:
    """Counts what is done inside the block."""
    with FlopCounterMode(display=False) as operations, _Moved() as moved:
        yield lambda: Work(
            float(operations.get_total_flops()), float(moved.bytes), float(moved.kernels)
        )
