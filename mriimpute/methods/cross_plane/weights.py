"""The weights that a cross-plane run starts from, and those that it keeps.

It starts from the weights of the package, unless it says scratch, and never ends with worse ones:
while the start is better on hidden lines of the validation scans, the start is kept.
"""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriimpute.checkpoint import load, restore, understood
from mriimpute.config import parse
from mriimpute.errors import ConfigError
from mriimpute.files import sha256, shipped
from mriimpute.methods.cross_plane import NAME
from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork
from mriimpute.methods.cross_plane.network import Config, LineNetwork
from mriimpute.methods.cross_plane.validation import GapScore, ValidationSlice, score

__all__ = [
    "Scores",
    "Start",
    "adopt",
    "as_started",
    "better_weights",
    "gain_db",
    "mean_nll",
    "read_parts",
    "scores_of",
    "start_of",
]

Scores = Mapping[int, GapScore]

NETWORK, FACTOR = "network.", "factor."


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Weights that were trained before.

    Attributes:
        network: Parameters by name.
        factors: What the std is multiplied by, by size of the gap.
        checksum: SHA-256 of the file that they are from.
    """

    network: Mapping[str, Tensor]
    factors: Mapping[int, Tensor]
    checksum: str


def start_of(settings: Mapping[str, Any]) -> Start:
    """Returns the weights of the package, which a run starts from.

    Args:
        settings: Of the network.

    Raises:
        ConfigError: If the package has no weights, or they are those of a network of another size.
        CheckpointError: If they cannot be read.
    """
    path = shipped(NAME)
    if not path.is_file():
        raise ConfigError(
            f"the package has no weights of {NAME} to start from",
            hint="pass --from-scratch, or install mriimpute again",
        )

    tensors, document = load(path)
    with understood(path):
        size = dataclasses.asdict(parse(Config, document["model"], where="model"))
        parameters, factors = read_parts(tensors)
    for key, value in size.items():
        if settings[key] != value:
            raise ConfigError(
                f"model.{key} is {settings[key]}, but {value} in the weights of the package",
                hint="pass --from-scratch to train a network of another size",
            )
    return Start(parameters, factors, f"sha256:{sha256(path)}")


def adopt(network: LineNetwork, start: Start) -> Start:
    """Makes a network what it starts from, and returns that with all of its parameters.

    What is added to a plain network, latent errors, has gains of 0 there, and says nothing. They
    are learnt next to a mean and a std that stay as they are.

    Raises:
        CheckpointError: If the start does not fit the network.
    """
    where = "the file of weights in the package"
    if not isinstance(network, LatentLineNetwork):
        restore(network, start.network, where=where)
        return start
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    restore(network, {**own, **start.network}, where=where)
    network.keep_moments()
    own["gain.last.weight"].zero_()
    return dataclasses.replace(start, network={**own, **start.network})


def as_started(network: LineNetwork, start: Start) -> LineNetwork:
    """Returns a copy of a network with the parameters that `adopt` returns."""
    first = copy.deepcopy(network)
    first.load_state_dict(dict(start.network))
    return first


def scores_of(
    network: LineNetwork, slices: Mapping[int, Sequence[ValidationSlice]]
) -> dict[int, GapScore]:
    """Returns the scores of those gaps that slices could be found for."""
    scores = {gap: score(network, images) for gap, images in slices.items()}
    return {gap: scored for gap, scored in scores.items() if scored is not None}


def gain_db(scores: Scores, gaps: Collection[int]) -> float:
    """Returns the mean gain over `gaps`; over all, where none of them has a score.

    Example:
        >>> scores = {gap: GapScore(gap + 0.5, (), coverage=0.9, nats=-2.0) for gap in (2, 3, 4)}
        >>> gain_db(scores, [3, 4, 5]), gain_db(scores, [7])
        (4.0, 3.5)
    """
    return _mean({gap: scored.gain_db for gap, scored in scores.items()}, gaps)


def mean_nll(scores: Scores, gaps: Collection[int]) -> float:
    """Returns the mean negative log-likelihood per pixel over `gaps`, as `gain_db` does."""
    return _mean({gap: scored.nats for gap, scored in scores.items()}, gaps)


def better_weights(
    network: LineNetwork,
    scores: Scores,
    start: Start | None,
    before: Scores,
    gaps: Collection[int],
) -> dict[str, Tensor]:
    """Returns what `impute` needs: a network, and the factors of its std for each gap.

    Args:
        network: As it is now.
        scores: Of it.
        start: What it started from, if not from scratch.
        before: Scores of that.
        gaps: To judge by.
    """
    parameters: Mapping[str, Tensor] = network.state_dict()
    # Asked as "as good": a score of NaN must not replace the start.
    if start and not _as_good(network, scores, before, gaps):
        parameters, scores = start.network, before
    # A gap that the scans cannot show is imputed as the package would.
    factors = dict(start.factors) if start else {}
    for gap, scored in scores.items():
        factors[gap] = torch.tensor(scored.factor, dtype=torch.float32)

    named = {f"{NETWORK}{name}": tensor for name, tensor in parameters.items()}
    return named | {f"{FACTOR}{gap}": factor for gap, factor in factors.items()}


def read_parts(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """Returns the parameters of the network, and the factors of its std by gap.

    Args:
        tensors: Of a model file, as `better_weights` returned them.
    """
    factors = {int(gap): factor for gap, factor in _part(tensors, FACTOR).items()}
    return _part(tensors, NETWORK), factors


def _as_good(network: LineNetwork, scores: Scores, before: Scores, gaps: Collection[int]) -> bool:
    if isinstance(network, LatentLineNetwork):  # its moments are those of the start
        return mean_nll(scores, gaps) <= mean_nll(before, gaps)
    return gain_db(scores, gaps) >= gain_db(before, gaps)


def _mean(values: Mapping[int, float], gaps: Collection[int]) -> float:
    wanted = [value for gap, value in values.items() if gap in gaps]
    known = wanted or list(values.values())
    return float(np.mean(known)) if known else 0.0


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
