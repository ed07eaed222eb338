"""Tensors and plain data in one safetensors file; loading one never runs code.

The file's header holds one JSON document: a format version, the kind of content, and what the
writer adds. Same content, same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from mriimpute.errors import CheckpointError
from mriimpute.files import atomic

__all__ = ["FORMAT", "load", "restore", "save"]

FORMAT = 1
"""Raised whenever an older version of this package could not read what is written."""

KEY = "mriimpute"
"""The only entry of the header: safetensors stores several in random order."""


def save(
    path: Path,
    tensors: Mapping[str, Tensor | NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    kind: str = "model",
) -> None:
    """Writes tensors and plain data, atomically.

    Args:
        path: Ends in .safetensors.
        tensors: By name; any device.
        metadata: What JSON can hold.
        kind: What the file is for; `load` refuses another kind.

    Raises:
        OutputError: If the file cannot be written.
    """
    document = {"format": FORMAT, "kind": kind, **metadata}
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    content = to_bytes(plain, {KEY: json.dumps(document, sort_keys=True, allow_nan=False)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def load(path: Path, *, kind: str = "model") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors, on the CPU, and the plain data of a file.

    Raises:
        CheckpointError: If the file is missing, damaged, not of this package, of another kind,
            or written by a newer version.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist", hint="train a model first, or fix the path"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint: {error}", hint="copy it again or train again"
        ) from error

    document = _document(header, path)
    if document["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {document['format']}, this version reads up to {FORMAT}",
            hint="upgrade mriimpute",
        )
    if document.get("kind") != kind:
        raise CheckpointError(
            f"{path} is of kind {document.get('kind')!r}, wanted is {kind!r}",
            hint="pass the run folder or its model.safetensors",
        )
    return tensors, document


def restore(module: nn.Module, tensors: Mapping[str, Tensor], *, where: Path | str) -> None:
    """Copies `tensors` into the parameters and buffers of `module`.

    Args:
        module: Has exactly these names and shapes.
        tensors: By name.
        where: They come from, for messages.

    Raises:
        CheckpointError: If a name or a shape differs.
    """
    have = module.state_dict()
    names = sorted(have.keys() ^ tensors.keys())
    shapes = [n for n in have if n in tensors and have[n].shape != tensors[n].shape]
    if names or shapes:
        culprit = (names or shapes)[0]
        raise CheckpointError(
            f"{where} does not fit the model: {culprit!r} is missing, unknown or of another shape",
            hint="use the version of mriimpute that wrote it, or train again",
        )
    module.load_state_dict(dict(tensors))


def _plain(tensor: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(np.array(tensor))
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _document(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        document = json.loads(header[KEY])
        return {**document, "format": int(document["format"])}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} was not written by mriimpute", hint="pass a run folder of mriimpute train"
        ) from error
