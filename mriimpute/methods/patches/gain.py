"""What training gave a model of patches, on patches of validation scans."""

from collections.abc import Mapping, Sequence
from typing import Any

from mriimpute.methods.base import Gain

__all__ = ["gain_of"]


def gain_of(journal: Sequence[Mapping[str, Any]]) -> Gain | None:
    """Returns how the validation loss changed; None where there was none.

    Interpolation has no likelihood, so it is not compared with.

    Example:
        >>> gain_of([{"val_loss": 2.0}, {"val_loss": 1.5}, {"val_loss": None}]).numbers
        {'first_nats': 2.0, 'last_nats': 1.5}
    """
    losses = [line["val_loss"] for line in journal if line.get("val_loss") is not None]
    if not losses:
        return None
    first, last = losses[0], losses[-1]
    return Gain(
        f"observed voxels of validation scans: {first:.3f} -> {last:.3f} nats each from the first "
        "report to the last, fewer are better"
        + ("" if last < first else "; no gain since the first report"),
        {"first_nats": first, "last_nats": last},
        is_gain=bool(last < first),
    )
