"""What the sparse layers cost beside the plain ones whose places they take.

    convolution       normalised over plain, in three dimensions, every sixth plane observed
    fully connected   a solve per row of a batch, all at once: over a plain layer, and over a loop
    locally connected memory of a forward and a backward pass over a grid of features

Windows, what a kernel sees of the observed map, are found once per input and shared by all layers
of a network, so they are no part of the cost of one; the row "with its window" adds them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mriimpute.bench.phantom import GAP
from mriimpute.bench.timing import Memory, Ratio, compared, resident_bytes
from mriimpute.layers.convolution import ObservedConv
from mriimpute.methods.patches.layers.linear import ObservedLinear, ObservedLocal
from mriimpute.seeds import fixed, stream

__all__ = ["LayerCost", "LocalMemory", "layer_costs", "local_memory"]

CHANNELS = 32
BATCH = 2
"""Volumes of features: a single one may take another path through the library."""

ROWS, POSITIONS, LATENTS = 64, 784, 20
"""Of the fully connected layer: images of 28 x 28, as in Dalca et al., 2019."""

GRID, BLOCK, LOCAL_LATENTS = (24, 24, 28), 4, 16
"""Of the locally connected layer: features of a head, eight times coarser than its voxels."""


@dataclass(frozen=True, slots=True)
class LayerCost:
    """A sparse layer beside a reference.

    Attributes:
        name: What over what.
        shape: Of what went in.
        forward: How many times as long it takes.
        both: The same, of a forward and a backward pass.
    """

    name: str
    shape: tuple[int, ...]
    forward: Ratio
    both: Ratio


@dataclass(frozen=True, slots=True)
class LocalMemory:
    """What a forward and a backward pass of the locally connected layer take.

    Attributes:
        shape: Of what went in.
        memory: Of the process.
        parameters: Bytes of the parameters and of their gradients.
        features: Bytes of what went in.
        naive: Bytes of one copy of the subspaces per row of the batch: eq. 10 as it is written.
    """

    shape: tuple[int, ...]
    memory: Memory
    parameters: int
    features: int
    naive: int


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """One way to compute a layer.

    Attributes:
        run: Computes it, from an input that gradients flow to.
        layer: Has the parameters.
    """

    run: Callable[[Tensor], Tensor]
    layer: nn.Module


def layer_costs(device: str, *, edge: int, repeats: int) -> list[LayerCost]:
    """Returns what the sparse layers cost.

    Args:
        device: "cpu" or "cuda:N".
        edge: Of the grid of the convolution, in voxels.
        repeats: Pairs of passes.
    """
    with fixed(0, "bench", "layers"):
        return [*_convolutions(device, edge, repeats), *_connected(device, repeats)]


def local_memory(device: str, *, rows: int) -> LocalMemory:
    """Returns what the locally connected layer takes for a batch of so many rows."""
    before = resident_bytes()
    with fixed(0, "bench", "local"):
        layer = ObservedLocal(GRID, block=BLOCK, latents=LOCAL_LATENTS, channels=CHANNELS)
    layer.to(device)
    generator = stream(0, "bench", "local", device=device)
    y = torch.randn((rows, CHANNELS, *GRID), device=device, generator=generator)
    layer(y, _slices(y)).square().sum().backward()
    numbers = sum(parameter.numel() for parameter in layer.parameters())
    return LocalMemory(
        shape=tuple(y.shape),
        memory=Memory.since(before, device),
        parameters=2 * 4 * numbers,
        features=y.nbytes,
        naive=rows * layer.subspaces.w.nbytes,
    )


def _convolutions(device: str, edge: int, repeats: int) -> list[LayerCost]:
    generator = stream(0, "bench", "layers", device=device)
    shape = (BATCH, CHANNELS, edge, edge, edge)
    x = torch.randn(shape, device=device, generator=generator)
    observed = _slices(x)
    sparse = ObservedConv(CHANNELS, CHANNELS, axes=3).to(device)
    dense = nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1).to(device)
    window = sparse.window(observed)

    plain = _Variant(dense, dense)
    window_given = _Variant(lambda x: sparse(x, window), sparse)
    window_found = _Variant(lambda x: sparse(x, sparse.window(observed)), sparse)
    cost = partial(_cost, x=x, device=device, repeats=repeats)
    return [
        cost("normalised convolution / convolution", window_given, plain),
        cost("the same with its window / convolution", window_found, plain),
    ]


def _connected(device: str, repeats: int) -> list[LayerCost]:
    generator = stream(0, "bench", "connected", device=device)
    y = torch.randn((ROWS, 1, POSITIONS), device=device, generator=generator)
    observed = torch.rand(y.shape, device=device, generator=generator) < 1 / GAP
    layer = ObservedLinear(POSITIONS, LATENTS).to(device)
    dense = nn.Linear(POSITIONS, LATENTS).to(device)

    def row_by_row(y: Tensor) -> Tensor:
        return torch.stack([_solved(layer, *row) for row in zip(y, observed, strict=True)])

    plain = _Variant(dense, dense)
    batched, by_row = _Variant(lambda y: layer(y, observed), layer), _Variant(row_by_row, layer)
    cost = partial(_cost, x=y, device=device, repeats=repeats)
    return [
        cost("sparse fully connected / fully connected", batched, plain),
        cost("sparse fully connected / row by row", batched, by_row),
    ]


def _solved(layer: ObservedLinear, y: Tensor, observed: Tensor) -> Tensor:
    """Returns the coordinates of one row: eq. 10 of Dalca et al., 2019, with the rows of W_O."""
    w, mu = layer.subspaces.w[0, 0], layer.subspaces.mu[0, 0]
    variance = layer.subspaces.log_variance
    if variance is None:
        raise TypeError("the ridge must be learnt")
    w_o, y_o = w[observed[0]], (y[0] - mu)[observed[0]]
    gram = w_o.T @ w_o + variance.exp() * torch.eye(w.shape[1], device=w.device)
    return torch.linalg.solve(gram, w_o.T @ y_o)


def _slices(x: Tensor) -> Tensor:
    observed = torch.zeros((len(x), 1, *x.shape[2:]), dtype=torch.bool, device=x.device)
    observed[..., ::GAP] = True
    return observed


def _cost(
    name: str, layer: _Variant, reference: _Variant, *, x: Tensor, device: str, repeats: int
) -> LayerCost:
    ratio = partial(compared, repeats=repeats, device=device)
    forward = ratio(partial(_forward, layer, x), partial(_forward, reference, x))
    both = ratio(partial(_both, layer, x), partial(_both, reference, x))
    return LayerCost(name, tuple(x.shape), forward, both)


def _forward(variant: _Variant, x: Tensor) -> None:
    with torch.no_grad():
        variant.run(x)


def _both(variant: _Variant, x: Tensor) -> None:
    variant.layer.zero_grad()
    y = variant.run(x.detach().requires_grad_())
    y.backward(torch.ones_like(y))
