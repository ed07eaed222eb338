"""Other scans of the same head, brought onto the grid of the scan that they help.

Each is imputed in its own frame where it has gaps itself, aligned rigidly, as people move between
series, and resampled once.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import refinement, to_target_grid
from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.geometry import Affine, find_stack, resample
from mriimpute.imputation.coding import coded
from mriimpute.interpolation import interpolated
from mriimpute.io import Form, checksum, held_otherwise, read_scan
from mriimpute.methods.base import LEAST_COMPANION_DB, Imputation, Imputer
from mriimpute.progress import SILENT, Progress
from mriimpute.registration import NO_MOTION, Motion, motion_between
from mriimpute.stopwatch import stage
from mriimpute.volume import Companion, Volume

__all__ = ["Aligned", "HelpedImputer", "aligned", "gained_in_words"]

log = logging.getLogger(__name__)

FILLING_SECONDS, PLACING_SECONDS = 2.7, 2.0
"""Of one CPU core, about, to fill the gaps of a companion and to bring it onto the grid, for a
million voxels of that: a companion shows the same head, and its size is known once it is read."""

PARALLEL = 0.7
"""Cosine of the angle between slices from which on they do not cross."""

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
    content: str = "",
    form: Form = "auto",
    ignored: dict[str, str] | None = None,
    progress: Progress = SILENT,
) -> Iterator[Aligned]:
    """Yields the companions of a scan, on its grid.

    Args:
        paths: Of the companions.
        volume: The scan, on the grid that is imputed.
        imputer: Fills the gaps of companions, without companions of their own.
        seed: Names its random streams.
        content: SHA-256 of the scan: a copy of it is no companion.
        form: Which NIfTI form says where a companion lies.
        ignored: Is told which cannot be used, and why; None: one of these is an error.
        progress: Is told how far it is.

    Raises:
        MriImputeError: If one cannot be read or used, and nobody wants to be told.
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
                filled, own = _filled(path, imputer, other_than=content, seed=seed, form=form)
                progress.advance("companions", steps[0])
                found = _placed(path.name, filled, own, volume, plain, imputer, seed)
        except MriImputeError as error:
            if ignored is None:
                raise
            ignored[path.name] = str(error).replace(f"{path.parent}/", "")
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


def gained_in_words(gain_db: float) -> str:
    """Returns what a companion gained, as people read it."""
    if gain_db < LEAST_COMPANION_DB:
        return "tells nothing of the gaps: changes next to nothing"
    return f"gains {gain_db:.2f} dB on hidden lines"


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
        helping = aligned(self.paths, volume, self.imputer, seed=seed, ignored={})
        helped = self.imputer.accompanied([one.companion for one in helping])
        return helped.impute(volume, seed=seed, case=case)


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """A scan without gaps.

    Attributes:
        mean: Intensities, or coefficients of a spline through them.
        affine: Of the intensities.
        across: Axis across its acquired slices, of one that had gaps; None of another.
    """

    mean: Float[np.ndarray, "a b c"]
    affine: Affine
    across: int | None = None

    def crosses(self, volume: Volume) -> bool:
        """Tells whether it may have seen what lies between the slices of a volume."""
        stack = find_stack(volume.observed)
        if self.across is None or stack is None:
            return True
        ours, theirs = volume.affine[:3, stack.axis], self.affine[:3, self.across]
        lengths = np.linalg.norm(ours) * np.linalg.norm(theirs)
        return bool(abs(ours @ theirs) < PARALLEL * lengths)


def _filled(
    path: Path, imputer: Imputer, *, other_than: str, seed: int, form: Form
) -> tuple[_Filled, str]:
    """Returns a companion in its own frame, imputed where it has gaps, and its checksum."""
    scan, _ = coded(read_scan(path, observed=observed_beside(path), form=form))
    if held := held_otherwise(scan):
        raise VolumeError(
            f"{path} holds no intensities but {held}", hint="leave it out: it helps no scan"
        )
    content = checksum(path)
    if content == other_than:
        raise VolumeError(
            f"{path} is the scan that it is to help", hint="pass other scans of the same head"
        )
    _, factor = refinement(scan.volume, slice_axis=scan.slice_axis)
    if factor == 1 and scan.volume.observed.all():
        whole = scan.volume
        return _Filled(whole.data, whole.affine), content
    volume = to_target_grid(scan).volume
    stack = find_stack(volume.observed)
    made = imputer.hurried().impute(volume, seed=seed, case=content)
    across = stack.axis if stack else None
    return _Filled(made.mean.astype(np.float32), volume.affine, across), content


def _placed(
    name: str,
    filled: _Filled,
    content: str,
    volume: Volume,
    plain: Float[np.ndarray, "i j k"],
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
    spline = replace(filled, mean=ndimage.spline_filter(filled.mean, ORDER))
    best = 0
    if len(motions) > 1:
        placings = [
            _on_grid(name, spline, volume, motion, slices_alone=True) for motion in motions
        ]
        best = imputer.placed_best(volume, placings, seed=seed, case=content)
    placed = _on_grid(name, spline, volume, motions[best])
    return Aligned(placed, content, motions[best], float(np.isfinite(placed.data).mean()))


def _on_grid(
    name: str, spline: _Filled, volume: Volume, motion: Motion, *, slices_alone: bool = False
) -> Companion:
    """Returns a companion on the grid of the scan that it helps, the head moved there.

    Args:
        name: Of the companion.
        spline: Its coefficients.
        volume: The scan.
        motion: Of the head.
        slices_alone: NaN but in acquired slices, where these are equally spaced.
    """
    stack = find_stack(volume.observed) if slices_alone else None
    where, step = [slice(None)] * 3, np.eye(4)
    if stack is not None and len(set(stack.gaps)) == 1:
        first, gap = stack.positions[0], stack.gaps[0]
        where[stack.axis] = slice(first, stack.positions[-1] + 1, gap)
        step[stack.axis, [stack.axis, 3]] = gap, first
    data = np.full(volume.shape, np.nan, np.float32)
    i, j, k = data[tuple(where)].shape
    data[tuple(where)] = resample(
        spline.mean,
        spline.affine,
        to_shape=(i, j, k),
        to_affine=motion.matrix @ volume.affine @ step,
        order=ORDER,
        fill=np.nan,
        is_filtered=True,
    )
    data[~np.isfinite(data)] = np.nan
    return Companion(name, data, spline.crosses(volume))
