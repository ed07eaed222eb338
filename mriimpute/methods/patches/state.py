"""What a training run of a patch model is at one moment."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mriimpute.errors import CheckpointError, ConfigError
from mriimpute.methods.patches import models
from mriimpute.methods.patches.model import Model
from mriimpute.optim.descent import Descent
from mriimpute.train.settings import Settings

__all__ = ["State"]


class State(Descent[Model]):
    """A model under training, and the loss since the last line of the journal.

    Args:
        settings: Of the run.
        device: Torch device.
        fused: See `Descent`.

    Raises:
        ConfigError: If the model cannot be built from its settings.
    """

    def __init__(self, settings: Settings, device: str, *, fused: bool = False) -> None:
        try:
            model = models.build(settings.name, settings.model, seed=settings.seed)
        except ValueError as error:
            raise ConfigError(f"model: {error}", hint="change the value") from error
        super().__init__(model, settings.train, device, fused=fused)
        self.nats = 0.0
        self.voxels = 0

    @property
    def patches(self) -> int:
        """Patches learnt from so far."""
        return self.step * self.config.batch

    def numbers(self) -> dict[str, Any]:
        """Returns the plain values, to be stored."""
        return {"step": self.step, "nats": self.nats, "voxels": self.voxels}

    def resume(
        self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], where: str
    ) -> None:
        """Becomes the state that `tensors` and `numbers` came from.

        Raises:
            CheckpointError: If they do not fit the model.
        """
        try:
            step, nats, voxels = (numbers[key] for key in ("step", "nats", "voxels"))
            self.nats, self.voxels = float(nats), int(voxels)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where} does not say where the run was", hint="begin anew with --overwrite"
            ) from error
        self.load(tensors, int(step), where=where)
