"""Lines hidden inside acquired slices: what teaches a network to see between slices.

Inside a slice every distance is observed, in two directions. Keep every gap-th line of a slice as
context, and the target lines between them are known. Nothing outside of the acquired slices is
ever looked at.

Axes: s = slices, x and y = inside a slice, b = batch, n = context lines, m = n - 1 intervals,
t = target lines of an interval, w = pixels of a line, p = pixels across the lines,
q = conditions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mriimpute.cohort.slices import SliceScan, gaps_of
from mriimpute.methods.cross_plane.appearance import as_extracted, recoloured
from mriimpute.methods.cross_plane.conditioning import conditioning
from mriimpute.methods.lines import hide

__all__ = [
    "LineConfig",
    "Lines",
    "draw_lines",
    "whole_slices",
]

ATTEMPTS = 64
"""Pixels looked at in search of one in the foreground."""

FEWEST_LINES = 3
"""Lines that a slice must have room for."""

ALIKE = 1.5
"""Scans share a batch where their voxels differ by no more than this ratio."""

THINNEST = 0.3
"""Of the profiles of thick slices, as a fraction of the gap."""

SMOOTHEST = 1.2
"""Standard deviation of the strongest blur, in pixels."""

# Named here, as annotations of functions inside functions are evaluated anew for every crop.
Hidden = tuple[Float32[np.ndarray, "n w"], Float32[np.ndarray, "t m w"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LineConfig:
    """How lines are hidden.

    Attributes:
        gaps: Distances between context lines that the model is to know, in voxels.
        gap_mm: Least and greatest such distance, in mm. A gap that a scan has itself is taken
            whatever it is.
        own_gap: Fraction of batches with a gap that the scans themselves have.
        lines: Kept lines of a crop, at most.
        edge: Pixels of a line in a crop, at most.
        short: Fraction of batches with two to four lines: stacks have ends and uneven gaps.
        foreground: Fraction of crops that surely hold a pixel of the head.
        thick: Fraction of batches whose lines are averages over a slice profile.
        smooth: Fraction of crops that are blurred, lines and target lines alike: scans that were
            resampled or denoised are smooth.
        extracted: Fraction of crops that are shown as of an extracted brain: black, but for what
            lies deep in the head.
        scales: Each scan is also learnt from with pixels so many times as long, up to 2 mm; or
            so many times as short, by interpolation, down to 0.9 mm.
        gamma: Largest log of the power that intensities are raised to.
        contrast: Fraction of crops whose intensities go through a random curve.
    """

    gaps: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    gap_mm: tuple[float, float] = (2.5, 9.0)
    own_gap: float = 0.5
    lines: int = 20
    edge: int = 64
    short: float = 0.05
    foreground: float = 0.9
    thick: float = 0.2
    smooth: float = 0.2
    extracted: float = 0.3
    scales: tuple[float, ...] = (0.5, 1.0, 1.2, 1.4, 1.7, 2.0)
    gamma: float = 0.3
    contrast: float = 0.15

    def __post_init__(self) -> None:
        if not self.gaps or min(self.gaps) < 2:
            raise ValueError(f"gaps must be at least 2, got {self.gaps}")
        if self.edge < 8:
            raise ValueError(f"edge must be at least 8, got {self.edge}")
        if not 0 < self.gap_mm[0] <= self.gap_mm[1]:
            raise ValueError(f"gap_mm must be the least and the greatest gap, got {self.gap_mm}")
        if self.lines < 2:
            raise ValueError(f"lines must be at least 2, got {self.lines}")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales must be above 0, got {self.scales}")
        for name in ("own_gap", "short", "foreground", "thick", "smooth", "extracted", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, got {getattr(self, name)}")
        if self.gamma < 0:
            raise ValueError(f"gamma must be at least 0, got {self.gamma}")


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Images of which every gap-th line is context.

    Attributes:
        context: Normalised intensities of the lines that are shown.
        target: Those between them, which are to be predicted.
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm, of each image.
        along_mm: Size of the pixels of a line, of each image.
        thickness: Full width at half maximum of the profile that lines are averages over, as a
            fraction of the gap, of each image; 0: point samples.
        names: The scan of each image.
        foreground: Intensity that separates the head from the air, of each image.
        directions: See `Directions`, of each image.
    """

    context: Float32[np.ndarray, "b n w"]
    target: Float32[np.ndarray, "b t m w"]
    gap: int
    gap_mm: Float32[np.ndarray, " b"]
    along_mm: Float32[np.ndarray, " b"]
    thickness: Float32[np.ndarray, " b"]
    names: tuple[str, ...]
    foreground: Float32[np.ndarray, " b"]
    directions: Float32[np.ndarray, "b 6"]

    def conditions(self) -> Float32[np.ndarray, "b q"]:
        """Returns what the network is told of each image, see `conditioning`."""
        return conditioning(self.gap, self.gap_mm, self.along_mm, self.thickness, self.directions)


def draw_lines(
    scans: Sequence[SliceScan],
    batch: int,
    *,
    config: LineConfig,
    generator: np.random.Generator,
    rows: slice = slice(None),
) -> Lines:
    """Returns crops of random slices, in one of their directions, flipped at random.

    Args:
        scans: At least one; all of them have room for lines.
        batch: Number of crops.
        config: How to draw.
        generator: All randomness.
        rows: Of the batch, which alone are cut out and returned: those of a process that shares
            it with others.
    """
    first = scans[int(generator.integers(len(scans)))]
    alike = [scan for scan in scans if 1 / ALIKE < scan.voxel_mm / first.voxel_mm < ALIKE]
    chosen = [first, *(alike[n] for n in generator.integers(len(alike), size=batch - 1))]
    last = (generator.random(batch) < 0.5).tolist()
    turned = [scan.directions[-1 if n else 0] for scan, n in zip(chosen, last, strict=True)]
    rooms = [_room(scan, turn) for scan, turn in zip(chosen, turned, strict=True)]
    gap = _gap(chosen, min(across for across, _ in rooms), config, generator)

    longest = min(across for across, _ in rooms)  # in voxels
    most = max(2, min(config.lines, 1 + (longest - 1) // gap))
    lines = int(generator.integers(2, 5)) if generator.random() < config.short else most
    size = min(lines, most), min(config.edge, *(along for _, along in rooms))
    thickness = generator.uniform(THINNEST, 1) if generator.random() < config.thick else 0.0

    cuts = [
        _cut(scan, turn, gap, size, thickness, config, generator)
        for scan, turn in zip(chosen, turned, strict=True)
    ]
    crops = [cut() for cut in cuts[rows]]
    return _gathered(crops, gap, thickness, chosen[rows], turned[rows])


def _gap(
    chosen: Sequence[SliceScan], longest: int, config: LineConfig, generator: np.random.Generator
) -> int:
    """Returns a random gap in voxels for which slices of `longest` voxels have room."""
    voxel_mm = chosen[0].voxel_mm
    low, high = config.gap_mm
    if generator.random() < config.own_gap:
        known = gaps_of(chosen)
    else:
        wanted = generator.uniform(low, high) / voxel_mm
        known = [min(config.gaps, key=lambda gap: abs(gap - wanted))]
    fitting = [gap for gap in known if (FEWEST_LINES - 1) * gap < longest] or [2]
    return int(generator.choice(fitting))


def whole_slices(
    scans: Sequence[SliceScan], gap: int, count: int, *, generator: np.random.Generator
) -> list[Lines]:
    """Returns whole slices of the scans in turn, one at a time, as they are.

    Where there are more scans than slices wanted, they are of scans from all over the list, whose
    lines run one way and the other by turns.

    Args:
        scans: To be looked at; at least one.
        gap: Between context lines, in voxels.
        count: Number of slices, at most: those without room for the lines are left out.
        generator: Chooses slices and the first line.
    """
    found, many = [], len(scans)
    for number in range(count):
        scan = scans[number * many // count if many >= count else number % many]
        way = number if many >= count else number // many
        turn = scan.directions[way % len(scan.directions)]
        across, _ = _room(scan, turn)
        start = int(generator.integers(gap))
        place = _place(scan, 1.0, generator)()[0]
        step = scan.steps[turn]
        if across - start <= gap * (FEWEST_LINES - 1):
            continue
        image = scan.slices[place].T if turn else scan.slices[place]
        context, target = hide(image[start * step :].astype(np.float32), gap, step)
        found.append(_gathered([(context, target)], gap, 0.0, [scan], [turn]))
    return found


def _room(scan: SliceScan, turn: bool) -> tuple[int, int]:
    """Returns how many voxels there are across the lines, and how many pixels along them."""
    across, along = scan.slices.shape[1:][:: -1 if turn else 1]
    return (across - 1) // scan.steps[turn] + 1, along


def _cut(
    scan: SliceScan,
    turn: bool,
    gap: int,
    size: tuple[int, int],
    thickness: float,
    config: LineConfig,
    generator: np.random.Generator,
) -> Callable[[], Hidden]:
    """Draws all that a crop depends on, and returns what then cuts it out."""
    lines, width = size
    step = scan.steps[turn]
    extent = np.array([(lines - 1) * gap * step + 1, width])
    place = _place(scan, config.foreground, generator)
    before = generator.integers(extent)
    flips = tuple(axis for axis in (0, 1) if generator.random() < 0.5)
    blur = generator.uniform(0, SMOOTHEST) if generator.random() < config.smooth else None
    recolour = recoloured(config.gamma, config.contrast, generator)
    extract = as_extracted(scan, config.extracted, generator)

    def cut() -> Hidden:
        number, *pixel = place()
        whole = extract(scan.slices[number])
        image = whole.T if turn else whole
        room = np.array(image.shape) - extent
        around = np.array(pixel[::-1] if turn else pixel)
        start = np.clip(around - before, 0, np.maximum(room, 0))
        (top, left), (height, _) = start.tolist(), extent.tolist()
        crop = image[top : top + height, left : left + width].astype(np.float32)
        crop = np.flip(crop, flips)
        if blur is not None:
            crop = ndimage.gaussian_filter(crop, blur, mode="nearest")
        return hide(recolour(crop), gap, step, thickness)

    return cut


def _place(
    scan: SliceScan, foreground: float, generator: np.random.Generator
) -> Callable[[], tuple[int, int, int]]:
    """Draws what then finds a slice and a pixel of it, mostly in the head."""
    picks = generator.integers(scan.slices.shape, size=(ATTEMPTS, 3))
    wanted = generator.random() < foreground

    def find() -> tuple[int, int, int]:
        inside = scan.slices[tuple(picks.T)] > scan.foreground
        number, x, y = picks[np.argmax(inside) if wanted and inside.any() else 0].tolist()
        return number, x, y

    return find


def _gathered(
    crops: Sequence[tuple[Float32[np.ndarray, "n w"], Float32[np.ndarray, "t m w"]]],
    gap: int,
    thickness: float,
    scans: Sequence[SliceScan],
    turned: Sequence[bool],
) -> Lines:
    across = [scan.steps[t] * scan.pixel_mm[t] for scan, t in zip(scans, turned, strict=True)]
    along = [scan.pixel_mm[not t] for scan, t in zip(scans, turned, strict=True)]
    ways = [scan.cosines[t] + scan.cosines[not t] for scan, t in zip(scans, turned, strict=True)]
    return Lines(
        context=np.stack([context for context, _ in crops]),
        target=np.stack([target for _, target in crops]),
        gap=gap,
        gap_mm=np.array(across, np.float32) * np.float32(gap),
        along_mm=np.array(along, np.float32),
        thickness=np.full(len(crops), thickness, np.float32),
        names=tuple(scan.name for scan in scans),
        foreground=np.array([scan.foreground for scan in scans], np.float32),
        directions=np.array(ways, np.float32),
    )
