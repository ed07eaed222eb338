"""The weights that a cross-plane run starts from, and those that it keeps.

It starts from the weights of the package, unless it says scratch, and never ends with worse ones:
while the start is better on lines hidden in the scans that are watched, the start is kept.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mriimpute.checkpoint import load, understood
from mriimpute.config import parse
from mriimpute.errors import ConfigError
from mriimpute.files import sha256, shipped
from mriimpute.inference.cross_plane_network import Config
from mriimpute.inference.line_scores import GapScore, Watched, score
from mriimpute.nn.lines import LineNetwork
from mriimpute.train.settings import LineSettings

__all__ = ["Scores", "Start", "gain_db", "kept", "scores_of", "start_of"]

Scores = Mapping[int, GapScore]

NETWORK, FACTOR = "network.", "factor."


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Weights that were trained before.

    Attributes:
        network: Parameters by name.
        factors: What the spread is multiplied by, by size of the gap.
        checksum: SHA-256 of the file that they are from.
    """

    network: Mapping[str, Tensor]
    factors: Mapping[int, Tensor]
    checksum: str


def start_of(settings: LineSettings) -> Start | None:
    """Returns what a run starts from, or None for random parameters.

    Raises:
        ConfigError: If the package has no weights, or they are those of a network of another size.
        CheckpointError: If they cannot be read.
    """
    if settings.train.start == "scratch":
        return None
    path = shipped(settings.name)
    if not path.is_file():
        raise ConfigError(
            f"the package has no weights of {settings.name} to start from",
            hint="pass --from-scratch, or install mriimpute again",
        )

    tensors, document = load(path)
    with understood(path):
        size = dataclasses.asdict(parse(Config, document["model"], where="model"))
        factors = {int(gap): factor for gap, factor in _part(tensors, FACTOR).items()}
    for key, value in size.items():
        if settings.model[key] != value:
            raise ConfigError(
                f"model.{key} is {settings.model[key]}, but {value} in the weights of the package",
                hint="pass --from-scratch to train a network of another size",
            )
    return Start(_part(tensors, NETWORK), factors, f"sha256:{sha256(path)}")


def scores_of(network: LineNetwork, watch: Mapping[int, Sequence[Watched]]) -> dict[int, GapScore]:
    """Returns the scores of those gaps that slices could be found for."""
    found = {gap: score(network, images) for gap, images in watch.items()}
    return {gap: scored for gap, scored in found.items() if scored is not None}


def gain_db(scores: Scores, gaps: Collection[int]) -> float:
    """Returns the mean gain over `gaps`; over all, where none of them has a score.

    Example:
        >>> scores = {gap: GapScore(float(gap), factor=(), coverage=0.9) for gap in (2, 3, 4)}
        >>> gain_db(scores, [3, 4, 5]), gain_db(scores, [7])
        (3.5, 3.0)
    """
    wanted = [scored.gain_db for gap, scored in scores.items() if gap in gaps]
    known = wanted or [scored.gain_db for scored in scores.values()]
    return float(np.mean(known)) if known else 0.0


def kept(
    network: LineNetwork,
    scores: Scores,
    start: Start | None,
    before: Scores,
    gaps: Collection[int],
) -> dict[str, Tensor]:
    """Returns what `impute` needs: a network, and the factors of its spread for each gap.

    Args:
        network: As it is now.
        scores: Of it.
        start: What it started from, if not from scratch.
        before: Scores of that.
        gaps: To judge by.
    """
    parameters: Mapping[str, Tensor] = network.state_dict()
    # Not "if worse": what is not a number is no reason to leave the start.
    if start and not gain_db(scores, gaps) >= gain_db(before, gaps):
        parameters, scores = start.network, before
    # A gap that the scans cannot show is imputed as the package would.
    factors = dict(start.factors) if start else {}
    for gap, scored in scores.items():
        factors[gap] = torch.tensor(scored.factor, dtype=torch.float32)

    named = {f"{NETWORK}{name}": tensor for name, tensor in parameters.items()}
    return named | {f"{FACTOR}{gap}": factor for gap, factor in factors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
