"""What every number of an evaluation means: once, for the help, the tables and the page."""

import textwrap
from dataclasses import dataclass

from mriimpute.evaluate.prediction import NLL_STD_FLOOR_PERCENT
from mriimpute.evaluate.protocol import PAPER, PROTOCOLS, Protocol
from mriimpute.evaluate.regions import MIN_REGION_VOXELS
from mriimpute.metrics.statistics import MIN_SUBJECTS, RESAMPLES

__all__ = ["DEFINITIONS", "Definition", "definitions_text", "meanings"]

WIDTH = 99


@dataclass(frozen=True, slots=True)
class Definition:
    """What one number means.

    Attributes:
        name: In tables and files.
        title: In a heading.
        unit: Empty for a plain number.
        better: "higher", "lower", the ideal as text, or empty where nothing is better.
        text: How it is computed and what is counted.
    """

    name: str
    title: str
    unit: str
    better: str
    text: str

    def meaning(self) -> str:
        """Returns the text with unit and direction."""
        ideal = {"higher": "higher is better", "lower": "lower is better", "": ""}
        notes = [self.unit, ideal.get(self.better, f"ideally {self.better}")]
        said = "; ".join(note for note in notes if note)
        return f"{self.text} ({said})" if said else self.text


_PERCENT = "% of data range"

_ALL = (
    Definition("region", "Region", "", "", PAPER.region),
    Definition("data_range", "Data range", "", "", PAPER.data_range),
    Definition(
        "images",
        "Images",
        "",
        "",
        "ssim, hfen and gradient_psnr_db see the volumes with acquired voxels inserted and look "
        "at the neighbours of the region (windows of 11, 15 and 3 voxels); all other scores see "
        "the voxels of the region alone",
    ),
    Definition(
        "missing",
        "Empty entries",
        "",
        "",
        "a score is empty where a method does not earn it: no draws, no standard deviation, too "
        "few draws, no label map, no slices",
    ),
    Definition(
        "psnr_db",
        "PSNR",
        "dB",
        "higher",
        "20 log10(data range / RMSE) of the mean, per scan; means over scans are of dB",
    ),
    Definition(
        "ssim",
        "SSIM",
        "",
        "higher",
        "3D SSIM map (that of scikit-image: Gaussian window of sigma 1.5 voxels, 11 voxels wide, "
        "population covariance, K1 0.01, K2 0.03, data range as above), averaged over the region",
    ),
    Definition("mse", "MSE", "data range squared", "lower", "(RMSE / data range)^2 of the mean"),
    Definition(
        "nrmse",
        "NRMSE",
        "",
        "lower",
        "|mean - truth| / |truth|, Euclidean norms over the region (scikit-image: 'euclidean')",
    ),
    Definition("mae_percent", "MAE", _PERCENT, "lower", "mean absolute error of the mean"),
    Definition("rmse_percent", "RMSE", _PERCENT, "lower", "root mean squared error of the mean"),
    Definition(
        "hfen",
        "HFEN",
        "",
        "lower",
        "high-frequency error norm |LoG(mean - truth)| / |LoG(truth)| over the region, LoG the 3D "
        "Laplacian of a Gaussian of sigma 1.5 voxels, 15 voxels wide; 1 for an image without "
        "detail",
    ),
    Definition(
        "gradient_psnr_db",
        "gradient PSNR",
        "dB",
        "higher",
        "20 log10(data range / RMSE of the central differences along the three axes, in intensity "
        "per voxel)",
    ),
    Definition(
        "psnr_edge_db",
        "PSNR at edges",
        "dB",
        "higher",
        "PSNR over the fifth of the region where the truth's gradient is largest (magnitude by "
        "central differences, per voxel)",
    ),
    Definition(
        "psnr_flat_db", "PSNR off edges", "dB", "higher", "PSNR over the rest of the region"
    ),
    Definition(
        "stripes",
        "stripes",
        "",
        "1",
        "fine detail in imputed slices of the mean against acquired ones: mean square of the "
        "Laplacian within a slice (second differences along its two axes) over missing voxels / "
        "that over acquired voxels of the brain, over the same ratio of the truth. Below 1 "
        "imputed slices are smoother, above 1 rougher, and seen from the side they are stripes. "
        "A conditional mean is smooth where it does not know: only draws should have 1",
    ),
    Definition("stripes_draw", "stripes of a draw", "", "1", "the same of the first draw"),
    Definition(
        "tissue_dice",
        "tissue Dice",
        "",
        "higher",
        "three classes by intensity (multi-Otsu limits fitted to the truth of the region, applied "
        "to truth and mean alike): 2 |A and B| / (|A| + |B|), mean over the classes",
    ),
    Definition(
        "tissue_volume_error_percent",
        "tissue volume error",
        "% of volume",
        "lower",
        "|B| against |A| of the same classes, either sign counted alike, mean over the classes",
    ),
    Definition(
        "crps_percent",
        "CRPS",
        _PERCENT,
        "lower",
        "fair ensemble CRPS of the draws, mean over voxels; the MAE for a method without draws",
    ),
    Definition(
        "energy_percent",
        "energy score",
        _PERCENT,
        "lower",
        "fair ensemble energy score of blocks of 4 x 4 x 4 voxels (their voxels in the region, at "
        "least 32), over the root of their number, mean over blocks; the block RMSE of the mean "
        "for a method without draws. Sees whether neighbours err together, as CRPS does not",
    ),
    Definition(
        "nll_std",
        "NLL of mean and std",
        "nats per voxel",
        "lower",
        "negative log density, per percent of the data range, of a Gaussian with the stated mean "
        f"and std at the truth; std below {NLL_STD_FLOOR_PERCENT:g} % of the data range counts as "
        "that",
    ),
    Definition(
        "nll_draws",
        "NLL of draws",
        "nats per voxel",
        "lower",
        "the same of the Gaussian that the draws come from (ensemble-adjusted ignorance score, "
        "Siegert et al. 2019: no number of draws is favoured); empty below 4 draws",
    ),
    Definition(
        "elbo",
        "ELBO",
        "nats per voxel",
        "higher",
        "lower bound of the joint log density, per percent of the data range, that a model of "
        "patches gives to the missing voxels of each patch given its observed ones: "
        "log mean p(x | z) q(z | observed) / q(z | observed, x) over 8 draws z of the model's own "
        "encoder, shown the truth x. Exact for ppca; as loose as that encoder is inexact. Sees "
        "whether neighbours err together; of patches before they are blended, where a voxel in "
        "several counts in each",
    ),
    *(
        Definition(
            f"coverage{level}",
            f"{level} % coverage",
            "",
            f"0.{level}".rstrip("0"),
            f"share of voxels whose truth lies in the central {level} % interval of the draws, "
            f"quantile p at rank p (K + 1) of K draws: exact for an exact sampler with any number "
            f"of draws from {needed}; empty below",
        )
        for level, needed in ((50, 3), (80, 9), (90, 19), (95, 39))
    ),
    *(
        Definition(
            f"coverage{level}_std",
            f"{level} % coverage of std",
            "",
            f"0.{level}".rstrip("0"),
            f"share of voxels whose truth lies within {z} std of the mean",
        )
        for level, z in ((50, "0.674"), (80, "1.282"), (90, "1.645"), (95, "1.960"))
    ),
    Definition(
        "spread_skill",
        "spread/skill",
        "",
        "1",
        "root mean variance of the draws / RMSE of the mean; below 1 too sure of itself",
    ),
    Definition(
        "rank_distance",
        "rank distance",
        "",
        "0",
        "largest distance of the cumulative rank histogram of the truth among the draws from the "
        "flat one (Kolmogorov); ties are spread evenly over the ranks they could have",
    ),
    Definition(
        "draw_gap_db",
        "draw gap",
        "dB",
        "3.01",
        "how far the squared error of one draw lies above that of the mean; less: collapsed, "
        "more: over-dispersed",
    ),
    Definition(
        "ause",
        "AUSE",
        "",
        "0",
        "area between two curves of the RMSE that remains, over that of all voxels, as the most "
        "uncertain (std; that of the draws without one) or the worst voxels are removed, 0 to "
        "95 % of them. A constant std has 0.54 where errors are Gaussian of one size",
    ),
    Definition(
        "regions",
        "structures",
        "",
        "",
        "structures of the label map beside the truth (integers above 0), those with at least "
        f"{MIN_REGION_VOXELS} voxels in the region above; only these voxels count. Scans without "
        "a label map are left out",
    ),
    Definition(
        "regions.tsv",
        "regions.tsv",
        "",
        "",
        "per structure: mean over its voxels of the truth, of the mean, and of each draw: of "
        "these the 5 % and 95 % quantiles (low, high; as for coverage90) and the standard "
        "deviation, in input units; empty without draws, low and high for fewer than 19",
    ),
    Definition(
        "region_coverage90",
        "structures covered",
        "",
        "0.9",
        "share of structures whose true mean lies between low and high",
    ),
    Definition(
        "region_error_percent",
        "structure error",
        _PERCENT,
        "lower",
        "root mean square over structures of mean - truth",
    ),
    Definition(
        "region_spread_skill",
        "structure spread/skill",
        "",
        "1",
        "root mean square over structures of std / that of mean - truth",
    ),
    Definition(
        "region_error_stds",
        "structure error in std",
        "",
        "1",
        "root mean square over structures of (mean - truth) / std; for K exact draws "
        "sqrt((K - 1) / (K - 3)), 1.06 for 20; truth that is met exactly counts 0",
    ),
    Definition(
        "carried",
        "carried labels",
        "",
        "",
        "the same four scores (carried_coverage90 ...) where a voxel's label is that of the "
        "nearest acquired voxel along the slice axis. The label map was drawn on the truth, so "
        "what lies in a structure depends on what is missing, and exact draws need not cover its "
        "mean; here they do",
    ),
    Definition(
        "labels",
        "each structure",
        "",
        "",
        "the scores above of one structure, over the scans that have it instead of over "
        "structures; each scan's errors in percent of its data range",
    ),
    Definition(
        "structure_dice",
        "structure Dice",
        "",
        "higher",
        "structures are found in truth and mean by one rule: the label of highest posterior, its "
        "prior the label map smoothed by 1.5 voxels, its likelihood a Gaussian of the label's "
        "intensities in the truth. 2 |A and B| / (|A| + |B|) over the region, mean over "
        "structures. Not the Dice of a segmentation network: no border is seen that neither "
        "place nor intensity shows",
    ),
    Definition(
        "structure_volume_error_percent",
        "structure volume error",
        "% of volume",
        "lower",
        "|B| against |A| of the same structures, either sign counted alike, mean over structures",
    ),
    Definition(
        "seconds",
        "seconds",
        "s",
        "lower",
        "one imputation (mean and std), without reading and scoring",
    ),
    Definition("seconds_per_draw", "seconds per draw", "s", "lower", "one draw more"),
    Definition(
        "gain_db",
        "gain",
        "dB",
        "higher",
        "PSNR minus that of the best interpolator of this evaluation (that of the highest mean "
        "PSNR), paired by subject",
    ),
    Definition(
        "crps_ratio",
        "CRPS ratio",
        "",
        "lower",
        "CRPS over the MAE of the best interpolator of this evaluation, paired by subject",
    ),
    Definition(
        "distance", "distance", "", "", "voxels to the nearest acquired slice along the slice axis"
    ),
    Definition(
        "offset", "offset", "", "", "voxels from the acquired slice before, along the slice axis"
    ),
    Definition(
        "edge",
        "edge",
        "",
        "",
        "1 at edges, 0 off them, as for psnr_edge_db",
    ),
    Definition(
        "interval",
        "interval",
        "",
        "",
        "95 % BCa bootstrap over subjects (scans of one subject are averaged first), "
        f"{RESAMPLES} resamples, the same ones for all methods; none below {MIN_SUBJECTS} "
        "subjects, nor a ranking. Too narrow for few subjects, as any bootstrap: of Gaussian "
        "scores they hold the true mean 92 % of the time for 18 subjects, 84 % for five",
    ),
    Definition(
        "p",
        "p",
        "",
        "",
        "two-sided Wilcoxon signed-rank test of the PSNR against the reference, paired by "
        "subject, after Holm's correction for all methods compared with it; p_alone: before",
    ),
    Definition("wins", "wins", "", "", "subjects whose PSNR is higher than with the reference"),
    Definition(
        "references",
        "references",
        "",
        "",
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
    own = {"region": protocol.region, "data_range": protocol.data_range}
    return {name: definition.meaning() for name, definition in DEFINITIONS.items()} | own


def definitions_text() -> str:
    """Returns all of it as plain text, no line longer than 99 characters.

    Where protocols differ, each text names those that it holds for.
    """
    told = [f"protocol {protocol.name}{_about(protocol)}" for protocol in PROTOCOLS]
    of = {protocol.name: meanings(protocol) for protocol in PROTOCOLS}
    for name in DEFINITIONS:
        for text in dict.fromkeys(texts[name] for texts in of.values()):
            holds = [protocol for protocol, texts in of.items() if texts[name] == text]
            where = "" if len(holds) == len(of) else f" ({', '.join(holds)})"
            told.append(f"{name}{where}: {text}")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in told)


def _about(protocol: Protocol) -> str:
    option = " (--without-truth)" if protocol.whole_head else ""
    return f"{option}: {protocol.title}" + (f"; {protocol.bias}" if protocol.bias else "")
