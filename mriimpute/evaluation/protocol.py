"""Protocols: which voxels count, against what, and what counts as the whole intensity range.

Scores of two protocols are not comparable: each result belongs to one, which the report names.
"""

from dataclasses import dataclass
from typing import Literal

from mriimpute.errors import ConfigError

__all__ = [
    "INPAINT",
    "LINES",
    "PAPER",
    "PROTOCOLS",
    "SLICES",
    "THICK",
    "Protocol",
    "ProtocolName",
    "resolve",
]

ProtocolName = Literal["simulated", "paper", "thick", "brats-inpaint"]
"""Those with truth; "simulated" stands for the one that a simulation was made for."""

_BRAIN = (
    "missing voxels inside the brain, from the first to the last acquired slice; acquired voxels "
    "and background are never counted"
)
_BRAIN_RANGE = (
    "99.5th percentile of the truth inside the brain, per scan, in input units; the range starts "
    "at zero and nothing is clipped"
)
_HIDDEN = "what was acquired there and then hidden"
_HEAD = "The head is where what a method is shown, interpolated linearly, is no air (Otsu, halved)"
_HEAD_BIAS = (
    "No brain is known: the whole head counts, with scalp, skull and neck. On the one T1w scan "
    "where this was looked at, slices hidden, the gain over interpolation was +2.7 dB on the head "
    "and +0.7 dB on a box inside its brain."
)
_HEAD_RANGE = (
    "99.5th percentile of the acquired voxels of the head, the hidden ones included, per scan, in "
    "input units; methods are not told"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How test cases are made and predictions scored. Written to summary.json, field by field.

    Attributes:
        name: In settings and tables.
        title: What is scored, in a few words.
        answer: What predictions are compared with, in a few words.
        region: Which voxels count.
        data_range: What counts as the whole range of intensities.
        scale: The data range: "brain", a percentile of the truth in there, or "region", the
            maximum of the truth in the region.
        whole_head: No brain is known: the head takes its place, and no picture may show a face.
        bias: What to know before the numbers are believed; empty where there is nothing.
    """

    name: str
    title: str = "Missing voxels of the brain"
    answer: str = "truth that no method saw"
    region: str = _BRAIN
    data_range: str = _BRAIN_RANGE
    scale: Literal["brain", "region"] = "brain"
    whole_head: bool = False
    bias: str = ""

    @property
    def part(self) -> str:
        """Where voxels count, "head" or "brain"; pictures show nothing else."""
        return "head" if self.whole_head else "brain"


PAPER = Protocol(name="paper")
"""Slices are point samples, one in so many is kept."""

THICK = Protocol(
    name="thick",
    title="Missing voxels of the brain, slices averaged over their thickness",
    bias="acquired slices are averages over their profile, the truth is not: methods are told "
    "the thickness, and those that make no use of it interpolate blurred slices. Not comparable "
    "with scores of slices that are point samples.",
)
"""Slices are averages over their profile; the truth is not."""

INPAINT = Protocol(
    name="brats-inpaint",
    title="Missing voxels of the brain, scored as by the BraTS inpainting challenge",
    data_range="maximum of the truth in the region, per scan; both images are divided by it",
    scale="region",
    bias="PSNR, SSIM and MSE are those of the BraTS inpainting challenge of 2023: images are "
    "divided by the maximum of the truth in the region, and SSIM sees zeros outside of it. Not "
    "comparable with the other protocols; comparable with the challenge for holes like its own.",
)
"""The scoring of the BraTS inpainting challenge."""

SLICES = Protocol(
    name="slices",
    title="Acquired slices that were hidden: every second one",
    answer=_HIDDEN,
    region=f"every second acquired slice, the outermost ones left out, where the head is. {_HEAD}",
    data_range=_HEAD_RANGE,
    whole_head=True,
    bias="harder than the real task: the gap is doubled, and only its middle is scored, twice as "
    "far from acquired slices as any voxel that is really missing. Methods that know more anatomy "
    "may look better here than they are at the real gap. A hidden slice is an average over its "
    f"thickness, as its neighbours are. {_HEAD_BIAS}",
)
"""Leave slices out of real scans."""

LINES = Protocol(
    name="lines",
    title="Lines hidden inside acquired slices, one in so many kept",
    answer=_HIDDEN,
    region="hidden lines inside acquired slices, from the first to the last one shown, where the "
    f"head is. {_HEAD}",
    data_range=_HEAD_RANGE,
    whole_head=True,
    bias="easier than the real task for methods that learn from lines hidden inside slices, as "
    "`cross-plane` does: this is what they are trained on. Lines are as thin as pixels, slices "
    "are thick. Where both could be measured, with truth, a gain of 1.8 dB on lines was one of "
    f"1.18 dB between slices. Methods in 3D see slices beside each other that are far apart. "
    f"{_HEAD_BIAS}",
)
"""Leave lines out of the slices of real scans."""


PROTOCOLS = (PAPER, THICK, INPAINT, SLICES, LINES)
"""Those with truth, then those without."""


def resolve(name: ProtocolName, thickness_mm: float) -> Protocol:
    """Returns the protocol of that name for a simulation with slices of that thickness.

    Raises:
        ConfigError: If the simulation was made for the other one.
    """
    match name:
        case "simulated":
            return THICK if thickness_mm else PAPER
        case "paper" if thickness_mm:
            raise ConfigError(
                f"slices of the simulation are {thickness_mm:g} mm thick: that is no --protocol "
                "paper",
                hint="pass --protocol thick, or simulate without --thickness",
            )
        case "thick" if not thickness_mm:
            raise ConfigError(
                "slices of the simulation are point samples: that is no --protocol thick",
                hint="simulate again with --thickness MM",
            )
        case "paper":
            return PAPER
        case "thick":
            return THICK
        case "brats-inpaint":
            return INPAINT
