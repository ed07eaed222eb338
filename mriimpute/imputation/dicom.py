"""Results as derived DICOM series, beside the images that every scan gets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from mriimpute.cohort.target_grid import TargetGrid
from mriimpute.errors import ConfigError
from mriimpute.imputation.space import Write
from mriimpute.io import Scan, stem
from mriimpute.io.dicom.parametric_map import write_map
from mriimpute.io.dicom.write import CONTENTS, remove_series, write_series

__all__ = ["Export", "export_folders", "remove_export", "require_series", "with_series"]

Export = Literal["none", "anonymous", "identified"]
"""Which DICOM to write: none, series without a name in them, or with that of the patient."""


def require_series(scan: Scan, export: Export, *, is_native: bool) -> None:
    """Stops before any work where DICOM is asked for and cannot be written.

    Raises:
        ConfigError: If so.
    """
    if export != "none" and scan.series is None:
        raise ConfigError(
            f"{scan.path} is no DICOM series, from which a derived one takes its study",
            hint="pass the DICOM series itself, or leave --dicom-out out",
        )
    if export != "none" and scan.exact is not None:
        raise ConfigError(
            f"{scan.path} holds values that single precision cannot hold, nor a derived series",
            hint="leave --dicom-out out",
        )
    if export != "none" and not is_native:
        raise ConfigError(
            "a derived DICOM series lies where its source lies",
            hint="leave --dicom-out or --space template out",
        )


def with_series(
    put: Write,
    scan: Scan,
    grid: TargetGrid,
    export: Export,
    *,
    files: Mapping[str, Path],
    made_by: Mapping[str, Any],
) -> Write:
    """Returns `put`, which then also writes mean and standard deviation as DICOM series.

    Args:
        put: Writes an image.
        scan: The source.
        grid: That is imputed.
        export: Which DICOM to write.
        files: Where the mean and the standard deviation go.
        made_by: All that decided the results.
    """
    if export == "none":
        return put

    words = json.dumps(made_by, sort_keys=True)
    refine, identity = (grid.axis, grid.factor), export == "identified"

    def write(path: Path, image: Float[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"]) -> None:
        put(path, image)
        for content in CONTENTS:
            if path == files[content]:
                write_series(
                    export_folders(path)[0],
                    image,
                    like=scan,
                    refine=refine,
                    content=content,
                    made_by=words,
                    identity=identity,
                )
        if path == files["std"]:
            write_map(
                export_folders(path)[1],
                image,
                like=scan,
                refine=refine,
                made_by=words,
                identity=identity,
            )

    return write


def remove_export(image: Path) -> None:
    """Removes the DICOM files beside an image, if there are any."""
    for folder in export_folders(image):
        remove_series(folder)


def export_folders(image: Path) -> tuple[Path, Path]:
    """Returns where the DICOM series of an image goes, and its Parametric Map."""
    return image.with_name(f"{stem(image)}_dicom"), image.with_name(f"{stem(image)}_dicom-map")
