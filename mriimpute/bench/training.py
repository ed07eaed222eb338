"""One step of training: forward, backward and the step of the optimiser, and the data for it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from mriimpute.bench.phantom import Shape, sparse_head
from mriimpute.bench.timing import Timing, settled
from mriimpute.cohort import draw_patches
from mriimpute.cohort.slices import SliceScan, acquired_slices
from mriimpute.cohort.sparse import sparse
from mriimpute.config import parse
from mriimpute.methods.cross_plane.hidden_lines import draw_lines
from mriimpute.methods.cross_plane.loss import Config, build, conditions
from mriimpute.methods.cross_plane.loss import objective as line_objective
from mriimpute.methods.patches.objective import objective
from mriimpute.methods.patches.state import State
from mriimpute.optim.descent import Descent
from mriimpute.seeds import numpy_stream, stream
from mriimpute.train.settings import LineSettings, Settings, preset, read

__all__ = ["Step", "training_step"]

WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A step of training.

    Attributes:
        items: Crops or patches of a step.
        data: Seconds to draw them.
        descent: Seconds to learn from them.
    """

    items: int
    data: Timing
    descent: Timing

    @property
    def seconds(self) -> float:
        """Of a step, nothing overlapped."""
        return self.data.median + self.descent.median

    @property
    def overlapped(self) -> float:
        """Of one step of many: the next batch is drawn meanwhile."""
        return max(self.data.median, self.descent.median)


def training_step(name: str, wanted: Shape, device: str, *, repeats: int) -> Step | None:
    """Returns what a step costs, with the settings of the preset; None where there are no steps.

    Args:
        name: Of a model that can be trained.
        wanted: Grid of the scan that it learns from.
        device: "cpu" or "cuda:N".
        repeats: Steps that count.
    """
    settings = read(preset(name), seed=0)
    if isinstance(settings, LineSettings):
        return _repeated(*_lines(settings, wanted, device), device, repeats)
    if isinstance(settings, Settings) and name != "cross-plane-ridge":
        return _repeated(*_patches(settings, wanted, device), device, repeats)
    return None


Part = Callable[[], Callable[[], object]]


def _repeated(items: int, draw: Part, device: str, repeats: int) -> Step:
    data, descent = [], []
    settle = settled(device)
    for number in range(WARM_UP + repeats):
        begun = time.perf_counter()
        step = draw()
        drawn = time.perf_counter()
        step()
        settle()
        if number >= WARM_UP:
            data.append(drawn - begun)
            descent.append(time.perf_counter() - drawn)
    return Step(items, Timing.of(data), Timing.of(descent))


def _lines(settings: LineSettings, wanted: Shape, device: str) -> tuple[int, Part]:
    network = build(parse(Config, settings.model, where="model"), seed=0)
    state = Descent(network, settings.train, device)
    scans = _slices(wanted)
    numbers = count()

    def draw() -> Callable[[], object]:
        generator = numpy_stream(0, "bench", "lines", next(numbers))
        lines = draw_lines(scans, settings.train.batch, config=settings.lines, generator=generator)

        def step() -> object:
            kept, hidden = (torch.from_numpy(x).to(device) for x in (lines.kept, lines.hidden))
            sizes = lines.gap_mm, lines.along_mm, lines.thickness
            told = torch.from_numpy(conditions(lines.gap, *sizes)).to(device)
            with _mixed(device, settings.train.precision):
                terms = line_objective(state.model, kept, hidden, told, loss=settings.train.loss)
            terms.total.backward()
            return state.descend(settings.train.rate)

        return step

    return settings.train.batch, draw


def _patches(settings: Settings, wanted: Shape, device: str) -> tuple[int, Part]:
    state = State(settings, device)
    scan = sparse(sparse_head(wanted), "head")
    numbers = count()

    def draw() -> Callable[[], object]:
        number = next(numbers)
        patches = draw_patches(
            [scan],
            settings.grid,
            settings.train.batch,
            config=settings.patches,
            generator=numpy_stream(0, "bench", "patches", number),
        )

        def step() -> object:
            y = torch.from_numpy(patches.y).to(device)
            observed = torch.from_numpy(patches.observed).to(device)
            generator = stream(0, "bench", "train", number, device=device)
            with _mixed(device, settings.train.precision):
                nats = objective(
                    state.model, y, observed, settings.train, weight=1.0, generator=generator
                )
            (nats.sum() / observed.sum()).backward()
            return state.descend(settings.train.rate)

        return step

    return settings.train.batch, draw


def _mixed(device: str, precision: str) -> torch.autocast:
    kind = torch.device(device).type
    enabled = kind == "cuda" and precision == "bfloat16"
    return torch.autocast(kind, torch.bfloat16, enabled=enabled)


def _slices(wanted: Shape) -> Sequence[SliceScan]:
    found = acquired_slices(sparse_head(wanted), "head")
    if found is None:
        raise ValueError(f"a head of {wanted} has no slices")
    return [found]
