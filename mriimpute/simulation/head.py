"""From one source scan to the files of one simulated scan."""

from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Integer

from mriimpute.files import read_json, write_json
from mriimpute.geometry import Affine, resample, spacing_mm, transform
from mriimpute.io import Frame, checksum, read_scan, stem, write_grid
from mriimpute.memory import require_memory
from mriimpute.seeds import numpy_stream
from mriimpute.simulation.acquisition import (
    Acquisition,
    Box,
    Grid,
    SimulationConfig,
    acquired_near,
    displacement,
    draw,
    finest_side_mm,
    kept,
    measure,
    on_grid,
    skipped_affine,
)
from mriimpute.simulation.brain import foreground, likely_centre, read_labels
from mriimpute.simulation.registration import register
from mriimpute.simulation.sources import SourceScan
from mriimpute.simulation.template import Template, load_template, mni152

__all__ = ["needed_bytes", "record_path", "simulate_head", "template_path"]

SOURCE_BYTES = 32
"""Peak memory for a voxel of the source: 31 were measured."""

GRID_BYTES = {"native": 36, "template": 88}
"""Peak memory for a voxel of the grid: 31 and 79 were measured, 4 more for thick slices."""

TEMPLATE_BYTES = 320 * 2**20
"""Peak memory of registering to the template. At 1 mm that makes 850 MB; 742 were measured."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """A source scan, placed.

    Attributes:
        data: Intensities; finite.
        affine: From voxel indices to mm of the source.
        side_mm: Of the isotropic voxels to measure.
        labels: Label maps on the grid of `data`, by file, the best brain mask first.
        box: Where the unturned box stands.
        to_source: From mm of the box's space to mm of the source.
        frame: What the mm of the box's space mean.
        template: What the head was registered to, or None.
    """

    data: Float32[np.ndarray, "i j k"]
    affine: Affine
    side_mm: float
    labels: dict[Path, Float32[np.ndarray, "i j k"]]
    box: Box
    to_source: Affine
    frame: Frame
    template: Template | None = None


def template_path(config: SimulationConfig) -> Path:
    """Returns the file of the template."""
    return mni152() if config.template == "mni152" else config.template


def record_path(out: Path, scan: SourceScan) -> Path:
    """Returns the file that is written last: where it is, the scan is complete."""
    return out / "truth" / scan.subject / "anat" / f"{scan.name}.json"


def needed_bytes(source: tuple[int, ...], grid: tuple[int, ...], config: SimulationConfig) -> int:
    """Returns the memory that a simulation takes, beyond what the process holds before.

    Args:
        source: Shape of the scan.
        grid: Shape of what is measured of it.
        config: How scans are made sparse.

    Example:
        >>> needed_bytes((2, 2, 2), (1, 1, 1), SimulationConfig(register=False))
        292
    """
    fixed = TEMPLATE_BYTES if config.register else 0
    return fixed + SOURCE_BYTES * prod(source) + GRID_BYTES[config.space] * prod(grid)


def simulate_head(
    scan: SourceScan,
    out: Path,
    config: SimulationConfig,
    *,
    seed: int,
    limit_bytes: int | None = None,
) -> dict[str, Any]:
    """Writes the sparse scan, its truth, brain and label maps; returns the record of the draws.

    Args:
        scan: The source.
        out: The simulation folder.
        config: How scans are made sparse.
        seed: Of every random draw.
        limit_bytes: Memory that may be taken; None: unknown, so no limit.

    Raises:
        VolumeError: If the source or a label map cannot be read, or the head not be registered.
        OutputError: If a file cannot be written.
        ResourceError: If there is not enough memory.
    """
    head = _placed(scan, config)
    config.require_slices(head.side_mm)
    acquisition = draw(config, numpy_stream(seed, "simulate", scan.name))
    turned = on_grid(config, head.box, side_mm=head.side_mm, angles_deg=acquisition.angles_deg)
    needed = needed_bytes(head.data.shape, turned.shape, config)
    require_memory(needed, limit_bytes, what=str(scan.path))
    native = config.space == "native"
    grid = turned if native else on_grid(config, head.box, side_mm=head.side_mm)
    measured = partial(
        measure,
        head.data,
        head.affine,
        grid,
        to_source=head.to_source,
        normal=turned.affine[:3, acquisition.axis] / head.side_mm,
        order=config.order,
    )
    acquired = measured(thickness_mm=config.thickness_mm)

    generator = numpy_stream(seed, "motion", scan.name)
    stated = displacement(config, head.box.centre_ras, generator)  # by the header of each file
    start = scan.entities if native else f"{scan.entities}_space-template"
    cohort = out / "cohort" / scan.subject / "anat"
    pattern = (acquisition.axis, acquisition.phase, config.keep_every)
    if native:
        sparse, affine = acquired[kept(grid, *pattern)], skipped_affine(grid, *pattern)
    else:
        observed = acquired_near(grid, turned, *pattern)
        sparse, affine = np.where(observed, acquired, np.float32(np.nan)), grid.affine
        name = f"{start}_desc-observed_mask.nii.gz"
        write_grid(cohort / name, observed.astype(np.uint8), stated @ affine, frame=head.frame)
    name = f"{start}_{scan.suffix}.nii.gz"
    write_grid(cohort / name, sparse, stated @ affine, frame=head.frame)
    _forget_labels(record_path(out, scan), start, scan)
    truth = measured() if config.thickness_mm else acquired  # no profile blurs the truth
    _write_truth(out / "truth" / scan.subject / "anat", start, scan, head, grid, truth, stated)

    record = _record(scan, acquisition, head, turned)
    if config.motion:
        record["motion"] = stated.tolist()
    write_json(record_path(out, scan), record)
    return record


def _placed(scan: SourceScan, config: SimulationConfig) -> Head:
    volume = read_scan(scan.path).volume
    data, affine = np.where(volume.observed, volume.data, np.float32(0)), volume.affine
    side_mm = finest_side_mm(affine) if config.spacing == "source" else config.spacing
    labels = {path: read_labels(path, shape=volume.shape, affine=affine) for path in scan.labels}
    place = partial(Head, data=data, affine=affine, side_mm=side_mm, labels=labels)
    if not config.register:
        brain = next(iter(labels.values())) > 0 if labels else None
        box = _box_of_scan(data, affine, brain, config, side_mm)
        return place(box=box, to_source=np.eye(4), frame="scanner")

    template = _template(template_path(config))
    return place(
        box=Box(template.centre_ras, np.eye(3)),
        to_source=register(data, affine, template, name=str(scan.path)),
        frame="mni152" if config.template == "mni152" else "aligned",
        template=template,
    )


@lru_cache(maxsize=1)
def _template(path: Path) -> Template:
    return load_template(path)


def _box_of_scan(
    data: Float32[np.ndarray, "i j k"],
    affine: Affine,
    brain: Bool[np.ndarray, "i j k"] | None,
    config: SimulationConfig,
    side_mm: float,
) -> Box:
    """Returns a box along the axes of the scan, around its brain, voxels upon voxels.

    Unturned and with the spacing of the scan, the grid then consists of voxels of the scan.
    """
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing_mm(affine))
    axes = left @ right
    if brain is not None and brain.any():
        corners = np.argwhere(brain)
        centre = transform(affine, (corners.min(axis=0) + corners.max(axis=0)) / 2)
    else:
        _, centre = likely_centre(data, affine)

    first = on_grid(config, Box(centre, axes), side_mm=side_mm).affine[:3, 3]
    index = transform(np.linalg.inv(affine), first)
    return Box(centre + affine[:3, :3] @ (np.rint(index) - index), axes)


def _write_truth(
    folder: Path,
    start: str,
    scan: SourceScan,
    head: Head,
    grid: Grid,
    truth: Float32[np.ndarray, "i j k"],
    stated: Affine,
) -> None:
    affine = stated @ grid.affine
    for path, labels in head.labels.items():
        if stem(path).endswith("_dseg"):
            name = f"{start}{scan.label_ending(path)}.nii.gz"
            write_grid(folder / name, _nearest(labels, head, grid), affine, frame=head.frame)
    brain = _brain(head, grid).astype(np.uint8)
    name = f"{start}_desc-brain_mask.nii.gz"
    write_grid(folder / name, brain, affine, frame=head.frame)
    write_grid(folder / f"{start}_{scan.suffix}.nii.gz", truth, affine, frame=head.frame)


def _forget_labels(record: Path, start: str, scan: SourceScan) -> None:
    """Removes the label maps of an earlier run: of one that the source lost nothing is written."""
    names = read_json(record).get("labels", []) if record.is_file() else []
    for name in names:
        (record.parent / f"{start}{scan.label_ending(Path(name))}.nii.gz").unlink(missing_ok=True)


def _brain(head: Head, grid: Grid) -> Bool[np.ndarray, "i j k"]:
    if head.labels:
        return _nearest(next(iter(head.labels.values())), head, grid) > 0
    if head.template is None:
        # Not that of the truth: around a stripped brain a spline rings, and air is no longer 0.
        return _nearest(foreground(head.data).astype(np.float32), head, grid) > 0
    # The template's brain may reach out of the source's field of view.
    in_view = _nearest(np.ones_like(head.data), head, grid) > 0
    template = head.template
    brain = resample(
        template.brain.astype(np.float32),
        template.affine,
        to_shape=grid.shape,
        to_affine=grid.affine,
        order=0,
    )
    return in_view & (brain > 0)


def _nearest(
    labels: Float32[np.ndarray, "i j k"], head: Head, grid: Grid
) -> Integer[np.ndarray, "i2 j2 k2"]:
    nearest = resample(
        labels,
        head.affine,
        to_shape=grid.shape,
        to_affine=head.to_source @ grid.affine,
        order=0,
    )
    # Scaled integers may be off by rounding. A negative label says "no structure", as 0 does: it
    # is no brain either, and in bytes it would come back as label 255.
    whole = np.rint(nearest).clip(min=0)
    return whole.astype(np.uint8 if labels.max() < 255.5 else np.int32)


def _record(
    scan: SourceScan, acquisition: Acquisition, head: Head, turned: Grid
) -> dict[str, Any]:
    labels_sha256 = {path.name: checksum(path) for path in scan.labels}
    return {
        "subject": scan.subject,
        "source": scan.path.name,
        "source_sha256": checksum(scan.path),
        "labels": [path.name for path in scan.labels],
        **({"labels_sha256": labels_sha256} if labels_sha256 else {}),
        "angles_deg": list(acquisition.angles_deg),
        "phase": acquisition.phase,
        "plane": acquisition.plane,
        "voxel_mm": head.side_mm,
        "shape": list(turned.shape),
        "turned_affine": turned.affine.tolist(),
        "to_source": head.to_source.tolist(),
    }
