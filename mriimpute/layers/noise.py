"""Standard normal noise, of which processes that share a batch draw their rows alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["BatchRows", "white"]


class BatchRows(torch.Generator):
    """Gives some rows of a batch the noise that they would get in the whole batch.

    Args:
        generator: What the whole batch would be drawn with, as it is now.
        rows: Of the batch.
        whole: How many rows the batch has.
    """

    rows: slice
    whole: int

    def __new__(cls, generator: torch.Generator, rows: slice, whole: int) -> "BatchRows":
        """Makes one; a generator of torch takes its arguments here."""
        own = super().__new__(cls, generator.device)  # type: ignore[call-arg]
        own.set_state(generator.get_state())
        own.rows, own.whole = rows, whole
        return own


def white(shape: Sequence[int], generator: torch.Generator, *, like: Tensor) -> Tensor:
    """Returns standard normal noise.

    Args:
        shape: (draws, b, ...), the second axis along a batch, or several times along it.
        generator: All randomness.
        like: Gives type and device.
    """
    if not isinstance(generator, BatchRows):
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
    draws, rows, *rest = shape
    times = rows // (generator.rows.stop - generator.rows.start)
    noise = torch.randn(
        (draws, times, generator.whole, *rest),
        generator=generator,
        dtype=like.dtype,
        device=like.device,
    )
    return noise[:, :, generator.rows].flatten(1, 2)
