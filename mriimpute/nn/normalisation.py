"""Group normalisation whose moments are those of the observed voxels.

Axes: b = batch, c = channel, grid = voxels, any number of axes.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["ObservedGroupNorm"]


class ObservedGroupNorm(nn.Module):
    """Standardises each group of channels, row by row, and gives each channel a gain and a bias.

        y = gain (x - m) / sqrt(v + eps) + bias,    m, v = moments of x over the observed voxels

    Fully observed, this is `torch.nn.GroupNorm`. Unobserved voxels give 0.

    Args:
        groups: Divides `channels`.
        channels: Channels of input and output.
        eps: Added to the variance.

    Raises:
        ValueError: If `groups` does not divide `channels`.
    """

    def __init__(self, groups: int, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"groups must divide the {channels} channels, got {groups}")
        self.groups, self.eps = groups, eps
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, x: Float[Tensor, "b c *grid"], observed: Bool[Tensor, "b 1 *grid"]
    ) -> Float[Tensor, "b c *grid"]:
        """Returns y."""
        seen = observed.flatten(2)[:, :, None]
        groups = torch.where(observed, x, 0.0).flatten(2).unflatten(1, (self.groups, -1))
        groups = groups if x.dtype == torch.float64 else groups.float()
        count = (seen.sum((2, 3), keepdim=True) * groups.shape[2]).clamp(min=1)

        mean = groups.sum((2, 3), keepdim=True) / count
        centred = torch.where(seen, groups - mean, 0.0)
        variance = centred.square().sum((2, 3), keepdim=True) / count
        white = (centred * (variance + self.eps).rsqrt()).reshape(x.shape)

        shape = (-1, *(1,) * (x.ndim - 2))
        y = white * self.gain.view(shape) + self.bias.view(shape)
        return torch.where(observed, y, 0.0).to(x.dtype)
