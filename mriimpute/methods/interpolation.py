"""`nearest`, `linear`, `pchip`, ...: interpolation along grid lines, which needs no training."""

from mriimpute.interpolation import Kind, interpolated
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.volume import Volume

__all__ = ["Interpolation"]


class Interpolation(Imputer):
    """Interpolates along grid lines. It gives no draws and does not know how sure it is."""

    gives_draws = False

    def __init__(self, kind: Kind) -> None:
        self.name = kind
        self.kind = kind

    @classmethod
    def without_weights(cls, name: str, device: str) -> "Interpolation":
        """Returns the interpolation of that name."""
        kind: Kind = name  # type: ignore[assignment]
        return cls(kind)

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the interpolated volume; nothing is random."""
        return Imputation(mean=interpolated(volume, self.kind))
