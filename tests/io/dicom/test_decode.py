"""Tests for mriimpute.io.dicom.decode."""

import sys
from pathlib import Path

import pytest

from mriimpute.io.dicom.decode import decode_frames


def test_what_is_no_dicom_decodes_to_nothing() -> None:
    assert decode_frames([b"no DICOM", b""]) == [None, None]


@pytest.mark.parametrize("end", ["kill -SEGV $$", "exit 3", "echo nonsense that is no array"])
def test_a_decoder_that_crashes_takes_no_more_than_its_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    decoder = tmp_path / "python"
    decoder.write_text(f"#!/bin/sh\n{end}\n")
    decoder.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(decoder))

    assert decode_frames([b"one", b"two"]) == [None, None]
