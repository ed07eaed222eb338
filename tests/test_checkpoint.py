"""Tests for mriimpute.checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from mriimpute import checkpoint
from mriimpute.checkpoint import load, restore, save
from mriimpute.errors import CheckpointError, OutputError

TENSORS = {
    "w": torch.arange(6.0).reshape(2, 3),
    "step": torch.tensor(7.0),
    "sums": np.arange(4.0),
    "turned": torch.arange(6.0).reshape(2, 3).mT,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_what_was_saved_is_loaded(path: Path) -> None:
    save(path, TENSORS, {"name": "ppca", "model": {"patch": [4, 4]}, "loss": 0.1})

    tensors, document = load(path)

    expected = {name: torch.as_tensor(tensor) for name, tensor in TENSORS.items()}
    assert_close(tensors, expected, rtol=0, atol=0)
    assert (document["name"], document["model"], document["loss"]) == (
        "ppca",
        {"patch": [4, 4]},
        0.1,
    )


def test_same_content_has_same_bytes(path: Path) -> None:
    save(path, TENSORS, {"a": 1, "b": 2})
    first = path.read_bytes()
    save(path, dict(reversed(TENSORS.items())), {"b": 2, "a": 1})

    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "header", ['{"format": Infinity}', '{"format": 2, "loss": NaN}', "[" * 100_000, "[1]", "{"]
)
def test_header_that_save_never_writes_is_refused(path: Path, header: str) -> None:
    save_file({"w": torch.ones(2)}, path, {"mriimpute": header})

    with pytest.raises(CheckpointError, match="was not written by mriimpute"):
        load(path)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_damaged_file_is_refused(path: Path, size: int) -> None:
    save(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged"):
        load(path)


def test_one_changed_bit_of_a_tensor_is_noticed(path: Path) -> None:
    save(path, TENSORS, {"name": "ppca"})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"is damaged: its checksum differs"):
        load(path)


def test_changed_plain_data_are_noticed(path: Path) -> None:
    save(path, TENSORS, {"latents": 100})
    path.write_bytes(path.read_bytes().replace(b"100", b"900"))

    with pytest.raises(CheckpointError, match=r"is damaged: its checksum differs"):
        load(path)


def test_every_kind_of_tensor_has_a_checksum(path: Path) -> None:
    tensors = {
        "empty": torch.zeros(0, 3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "switch": torch.tensor(True),
    }

    save(path, tensors, {"shape": (1, 2), "table": {2: "b", 10: "a"}})

    assert load(path)[1]["table"] == {"2": "b", "10": "a"}


def test_format_without_a_checksum_is_still_read(path: Path) -> None:
    document = {"format": 1, "kind": "model", "name": "ppca"}
    save_file({"w": torch.ones(2)}, path, {"mriimpute": json.dumps(document)})

    tensors, found = load(path)

    assert tensors["w"].tolist() == [1, 1]
    assert found == document


def test_format_with_a_checksum_is_not_read_without_one(path: Path) -> None:
    document = {"format": 2, "kind": "model"}
    save_file({"w": torch.ones(2)}, path, {"mriimpute": json.dumps(document)})

    with pytest.raises(CheckpointError, match=r"is damaged: its checksum differs"):
        load(path)


def test_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load(path)


@pytest.mark.parametrize("header", [None, {"mriimpute": "nonsense"}, {"mriimpute": "{}"}])
def test_file_of_another_program_is_refused(path: Path, header: dict[str, str] | None) -> None:
    save_file({"w": torch.zeros(2)}, path, header)

    with pytest.raises(CheckpointError, match="was not written by mriimpute"):
        load(path)


def test_newer_format_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        save(path, TENSORS, {})

    with pytest.raises(CheckpointError, match=f"has format {checkpoint.FORMAT + 1}") as failure:
        load(path)

    assert failure.value.hint == "upgrade mriimpute"


def test_state_of_a_run_is_no_model(path: Path) -> None:
    save(path, TENSORS, {}, kind="state")

    with pytest.raises(CheckpointError, match="is of kind 'state', wanted is 'model'"):
        load(path)


def test_failed_write_leaves_the_old_file(path: Path) -> None:
    save(path, TENSORS, {"a": 1})

    with pytest.raises(ValueError, match="not JSON compliant"):
        save(path, TENSORS, {"a": float("nan")})

    assert load(path)[1]["a"] == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_unwritable_folder_is_an_output_error(path: Path) -> None:
    path.parent.joinpath("file").touch()

    with pytest.raises(OutputError, match="cannot write"):
        save(path.parent / "file" / path.name, TENSORS, {})


@pytest.mark.parametrize(
    "tensors",
    [{}, {"weight": torch.zeros(2, 2)}, {"weight": torch.zeros(1, 1), "w": torch.ones(1)}],
)
def test_weights_of_another_model_are_refused(tensors: dict[str, torch.Tensor]) -> None:
    layer = nn.Linear(1, 1, bias=False)

    with pytest.raises(CheckpointError, match="run/model does not fit the model: 'w"):
        restore(layer, tensors, where="run/model")
