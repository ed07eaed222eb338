"""What derived images say of themselves, where a reader of images sees it."""

import re
from typing import Literal

__all__ = ["Origin", "comment", "known_words", "series_description"]

Origin = Literal["acquired", "imputed", "partly imputed"]
"""Of a slice."""

COMMENTS: dict[Origin, str] = {
    "acquired": "ACQUIRED slice, as in the source series",
    "imputed": "IMPUTED slice: never measured, estimated from those acquired",
    "partly imputed": "PARTLY IMPUTED slice: voxels that were not acquired are estimated",
}

MAX_LENGTH = 64
"""Characters of a series description."""

WORDS = re.compile(r"[^\W_]+")

PARAMETER = re.compile(
    r"t[12]w?|t2star|(te|tr|ti|fa|fov|nex|echo|run)\d{1,4}|b\d{1,4}|[prsx]\d|\d{1,2}(mm|d|ch)"
)
"""A word with a number that is one of the acquisition. Bare numbers may be a date of birth."""

TRADE = """
2d 3d adc angio anatomical asl ax axial blade bold brain bravo c caipi ce cervical ciss contrast
cor coronal cranial cranium cs cube dark dce deep dis2d dis3d dixon dl dsc dti dual dwi echo epi
fast fat fatsat ffe fiesta filt filtered fisp fl2d fl3d flair fmri followup fs fse fspgr gad gado
gadolinium gap gd ge gradient grappa gre haste head hemo high highres hires hr iac image images in
inphase interleaved inv inversion ir iso isotropic km kopf loc localizer mag magnitude medic merge
mip mm motion mp2rage mpr mprage mr mra mri mrv nav nd neck neuro norm normal obl oblique opp orbit
orbits out outphase pc pca pd pdw perf perfusion phantom phase pituitary post pre propeller
protocol proton density quick recon repeat research resolution rest resting rf routine rpt sag
sagittal sat scan scout se sella sense seq sequence series slice slices space spair spgr spin spine
spir spoiled ssfse standard star stir swan swi temporal test tfe tfl thick thin tirm tof tra trans
transversal transverse trufi tse tumor turbo ultra vibe vista vol volume water weighted whole with
without wo
"""

VOCABULARY = frozenset(TRADE.split())
"""What a description may say without naming anybody."""


def known_words(text: str) -> str:
    """Returns the words of a description that are of the trade: others may name a patient.

    Example:
        >>> known_words("AX T2_FLAIR 5mm, J. Smith 14.09.1937")
        'AX T2 FLAIR 5mm'
    """
    words = WORDS.findall(text)
    return " ".join(w for w in words if w.lower() in VOCABULARY or PARAMETER.fullmatch(w.lower()))


def series_description(source: str, number: int, part: str, content: str) -> str:
    """Returns the description of a derived series: that of its source, and what was made of it.

    Args:
        source: Description of the source, empty where it has none.
        number: Of the source series.
        part: Which of its volumes, empty where there is one.
        content: Such as "imputed mean".

    Example:
        >>> series_description("AX T2", 3, "echo1", "imputed mean")
        'AX T2 echo1 imputed mean'
    """
    end = " ".join(filter(None, (part, content)))
    start = (source or f"series {number}")[: MAX_LENGTH - len(end) - 1]
    return f"{start.strip()} {end}"


def comment(origin: Origin, content: str) -> str:
    """Returns the comment of an image.

    Args:
        origin: Of its slice.
        content: Of the series, such as "imputed mean".
    """
    return f"{COMMENTS[origin]} ({content} by mriimpute). For research; not a medical device."
