"""Encoders of sparse and of dense grids and a decoder of dense ones, made of residual blocks.

Axes: b = batch, c = channel, grid = voxels, two or three axes; coarse = 2^levels times coarser.
"""

from itertools import pairwise

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mriimpute.layers.axes import channels_last, conv_layer, max_pool
from mriimpute.layers.convolution import ObservedConv
from mriimpute.layers.pyramid import Window, pool, pyramid

__all__ = [
    "Decoder",
    "DenseEncoder",
    "Encoder",
    "ObservedResidual",
    "Residual",
    "coarse_grid",
    "level_widths",
    "require_patch",
    "require_positive",
]

WIDEST = 1024


def coarse_grid(patch: tuple[int, ...], levels: int, *, block: int = 1) -> tuple[int, ...]:
    """Returns the shape of a patch after `levels` poolings by two.

    Args:
        patch: Voxels along each axis, two or three axes.
        levels: At least one.
        block: The coarse grid must be cut into blocks of this edge.

    Raises:
        ValueError: If the patch does not divide.

    Example:
        >>> coarse_grid((24, 16), 2)
        (6, 4)
    """
    require_patch(patch)
    require_positive(levels=levels, block=block)
    edge = block * 2**levels
    if any(size % edge for size in patch):
        raise ValueError(f"patch must be a multiple of {edge}, got {patch}")
    return tuple(size // 2**levels for size in patch)


def require_patch(patch: tuple[int, ...]) -> None:
    """Refuses what is no patch.

    Raises:
        ValueError: If it has not two or three axes of at least a voxel each.
    """
    if len(patch) not in (2, 3):
        raise ValueError(f"patch must have two or three axes, got {patch}")
    if min(patch) < 1:
        raise ValueError(f"patch must be at least 1 along each axis, got {patch}")


def require_positive(**sizes: int) -> None:
    """Refuses sizes below 1.

    Raises:
        ValueError: It names the first of them.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def level_widths(channels: int, levels: int, *, widest: int = WIDEST) -> tuple[int, ...]:
    """Returns the channels of each level, finest first, twice as many on each up to `widest`.

    Example:
        >>> level_widths(8, 4), level_widths(8, 4, widest=32)
        ((8, 16, 32, 64), (8, 16, 32, 32))
    """
    return tuple(min(channels * 2**level, widest) for level in range(levels))


class Encoder(nn.Module):
    """Residual blocks of sparse convolutions, a max-pooling by two after each.

    Args:
        axes: Axes of the grid, 2 or 3.
        channels: Of the output of each block, finest first.
    """

    def __init__(self, axes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ObservedResidual(fine, coarse, axes=axes) for fine, coarse in pairwise((1, *channels))
        )

    def forward(
        self, y: Float[Tensor, "b 1 *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> tuple[Float[Tensor, "b c *coarse"], Bool[Tensor, "b 1 *coarse"]]:
        """Returns features, and where they mean something; elsewhere they are 0."""
        levels, y = pyramid(observed, levels=len(self.blocks), steps=2), channels_last(y)
        for block, windows in zip(self.blocks, levels, strict=True):
            # Plain pooling is exact: features are >= 0, and 0 where nothing is covered.
            y = max_pool(block(y, windows), 2)
        return y, pool(levels[-1][-1].covered)


class DenseEncoder(nn.Module):
    """The same with ordinary convolutions, for grids without gaps or with filled ones.

    Args:
        axes: Axes of the grid, 2 or 3.
        in_channels: Of the input.
        channels: Of the output of each block, finest first.
    """

    def __init__(self, axes: int, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Residual(fine, coarse, axes=axes)
            for fine, coarse in pairwise((in_channels, *channels))
        )

    def forward(self, x: Float[Tensor, "b c_in *grid"]) -> Float[Tensor, "b c *coarse"]:
        """Returns features."""
        x = channels_last(x)
        for block in self.blocks:
            x = max_pool(block(x), 2)
        return x


class Decoder(nn.Module):
    """Residual blocks of ordinary convolutions, an upsampling by two before each.

    Latent variables have no gaps, and without gaps a sparse convolution is an ordinary one.

    Args:
        axes: Axes of the grid, 2 or 3.
        in_channels: Of the coarsest features.
        channels: Of the output of each block, finest first.
    """

    def __init__(self, axes: int, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = (in_channels, *reversed(channels))
        self.blocks = nn.ModuleList(
            Residual(coarse, fine, axes=axes) for coarse, fine in pairwise(widths)
        )
        self.last = conv_layer(axes, channels[0], 1, 3)

    def forward(self, h: Float[Tensor, "b c *coarse"]) -> Float[Tensor, "b 1 *grid"]:
        """Returns the grid that the features describe."""
        h = channels_last(h)
        for block in self.blocks:
            h = block(functional.interpolate(h, scale_factor=2, mode="nearest"))
        return self.last(h)


class ObservedResidual(nn.Module):
    """Two sparse convolutions around a ReLU, added to the input.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, section 4.3.2: "residual blocks of two sparse convolutions with 3x3 kernels".
    """

    def __init__(self, in_channels: int, out_channels: int, *, axes: int) -> None:
        super().__init__()
        self.first = ObservedConv(in_channels, out_channels, axes=axes)
        self.second = ObservedConv(out_channels, out_channels, axes=axes)
        self.skip = ObservedConv(in_channels, out_channels, axes=axes, kernel=1)
        nn.init.zeros_(self.second.weight)  # the block starts as its skip connection

    def forward(
        self, x: Float[Tensor, "b c_in *grid"], windows: list[Window]
    ) -> Float[Tensor, "b c_out *grid"]:
        """Returns the output, which means something where `windows[1].covered`."""
        first, second = windows
        h = functional.relu(self.first(x, first))
        point = Window(first.observed, first.observed.to(first.ratio.dtype), first.observed)
        return functional.relu(self.skip(x, point) + self.second(h, second))


class Residual(nn.Module):
    """The same with ordinary convolutions, for grids without gaps."""

    def __init__(self, in_channels: int, out_channels: int, *, axes: int) -> None:
        super().__init__()
        self.first = conv_layer(axes, in_channels, out_channels, 3)
        self.second = conv_layer(axes, out_channels, out_channels, 3)
        self.skip = conv_layer(axes, in_channels, out_channels, 1)
        nn.init.zeros_(self.second.get_parameter("weight"))

    def forward(self, x: Float[Tensor, "b c_in *grid"]) -> Float[Tensor, "b c_out *grid"]:
        """Returns the output."""
        h = functional.relu(self.first(x))
        return functional.relu(self.skip(x) + self.second(h))
