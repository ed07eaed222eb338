"""Writing an image so that its bytes depend on nothing but the image."""

from pathlib import Path
from typing import Any

from mriimpute.files import atomic
from mriimpute.io.gzip import gzipped
from mriimpute.stopwatch import stage

__all__ = ["save"]

COMPRESSION = 3  # float32 noise shrinks little more at higher levels, and much slower


def save(image: Any, path: Path) -> None:
    """Writes a nibabel image, atomically; neither clock nor file name enters the gzip header.

    Args:
        image: One that nibabel can serialise.
        path: Ends in .nii or .nii.gz.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        with stage("gzip"):
            content = gzipped(content, COMPRESSION)
    with atomic(path) as temporary:
        temporary.write_bytes(content)
