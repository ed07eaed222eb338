"""Tensors and plain data in one safetensors file; loading one never runs code.

The file's header holds one JSON document: a format version, the kind of content, what the writer
adds, and a checksum of all that and of the tensors. Same content, same bytes.

Format 1 had no checksum; it is still read.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from mriimpute.errors import CheckpointError, ConfigError
from mriimpute.files import atomic

__all__ = ["FORMAT", "load", "restore", "save", "understood"]

FORMAT = 2
"""Raised whenever an older version of this package could not read what is written."""

KEY = "mriimpute"
"""The only entry of the header: safetensors stores several in random order."""

CHECKSUM = "checksum"
WITHOUT_CHECKSUM = 1
"""The last format that had none."""


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
    # As it will be read back: JSON turns tuples into lists and keys into text.
    document = json.loads(_text({"format": FORMAT, "kind": kind, **metadata}))
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    document[CHECKSUM] = _checksum(plain, document)
    content = to_bytes(plain, {KEY: _text(document)})
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
    _verify(tensors, document, path)
    if document.get("kind") != kind:
        raise CheckpointError(
            f"{path} is of kind {document.get('kind')!r}, wanted is {kind!r}",
            hint="pass the run folder or its model.safetensors",
        )
    return tensors, document


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turns what goes wrong inside the block into an error about the file that is being read.

    Raises:
        CheckpointError: If an entry is missing, or is not what this version writes there.
    """
    try:
        yield
    except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
        missing = isinstance(error, KeyError)
        raise CheckpointError(
            f"{path} cannot be used: {'it lacks ' if missing else ''}{error}",
            hint="use the version of mriimpute that wrote it, or train again",
        ) from error


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


def _verify(tensors: Mapping[str, Tensor], document: dict[str, Any], path: Path) -> None:
    """Compares the checksum and takes it out of the document."""
    stored = document.pop(CHECKSUM, None)
    if stored is None and document["format"] <= WITHOUT_CHECKSUM:
        return
    if stored != _checksum(tensors, document):
        raise CheckpointError(
            f"{path} is damaged: its checksum differs", hint="copy it again or train again"
        )


def _checksum(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(_text(document).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, allow_nan=False)


def _plain(tensor: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(np.array(tensor))
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _document(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        document = json.loads(header[KEY], parse_constant=_refuse_constant)
        return {**document, "format": int(document["format"])}
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} was not written by mriimpute", hint="pass a run folder of mriimpute train"
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is never written")  # by `_text`, nor does it come back from there
