"""What the cross-plane network learns from and is judged by: the slices of a cohort."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mriimpute.cohort import Cache, Cohort
from mriimpute.cohort.slices import SliceScan, gaps_of, has_room, is_shown
from mriimpute.errors import TrainingError
from mriimpute.methods.cross_plane.hidden_lines import whole_slices
from mriimpute.methods.cross_plane.validation import Watched, watched
from mriimpute.seeds import numpy_stream
from mriimpute.train.settings import LineSettings

__all__ = ["read_lines"]

log = logging.getLogger(__name__)


def read_lines(
    scans: Cohort, settings: LineSettings, cache: Cache
) -> tuple[list[SliceScan], dict[int, list[Watched]]]:
    """Returns the slices to learn from, and those to watch by size of the gap.

    Args:
        scans: To learn from and to watch.
        settings: Of the run.
        cache: Has the scans, or they are read now.

    Raises:
        TrainingError: If no scan has slices to learn from.
    """
    found = [(path, scan) for path in scans.train if (scan := _told(path, cache))]
    usable = [(path, scan) for path, scan in found if has_room(scan)]
    val = [scan for path in scans.val if (scan := _told(path, cache))]
    if not usable:
        raise TrainingError(
            "no scan of the cohort is a stack of slices without holes, large enough to hide "
            "lines in, and with gaps between them",
            hint="train another --model, which takes any pattern of missing voxels",
        )
    if not val:
        log.warning("no scans to watch: the spread is calibrated on those that were learnt from")
    train = [scan for _, scan in usable]
    watch = _watch(train, val or train, settings)

    scales = settings.lines.scales
    pairs = [(path, scale) for scale in scales for path, scan in usable if is_shown(scan, scale)]
    shown = [cache.slices(path, scale) for path, scale in pairs]
    return [scan for scan in shown if scan] or train, watch


def _told(path: Path, cache: Cache) -> SliceScan | None:
    scan = cache.slices(path)
    if scan is None:
        log.warning("%s is no stack of slices without holes and is left out", path.name)
    return scan


def _watch(
    train: Sequence[SliceScan], val: Sequence[SliceScan], settings: LineSettings
) -> dict[int, list[Watched]]:
    """Returns slices of `val` for every gap that is asked for: `val_patches` of them, at most."""
    watch = {}
    for gap in sorted({*settings.lines.gaps, *gaps_of(train)}):
        fitting = [scan for scan in val if _asked_for(scan, gap, settings)]
        if fitting:
            generator = numpy_stream(settings.seed, "validation", gap)
            images = whole_slices(fitting, gap, settings.train.val_patches, generator=generator)
            watch[gap] = watched(images)
    return watch


def _asked_for(scan: SliceScan, gap: int, settings: LineSettings) -> bool:
    low, high = settings.lines.gap_mm
    return gap in scan.gaps or low <= gap * scan.voxel_mm <= high
