"""Other scans of the same head, brought onto the grid of the scan that they help.

Each is imputed in its own frame where it has gaps itself, aligned rigidly, as people move between
series, and resampled once.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.normalisation import normalisation
from mriimpute.cohort.split import observed_beside
from mriimpute.cohort.target_grid import refinement, to_target_grid
from mriimpute.errors import MriImputeError, VolumeError
from mriimpute.geometry import Affine, find_stack, resample, slice_step
from mriimpute.imputation.coding import coded
from mriimpute.interpolation import interpolated
from mriimpute.io import Form, checksum, held_otherwise, read_scan
from mriimpute.methods.base import Imputation, Imputer
from mriimpute.progress import SILENT, Progress
from mriimpute.registration import Motion, motion_between
from mriimpute.stopwatch import stage
from mriimpute.volume import Companion, Volume

__all__ = ["Aligned", "HelpedImputer", "aligned"]

log = logging.getLogger(__name__)

ALIGNING_SECONDS = 6.0
"""Of one CPU core, about, for a companion."""

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
    reference, affine = _acquired(volume)
    shown = normalisation(volume).apply(reference)
    head = shown > foreground_level(shown.ravel())
    for path in paths:
        try:
            with stage("companions"):
                filled, content = _filled(path, imputer, seed=seed, form=form)
                with_motion = partial(motion_between, reference, affine, head=head)
                motion = _motion(path.name, filled, with_motion)
                found = _moved(path.name, filled, content, volume, motion)
        except MriImputeError as error:
            if strict:
                raise
            log.warning("%s helps nobody: %s", path.name, error)
            continue
        progress.advance("companions", ALIGNING_SECONDS)
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
        std: How uncertain they are; 0 where acquired.
        affine: Of both.
        step_mm: From one acquired slice to the next; 0 without gaps.
    """

    mean: Float32[np.ndarray, "a b c"]
    std: Float32[np.ndarray, "a b c"]
    affine: Affine
    step_mm: Float64[np.ndarray, " 3"]


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
        nothing = np.zeros_like(whole.data)
        return _Filled(whole.data, nothing, whole.affine, np.zeros(3)), content
    grid = to_target_grid(scan)
    volume = grid.volume
    apart = slice_step(volume.observed, grid.axis, otherwise=grid.factor)
    step_mm = apart * volume.affine[:3, grid.axis]
    made = imputer.hurried().impute(volume, seed=seed, case=content)
    std = np.zeros_like(volume.data) if made.std is None else made.std.astype(np.float32)
    return _Filled(made.mean.astype(np.float32), std, volume.affine, step_mm), content


def _acquired(volume: Volume) -> tuple[Float32[np.ndarray, "i j k"], Affine]:
    """Returns what a head is compared by: the acquired slices alone, where they lie evenly.

    What lies between them is smooth, and would look moved.
    """
    filled = interpolated(volume, "pchip")
    stack = find_stack(volume.observed)
    if stack is None or len(set(stack.gaps)) > 1:
        return filled, volume.affine
    kept = [slice(None)] * 3
    kept[stack.axis] = slice(stack.positions[0], None, stack.gaps[0])
    affine = volume.affine.copy()
    affine[:3, 3] += stack.positions[0] * affine[:3, stack.axis]
    affine[:3, stack.axis] *= stack.gaps[0]
    i, j, k = kept
    return filled[i, j, k], affine


def _motion(name: str, filled: _Filled, between: Callable[..., Motion]) -> Motion:
    try:
        return between(filled.mean, filled.affine)
    except ValueError as error:
        raise VolumeError(f"{name}: {error}", hint="leave it out: it helps no scan") from error


def _moved(name: str, filled: _Filled, content: str, volume: Volume, motion: Motion) -> Aligned:
    """Returns a companion on the grid of the scan that it helps."""
    to_affine = motion.matrix @ volume.affine

    def on_grid(image: Float32[np.ndarray, "a b c"], order: int) -> Float32[np.ndarray, "i j k"]:
        return resample(
            image,
            filled.affine,
            to_shape=volume.shape,
            to_affine=to_affine,
            order=order,
            fill=np.nan,
        )

    data, std = on_grid(filled.mean, ORDER), on_grid(filled.std, 1)
    seen = np.isfinite(data)
    data[~seen], std[~np.isfinite(std)] = np.nan, 0
    step_mm = np.linalg.inv(motion.matrix[:3, :3]) @ filled.step_mm
    companion = Companion(name, data, std.clip(min=0), step_mm)
    return Aligned(companion, content, motion, float(seen.mean()))
