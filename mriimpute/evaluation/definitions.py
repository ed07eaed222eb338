"""Every number of an evaluation, once: what it means, what it is called, how it is printed.

The help, the printed table, the page and `summary.json` take meanings, titles and formats from
here, and with the files the columns from `mriimpute.evaluation.columns`.
"""

import textwrap
from dataclasses import dataclass, replace

from mriimpute.evaluation.prediction import NLL_STD_FLOOR_PERCENT
from mriimpute.evaluation.protocol import PAPER, PROTOCOLS, Protocol
from mriimpute.evaluation.regions import MIN_REGION_VOXELS
from mriimpute.metrics.statistics import MIN_SUBJECTS, RESAMPLES

__all__ = ["DEFINITIONS", "Definition", "definitions_text", "meanings"]

WIDTH = 99


@dataclass(frozen=True, slots=True)
class Definition:
    """What one number means, and how tables show it.

    Attributes:
        name: Of the field in files.
        title: In a heading.
        text: How it is computed and what is counted.
        unit: Empty for a plain number.
        better: "higher", "lower", the ideal as text, or empty where nothing is better.
        head: Of its column in tables; empty for the title.
        digits: After the point in tables; None for what is no score.
        protocol: The attribute of a protocol that holds the text; empty where all have one text.
        alike: The score that is computed alike of other voxels, and whose text holds here too.
    """

    name: str
    title: str
    text: str = ""
    unit: str = ""
    better: str = ""
    head: str = ""
    digits: int | None = None
    protocol: str = ""
    alike: str = ""

    @property
    def column(self) -> str:
        """The head of its column."""
        return self.head or self.title

    @property
    def ideal(self) -> float | None:
        """The best value; None where there is none, or it is without end."""
        return None if self.better in ("higher", "lower", "") else float(self.better)

    def form(self, *, sign: bool = False) -> str:
        """Returns the format of its numbers in tables."""
        return f"{'+' if sign else ''}.{self.digits}f"

    def meaning(self, protocol: Protocol = PAPER) -> str:
        """Returns the text with unit and direction."""
        text = getattr(protocol, self.protocol) if self.protocol else self.text
        ideal = {"higher": "higher is better", "lower": "lower is better", "": ""}
        notes = [self.unit, ideal.get(self.better, f"ideally {self.better}")]
        note = "; ".join(filter(None, notes))
        return f"{text} ({note})" if note else text


_PERCENT = "% of data range"

_REGIONS = (
    Definition(
        "region_coverage90",
        "structures covered",
        "share of structures whose true mean lies between low and high",
        better="0.9",
        head="cover 90",
        digits=3,
    ),
    Definition(
        "region_error_percent",
        "structure error",
        "root mean square over structures of mean - truth",
        unit=_PERCENT,
        better="lower",
        head="error %",
        digits=2,
    ),
    Definition(
        "region_spread_skill",
        "structure spread/skill",
        "root mean square over structures of std / that of mean - truth",
        better="1",
        head="spread/skill",
        digits=2,
    ),
    Definition(
        "region_error_stds",
        "structure error in std",
        "root mean square over structures of (mean - truth) / std; for K exact draws "
        "sqrt((K - 1) / (K - 3)), 1.06 for 20; truth that is met exactly counts 0",
        better="1",
        head="error / std",
        digits=2,
    ),
)
"""The scores of means over structures."""


def _carried(definition: Definition) -> Definition:
    """Returns the same score where labels are carried from the nearest acquired slice."""
    name = definition.name.replace("region_", "carried_")
    head = f"carried {definition.column.removeprefix('cover ')}"
    return replace(definition, name=name, head=head, alike=definition.name)


_VOLUMES = (
    Definition(
        "tissue_volume_error_percent",
        "tissue volume error of the mean",
        "absolute error of the volume found in the mean, mean over tissues",
        unit="% of volume",
        better="lower",
        head="tissue volume %",
        digits=1,
    ),
    Definition(
        "tissue_volume_draws_percent",
        "tissue volume error of draws",
        "the same of the volume pooled over draws",
        unit="% of volume",
        better="lower",
        head="by draws %",
        digits=1,
    ),
    Definition(
        "tissue_volume_coverage90",
        "tissue volumes covered",
        "share of tissues whose volume in the truth lies in the 90 % interval of the draws",
        better="0.9",
        head="cover 90",
        digits=3,
    ),
    Definition(
        "tissue_volume_coverage90_draws",
        "tissue volumes covered by draws alone",
        "the same if W were 0",
        better="0.9",
        head="W = 0",
        digits=3,
    ),
    Definition(
        "tissue_volume_error_stds",
        "tissue volume error in std",
        "root mean square over tissues of (volume by draws - that in the truth) / sqrt(T)",
        better="1",
        head="error / std",
        digits=2,
    ),
)
"""The scores of volumes."""


def _of_structures(definition: Definition) -> Definition:
    """Returns the same score of the structures of a label map."""
    return replace(
        definition,
        name=definition.name.replace("tissue", "structure"),
        title=definition.title.replace("tissue", "structure"),
        text=definition.text.replace("tissue", "structure"),
        head=f"structure {definition.head.removeprefix('tissue ')}",
    )


_ALL = (
    Definition("region", "Region", protocol="region"),
    Definition("data_range", "Data range", protocol="data_range"),
    Definition(
        "images",
        "Images",
        "ssim, hfen and gradient_psnr_db see the volumes with acquired voxels inserted and look "
        "at the neighbours of the region (windows of 11, 15 and 3 voxels); all other scores see "
        "the voxels of the region alone",
    ),
    Definition(
        "missing",
        "Empty entries",
        "a score is empty where a method does not earn it: no draws, no standard deviation, too "
        "few draws, no label map, no slices",
    ),
    Definition(
        "psnr_db",
        "PSNR",
        "20 log10(data range / RMSE) of the mean, per scan; means over scans are of dB",
        unit="dB",
        better="higher",
        head="PSNR dB",
        digits=2,
    ),
    Definition(
        "ssim",
        "SSIM",
        "3D SSIM map (that of scikit-image: Gaussian window of sigma 1.5 voxels, 11 voxels wide, "
        "population covariance, K1 0.01, K2 0.03, data range as above), averaged over the region",
        better="higher",
        digits=4,
    ),
    Definition(
        "mse",
        "MSE",
        "(RMSE / data range)^2 of the mean",
        unit="data range squared",
        better="lower",
        digits=5,
    ),
    Definition(
        "nrmse",
        "NRMSE",
        "|mean - truth| / |truth|, Euclidean norms over the region (scikit-image: 'euclidean')",
        better="lower",
        digits=4,
    ),
    Definition(
        "mae_percent",
        "MAE",
        "mean absolute error of the mean",
        unit=_PERCENT,
        better="lower",
        head="MAE %",
        digits=2,
    ),
    Definition(
        "rmse_percent",
        "RMSE",
        "root mean squared error of the mean",
        unit=_PERCENT,
        better="lower",
        head="RMSE %",
        digits=2,
    ),
    Definition(
        "hfen",
        "HFEN",
        "high-frequency error norm |LoG(mean - truth)| / |LoG(truth)| over the region, LoG the 3D "
        "Laplacian of a Gaussian of sigma 1.5 voxels, 15 voxels wide; 1 for an image without "
        "detail",
        better="lower",
        digits=3,
    ),
    Definition(
        "gradient_psnr_db",
        "gradient PSNR",
        "20 log10(data range / RMSE of the central differences along the three axes, in intensity "
        "per voxel)",
        unit="dB",
        better="higher",
        digits=2,
    ),
    Definition(
        "psnr_edge_db",
        "PSNR at edges",
        "PSNR over the fifth of the region where the truth's gradient is largest (magnitude by "
        "central differences, per voxel)",
        unit="dB",
        better="higher",
        digits=2,
    ),
    Definition(
        "psnr_flat_db",
        "PSNR off edges",
        "PSNR over the rest of the region",
        unit="dB",
        better="higher",
        digits=2,
    ),
    Definition(
        "stripes",
        "stripes",
        "fine detail in imputed slices of the mean against acquired ones: mean square of the "
        "Laplacian within a slice (second differences along its two axes) over missing voxels / "
        "that over acquired voxels of the brain, over the same ratio of the truth. Below 1 "
        "imputed slices are smoother, above 1 rougher, and seen from the side they are stripes. "
        "A conditional mean is smooth where it does not know: only draws should have 1",
        better="1",
        digits=3,
    ),
    Definition(
        "stripes_draw",
        "stripes of a draw",
        "the same of draws, in the mean over all of them",
        better="1",
        digits=3,
    ),
    Definition(
        "tissue_dice",
        "tissue Dice",
        "three classes by intensity (multi-Otsu limits fitted to the brain of the truth, applied "
        "to truth and mean alike): 2 |A and B| / (|A| + |B|), mean over the classes",
        better="higher",
        digits=3,
    ),
    Definition(
        "crps_percent",
        "CRPS",
        "fair ensemble CRPS of the draws, mean over voxels; the MAE for a method without draws",
        unit=_PERCENT,
        better="lower",
        head="CRPS %",
        digits=3,
    ),
    Definition(
        "energy_percent",
        "energy score",
        "fair ensemble energy score of blocks of 4 x 4 x 4 voxels (their voxels in the region, at "
        "least 32), over the root of their number, mean over blocks; the block RMSE of the mean "
        "for a method without draws. Sees whether neighbours err together, as CRPS does not",
        unit=_PERCENT,
        better="lower",
        head="energy %",
        digits=3,
    ),
    Definition(
        "nll_std",
        "NLL of mean and std",
        "negative log density, per percent of the data range, of a Gaussian with the stated mean "
        f"and std at the truth; std below {NLL_STD_FLOOR_PERCENT:g} % of the data range counts as "
        "that",
        unit="nats per voxel",
        better="lower",
        head="NLL std",
        digits=3,
    ),
    Definition(
        "nll_draws",
        "NLL of draws",
        "the same of the Gaussian that the draws come from (ensemble-adjusted ignorance score, "
        "Siegert et al. 2019: no number of draws is favoured); empty below 4 draws",
        unit="nats per voxel",
        better="lower",
        head="NLL draws",
        digits=3,
    ),
    Definition(
        "elbo",
        "ELBO",
        "lower bound of the joint log density, per percent of the data range, that a model of "
        "patches gives to the missing voxels of each patch given its observed ones: "
        "log mean p(x | z) q(z | observed) / q(z | observed, x) over 8 draws z of the model's own "
        "encoder, shown the truth x. Exact for ppca; as loose as that encoder is inexact. Sees "
        "whether neighbours err together; of patches before they are blended, where a voxel in "
        "several counts in each",
        unit="nats per voxel",
        better="higher",
        digits=3,
    ),
    *(
        Definition(
            f"coverage{level}",
            f"{level} % coverage",
            f"share of voxels whose truth lies in the central {level} % interval of the draws, "
            f"quantile p at rank p (K + 1) of K draws: exact for an exact sampler with any number "
            f"of draws from {needed}; empty below",
            better=f"0.{level}".rstrip("0"),
            head=f"cover {level}",
            digits=3,
        )
        for level, needed in ((50, 3), (80, 9), (90, 19), (95, 39))
    ),
    *(
        Definition(
            f"coverage{level}_std",
            f"{level} % coverage of std",
            f"share of voxels whose truth lies within {z} std of the mean",
            better=f"0.{level}".rstrip("0"),
            head=f"std {level}",
            digits=3,
        )
        for level, z in ((50, "0.674"), (80, "1.282"), (90, "1.645"), (95, "1.960"))
    ),
    Definition(
        "spread_skill",
        "spread/skill",
        "root mean variance of the draws / RMSE of the mean; below 1 too sure of itself",
        better="1",
        digits=2,
    ),
    Definition(
        "rank_distance",
        "rank distance",
        "largest distance of the cumulative rank histogram of the truth among the draws from the "
        "flat one (Kolmogorov); ties are spread evenly over the ranks they could have",
        better="0",
        digits=3,
    ),
    Definition(
        "draw_gap_db",
        "draw gap",
        "how far the squared error of one draw lies above that of the mean; less: collapsed, "
        "more: over-dispersed",
        unit="dB",
        better="3.01",
        head="draw gap dB",
        digits=2,
    ),
    Definition(
        "ause",
        "AUSE",
        "area between two curves of the RMSE that remains, over that of all voxels, as the most "
        "uncertain (std; that of the draws without one) or the worst voxels are removed, 0 to "
        "95 % of them. A constant std has 0.54 where errors are Gaussian of one size",
        better="0",
        digits=3,
    ),
    Definition(
        "regions",
        "structures",
        "structures of the label map beside the truth (integers above 0), those with at least "
        f"{MIN_REGION_VOXELS} voxels in the region above; only these voxels count. Scans without "
        "a label map are left out",
    ),
    Definition(
        "regions.tsv",
        "regions.tsv",
        "per structure: mean over its voxels of the truth, of the mean, and of each draw: of "
        "these the 5 % and 95 % quantiles (low, high; as for coverage90) and the standard "
        "deviation, in input units; empty without draws, low and high for fewer than 19",
    ),
    *_REGIONS,
    *map(_carried, _REGIONS),
    Definition(
        "carried",
        "carried labels",
        "the same four scores (carried_coverage90 ...) where a voxel's label is that of the "
        "nearest acquired voxel along the slice axis. The label map was drawn on the truth, so "
        "what lies in a structure depends on what is missing, and exact draws need not cover its "
        "mean; here they do",
    ),
    Definition(
        "labels",
        "each structure",
        "the scores above of one structure, over the scans that have it instead of over "
        "structures; each scan's errors in percent of its data range",
    ),
    Definition(
        "structure_dice",
        "structure Dice",
        "structures are found in truth and mean by one rule: the label of highest posterior, its "
        "prior the label map smoothed by 1.5 voxels, its likelihood a Gaussian of the label's "
        "intensities in the truth. 2 |A and B| / (|A| + |B|) over the region, mean over "
        "structures. Not the Dice of a segmentation network: no border is seen that neither "
        "place nor intensity shows",
        better="higher",
        head="Dice",
        digits=3,
    ),
    Definition(
        "volumes",
        "volumes",
        "of missing voxels alone, as a user measures them. Tissues: three classes by intensity, "
        "in the truth between multi-Otsu limits fitted to its brain, in mean and draws between "
        "those fitted to the acquired voxels of the brain; so even a perfect image has an error. "
        "Structures: as for structure_dice, those above. Draws are pooled by Rubin's rules: "
        "variance T = W + (1 + 1/m) B, B between the m draws, Student's t with "
        "(m - 1) (1 + W / ((1 + 1/m) B))^2 degrees of freedom. W of tissues: how far a volume "
        "moves with the limits of half of the slices (16 balanced half-samples of neighbours; "
        "mean square times the share of the brain that is missing; 0 off a stack), which is more "
        "than limits err where slices are equally far apart. W of structures: 0",
    ),
    Definition(
        "volumes.tsv",
        "volumes.tsv",
        "per tissue (label 1, 2, 3 from dark to bright) and structure: its volume in truth, mean "
        "and, pooled, in draws; W (within), B (between), T (total), degrees of freedom, and the "
        "90 % interval (low, high), in ml and ml squared; empty without draws",
    ),
    *_VOLUMES,
    *map(_of_structures, _VOLUMES),
    Definition(
        "seconds",
        "seconds",
        "one imputation (mean and std), without reading and scoring",
        unit="s",
        better="lower",
        head="s/scan",
        digits=2,
    ),
    Definition(
        "seconds_per_draw",
        "seconds per draw",
        "one draw more",
        unit="s",
        better="lower",
        head="s/draw",
        digits=2,
    ),
    Definition(
        "gain_db",
        "gain",
        "PSNR minus that of the best interpolator of this evaluation (that of the highest mean "
        "PSNR), paired by subject",
        unit="dB",
        better="higher",
        head="gain dB",
        digits=2,
    ),
    Definition(
        "crps_ratio",
        "CRPS ratio",
        "CRPS over the MAE of the best interpolator of this evaluation, paired by subject",
        better="lower",
        digits=3,
    ),
    Definition(
        "distance", "distance", "voxels to the nearest acquired slice along the slice axis"
    ),
    Definition("offset", "offset", "voxels from the acquired slice before, along the slice axis"),
    Definition("edge", "edge", "1 at edges, 0 off them, as for psnr_edge_db"),
    Definition(
        "interval",
        "interval",
        "95 % BCa bootstrap over subjects (scans of one subject are averaged first), "
        f"{RESAMPLES} resamples, the same ones for all methods; none below {MIN_SUBJECTS} "
        "subjects, nor a ranking. Too narrow for few subjects, as any bootstrap: of Gaussian "
        "scores they hold the true mean 92 % of the time for 18 subjects, 84 % for five",
    ),
    Definition(
        "p",
        "p",
        "two-sided Wilcoxon signed-rank test of the PSNR against the reference, paired by "
        "subject, after Holm's correction for all methods compared with it; p_alone: before",
    ),
    Definition("wins", "wins", "subjects whose PSNR is higher than with the reference"),
    Definition(
        "references",
        "references",
        "best: the method of the highest mean PSNR; interpolator: the best interpolator; "
        "default: the model that comes with the package. The first two are chosen by these very "
        "scores, which flatters them: p against them is somewhat too small for what is worse, and "
        "too large for what is better",
    ),
)

DEFINITIONS = {definition.name: definition for definition in _ALL}
"""Of every score, and of the words that tables and page use."""


def meanings(protocol: Protocol = PAPER) -> dict[str, str]:
    """Returns the meaning of each name, the region and the data range those of a protocol."""
    return {d.name: d.meaning(protocol) for d in _ALL if not d.alike}


def definitions_text() -> str:
    """Returns all of it as plain text, no line longer than 99 characters.

    Where protocols differ, each text names those that it holds for.
    """
    lines = [f"protocol {protocol.name}{_about(protocol)}" for protocol in PROTOCOLS]
    texts = {protocol.name: meanings(protocol) for protocol in PROTOCOLS}
    for name in meanings():
        for text in dict.fromkeys(of[name] for of in texts.values()):
            holds = [protocol for protocol, of in texts.items() if of[name] == text]
            where = "" if len(holds) == len(texts) else f" ({', '.join(holds)})"
            lines.append(f"{name}{where}: {text}")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def _about(protocol: Protocol) -> str:
    option = " (--without-truth)" if protocol.whole_head else ""
    return f"{option}: {protocol.title}" + (f"; {protocol.bias}" if protocol.bias else "")
