"""What training gave a model of patches, on patches of validation scans."""

from collections.abc import Mapping, Sequence
from typing import Any

from mriimpute.methods.base import Gain

__all__ = ["gain_of"]


def gain_of(journal: Sequence[Mapping[str, Any]]) -> Gain | None:
    """Returns the gain over interpolation on hidden lines; the loss, where none were hidden.

    None where nothing was validated, or nothing can be compared: interpolation has no likelihood,
    and one report has no other one before it.

    Example:
        >>> gain_of([{"val_loss": 2.0}, {"val_loss": 1.5}, {"val_loss": None}]).numbers
        {'first_nats': 2.0, 'last_nats': 1.5}
    """
    losses = [line["val_loss"] for line in journal if line.get("val_loss") is not None]
    if not losses:
        return None
    first, last = losses[0], losses[-1]
    gains = [line["val_gain_db"] for line in journal if line.get("val_gain_db") is not None]
    if gains:
        gain = max(gains)  # those weights are kept
        return Gain(
            f"hidden lines of validation scans: {gain:+.2f} dB over linear interpolation"
            + ("" if gain > 0 else "; no gain: --model linear is as good"),
            {"over_interpolation_db": gain, "first_nats": first, "last_nats": last},
            is_gain=bool(gain > 0),
        )
    if len(losses) == 1:
        return None
    return Gain(
        f"observed voxels of validation scans: {first:.3f} -> {last:.3f} nats each from the first "
        "report to the last, fewer are better"
        + ("" if last < first else "; no gain since the first report"),
        {"first_nats": first, "last_nats": last},
        is_gain=bool(last < first),
    )
