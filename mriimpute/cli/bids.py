"""`mriimpute-bids`: `mriimpute impute` with the command line of a BIDS-App."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mriimpute import __version__
from mriimpute.cli import app
from mriimpute.cli.app import tell
from mriimpute.cli.streams import steady_streams
from mriimpute.errors import ConfigError, VolumeError

__all__ = ["main", "translated"]


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command line of a BIDS-App; exit status as that of `mriimpute`."""
    steady_streams()
    try:
        line = translated(list(sys.argv[1:] if words is None else words))
    except (ConfigError, VolumeError) as error:
        tell(error)
        sys.exit(1)
    app(line, prog_name="mriimpute-bids")


def translated(words: list[str]) -> list[str]:
    """Returns the command line of `mriimpute` that a BIDS-App's command line stands for.

    Raises:
        ConfigError: If the group level is asked for.
        VolumeError: If the input is not a BIDS dataset.
    """
    given, others = _parser().parse_known_args(words)
    if given.analysis_level == "group":
        raise ConfigError(
            "there is nothing to do at the group level: each scan is imputed on its own",
            hint="run the participant level; learn from a group with `mriimpute train BIDS_DIR`",
        )
    if not given.skip_bids_validation:
        _require_dataset(given.bids_dir)
    line = ["impute", str(given.bids_dir), "--out", str(given.output_dir)]
    for option in ("participant_label", "session_id"):
        for label in getattr(given, option) or []:
            line += [f"--{option.replace('_', '-')}", label]
    if given.bids_filter_file:
        line += ["--bids-filter-file", str(given.bids_filter_file)]
    if threads := [n for n in (given.n_cpus, given.omp_nthreads) if n]:
        line += ["--threads", str(min(threads))]
    if given.mem_mb:
        line += ["--mem-mb", str(given.mem_mb)]
    return [*line, *others]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mriimpute-bids",
        allow_abbrev=False,
        description="Fill the slices that the scans of a BIDS dataset skipped. "
        "For research; not a medical device.",
        epilog="Every other option is one of `mriimpute impute`: --model, --samples, --seed, "
        "--device, --report, --part, ... Example: mriimpute-bids /data /out participant "
        "--participant-label 01 02 --samples 20",
    )
    add = parser.add_argument
    add("bids_dir", type=Path, help="root of the dataset, which is not written to")
    add("output_dir", type=Path, help="becomes a BIDS derivative dataset")
    add("analysis_level", choices=["participant", "group"], help="participant")
    add(
        *("--participant-label", "--participant_label"),
        nargs="+",
        metavar="LABEL",
        help="only these participants, with or without sub-",
    )
    add(
        *("--session-id", "--session_id", "--session-label"),
        nargs="+",
        metavar="LABEL",
        help="only these sessions, with or without ses-",
    )
    add("--bids-filter-file", type=Path, metavar="JSON", help="queries, as fMRIPrep spells them")
    add(
        "--skip-bids-validation",
        action="store_true",
        help="take a tree without dataset_description.json; no more than that is looked at here",
    )
    add(
        *("--nthreads", "--n-cpus", "--n_cpus", "--nprocs"),
        dest="n_cpus",
        type=int,
        default=0,
        metavar="N",
        help="CPU threads; 0: one per core that affinity and control group grant",
    )
    add("--omp-nthreads", type=int, default=0, metavar="N", help="the same; the lower one counts")
    add(
        *("--mem-mb", "--mem_mb", "--mem"),
        type=_mem_mb,
        default=0,
        metavar="MB",
        help="main memory to get along with, in MB, or with a unit as in 8G; a scan that needs "
        "more is refused; default: what is free",
    )
    add("-w", "--work-dir", type=Path, help="accepted and not used: no work folder is needed")
    add("--version", action="version", version=f"mriimpute {__version__}")
    return parser


def _mem_mb(text: str) -> int:
    """Returns MB, as fMRIPrep reads them: a number, with a unit K, M, G or T or without."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "M")
    try:
        mb = float(number) * {"K": 1e-3, "M": 1, "G": 1e3, "T": 1e6}[unit]
        whole = int(mb)
    except (KeyError, OverflowError, ValueError):
        mb, whole = -1.0, 0
    if mb < 0 or (mb and not whole):  # 0 means no limit, 1K does not
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of MB, nor one with a unit K, M, G or T, of 1 MB or more"
        )
    return whole


def _require_dataset(folder: Path) -> None:
    from mriimpute.io.bids import require_description

    require_description(folder)
