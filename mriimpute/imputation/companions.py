"""Other scans of the same head, brought onto the grid of the scan that they help.

Each is imputed in its own frame where it has gaps itself, aligned rigidly, as people move between
series, and resampled once.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import refinement, to_target_grid
from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.geometry import Affine, resample
from mriimpute.imputation.coding import coded
from mriimpute.interpolation import interpolated
from mriimpute.io import Form, checksum, held_otherwise, read_scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.progress import SILENT, Progress
from mriimpute.registration import NO_MOTION, Motion, motion_between
from mriimpute.stopwatch import stage
from mriimpute.volume import Companion, Volume

__all__ = ["Aligned", "HelpedImputer", "aligned"]

log = logging.getLogger(__name__)

FILLING_SECONDS, PLACING_SECONDS = 2.7, 2.0
"""Of one CPU core, about, to fill the gaps of a companion and to bring it onto the grid, for a
million voxels of that: a companion shows the same head, and its size is known once it is read."""

ORDER = 3
"""Of the B-spline that brings a companion onto the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """A companion, and how it came onto the grid.

    Attributes:
        companion: What helps.
        content: SHA-256 of its file.
        motion: Of the head, from the scan that it helps.
        share: Of the grid that it saw.
    """

    companion: Companion
    content: str
    motion: Motion
    share: float

    def facts(self) -> dict[str, Any]:
        """Returns what is recorded of it."""
        return {
            "name": self.companion.name,
            "sha256": self.content,
            "moved_mm": round(self.motion.shift_mm, 3),
            "turned_deg": round(self.motion.turn_deg, 3),
            "seen_share": round(self.share, 4),
        }


def aligned(
    paths: Sequence[Path],
    volume: Volume,
    imputer: Imputer,
    *,
    seed: int,
    form: Form = "auto",
    strict: bool = True,
    progress: Progress = SILENT,
) -> Iterator[Aligned]:
    """Yields the companions of a scan, on its grid.

    Args:
        paths: Of the companions.
        volume: The scan, on the grid that is imputed.
        imputer: Fills the gaps of companions, without companions of their own.
        seed: Names its random streams.
        form: Which NIfTI form says where a companion lies.
        strict: One that cannot be used is an error; otherwise it is left out, and named.
        progress: Is told how far it is.

    Raises:
        MriImputeError: If one cannot be read or used, and `strict`.
    """
    if not paths:
        return
    plain = interpolated(volume, "pchip")
    millions = volume.data.size / 1e6
    steps = FILLING_SECONDS * millions, PLACING_SECONDS * millions
    progress.plan("companions", sum(steps) * len(paths))
    progress.advance("companions")
    for path in paths:
        try:
            with stage("companions"):
                filled, content = _filled(path, imputer, seed=seed, form=form)
                progress.advance("companions", steps[0])
                found = _placed(path.name, filled, content, volume, plain, imputer, seed)
        except MriImputeError as error:
            if strict:
                raise
            log.warning("%s helps nobody: %s", path.name, error)
            progress.plan("companions", -sum(steps))
            continue
        progress.advance("companions", steps[1])
        motion = found.motion
        log.info(
            "%s: moved by %.1f mm and %.1f degrees; it saw %.0f%% of its grid",
            path.name,
            motion.shift_mm,
            motion.turn_deg,
            100 * found.share,
        )
        yield found


class HelpedImputer(Imputer):
    """Imputes a volume with the help of other scans of the same head.

    Args:
        imputer: That uses companions.
        paths: Of these; one that cannot be used is left out, and named.
    """

    def __init__(self, imputer: Imputer, paths: Sequence[Path]) -> None:
        self.name = imputer.name
        self.device = imputer.device
        self.gives_draws = imputer.gives_draws
        self.imputer, self.paths = imputer, paths

    def impute(self, volume: Volume, *, seed: int, case: str) -> Imputation:
        """Returns the completed volume."""
        helping = aligned(self.paths, volume, self.imputer, seed=seed, strict=False)
        helped = self.imputer.accompanied([one.companion for one in helping])
        return helped.impute(volume, seed=seed, case=case)


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """A scan without gaps.

    Attributes:
        mean: Intensities.
        affine: Of the intensities.
    """

    mean: Float32[np.ndarray, "a b c"]
    affine: Affine


def _filled(path: Path, imputer: Imputer, *, seed: int, form: Form) -> tuple[_Filled, str]:
    """Returns a companion in its own frame, imputed where it has gaps, and its checksum."""
    scan, _ = coded(read_scan(path, observed=observed_beside(path), form=form))
    if held := held_otherwise(scan):
        raise VolumeError(
            f"{path} holds no intensities but {held}", hint="leave it out: it helps no scan"
        )
    content = checksum(path)
    _, factor = refinement(scan.volume, slice_axis=scan.slice_axis)
    if factor == 1 and scan.volume.observed.all():
        whole = scan.volume
        return _Filled(whole.data, whole.affine), content
    volume = to_target_grid(scan).volume
    made = imputer.hurried().impute(volume, seed=seed, case=content)
    return _Filled(made.mean.astype(np.float32), volume.affine), content


def _placed(
    name: str,
    filled: _Filled,
    content: str,
    volume: Volume,
    plain: Float32[np.ndarray, "i j k"],
    imputer: Imputer,
    seed: int,
) -> Aligned:
    """Returns a companion where its header puts it, or moved, whichever tells more of the scan."""
    try:
        # Its voxels are compared: of the scan, those between slices are smooth.
        back = motion_between(filled.mean, filled.affine, plain, volume.affine)
    except ValueError as error:
        raise VolumeError(f"{name}: {error}", hint="leave it out: it helps no scan") from error
    motions = [NO_MOTION] if back is NO_MOTION else [NO_MOTION, back.inverse()]
    places = [_on_grid(name, filled, volume, motion) for motion in motions]
    best = imputer.placed_best(volume, places, seed=seed, case=content) if len(places) > 1 else 0
    share = float(np.isfinite(places[best].data).mean())
    return Aligned(places[best], content, motions[best], share)


def _on_grid(name: str, filled: _Filled, volume: Volume, motion: Motion) -> Companion:
    """Returns a companion on the grid of the scan that it helps, the head moved there."""
    data = resample(
        filled.mean,
        filled.affine,
        to_shape=volume.shape,
        to_affine=motion.matrix @ volume.affine,
        order=ORDER,
        fill=np.nan,
    )
    data[~np.isfinite(data)] = np.nan
    return Companion(name, data)
