"""Sparse convolution in two and three dimensions.

Axes: b = batch, c = channel, grid = voxels, two or three axes; grid2 = `stride` times coarser.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mriimpute.layers.axes import conv
from mriimpute.layers.pyramid import Window, window

__all__ = ["ObservedConv"]


class ObservedConv(nn.Module):
    """Convolves a grid as if its unobserved voxels did not exist.

    With kernel support N, weights w, bias v and indicator o (1 where observed, 0 elsewhere and
    0 outside the grid), the output at voxel p is

        y(p) = v + |N| / n(p) sum_q w(q) o(p+q) x(p+q),    n(p) = sum_q o(p+q)

    Where n = |N| this is an ordinary convolution. Where n = 0 there is nothing to say: y = 0,
    without the bias.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, Eq. 11 and 12.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        axes: Axes of the grid, 2 or 3.
        kernel: Odd edge of the kernel, in voxels.
        stride: Step between output voxels, in input voxels.

    Raises:
        ValueError: If `kernel` is even or `axes` is neither 2 nor 3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, axes: int, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd to stay centred on a voxel, got {kernel}")
        if axes not in (2, 3):
            raise ValueError(f"axes must be 2 or 3, got {axes}")

        self.axes, self.kernel, self.stride = axes, kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *(kernel,) * axes))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def window(self, observed: Bool[Tensor, "b 1 *grid"]) -> Window:
        """Returns the window of this layer alone; a network shares those of a `pyramid`."""
        return window(observed, kernel=self.kernel, stride=self.stride)

    def forward(
        self, x: Float[Tensor, "b c_in *grid"], window: Window
    ) -> Float[Tensor, "b c_out *grid2"]:
        """Returns y, which means something where `window.covered`."""
        # A product would not do: unobserved voxels may hold NaN, and 0 * NaN is NaN.
        x = torch.where(window.observed, x, 0.0)

        total = conv(x, self.weight, stride=self.stride, padding=self.kernel // 2)
        bias = self.bias.to(total.dtype).view(-1, *(1,) * self.axes)

        # In place: a pass over memory is a thirtieth of the convolution. Nothing here is NaN, so
        # products may gate: where nothing is covered the ratio is 0.
        return total.mul_(window.ratio.to(total.dtype)).addcmul_(bias, window.covered.to(total))
