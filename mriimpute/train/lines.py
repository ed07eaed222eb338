"""What the cross-plane network learns from and is judged by: the slices of a cohort, in memory."""

import logging
from collections.abc import Sequence

from mriimpute.data import Cohort
from mriimpute.data.lines import has_room, whole_slices
from mriimpute.data.slices import SliceScan, coarser, gaps_of, read_slices
from mriimpute.errors import TrainingError
from mriimpute.inference.line_scores import Watched, watched
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream
from mriimpute.train.settings import LineSettings

__all__ = ["read_lines"]

log = logging.getLogger(__name__)

COARSEST_MM = 2.0
FEWEST_PIXELS = 32
"""Up to which size, and down to which number of pixels, slices are shown coarser than they are."""


def read_lines(
    scans: Cohort, settings: LineSettings, track: Track
) -> tuple[list[SliceScan], dict[int, list[Watched]]]:
    """Returns the slices to learn from, and those to watch by size of the gap.

    Args:
        scans: To learn from and to watch.
        settings: Of the run.
        track: Shows progress.

    Raises:
        TrainingError: If no scan has slices to learn from.
    """
    paths = (*scans.train, *scans.val)
    read = [read_slices(path) for path in track(paths, total=len(paths), label="reading")]
    train = [scan for scan in read[: len(scans.train)] if scan is not None and has_room(scan)]
    val = [scan for scan in read[len(scans.train) :] if scan is not None]
    if not train:
        raise TrainingError(
            "no scan of the cohort is a stack of slices without holes, large enough to hide "
            "lines in, and with gaps between them",
            hint="train another --model, which takes any pattern of missing voxels",
        )
    if not val:
        log.warning("no scans to watch: the spread is calibrated on those that were learnt from")
    watch = _watch(train, val or train, settings)

    scales = settings.lines.scales
    pairs = [(scan, scale) for scale in scales for scan in train if _fits(scan, scale)]
    shown = track(pairs, total=len(pairs), label="resizing slices")
    return [coarser(scan, scale) for scan, scale in shown] or train, watch


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


def _fits(scan: SliceScan, scale: float) -> bool:
    """Tells whether a scan is to be shown with pixels so many times as long."""
    large = scale * max(scan.pixel_mm) > COARSEST_MM
    small = min(scan.slices.shape[1:]) < FEWEST_PIXELS * scale
    return scale == 1 or not (large or small)
