"""Prints what the package computes, as checksums: the guard for changes that must change nothing.

    python tests/golden/record.py > before.txt
    ... move, rename, merge ...
    python tests/golden/record.py | diff before.txt -

It walks the commands alone, so it runs as it is whatever becomes of the code behind them: every
method imputes two tiny scans, every model that can be trained is trained for 20 steps and imputes
one, a head is simulated, and two methods are evaluated, with and without truth. All scans are
made up.

Checksums differ between machines: processors add up in different orders. `--numbers` prints in
place of each a few numbers, which `test_golden.py` compares everywhere, up to rounding. What takes
hundreds of steps takes a few there: they amplify rounding.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: sums depend on the threads

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import ndimage

Entry = tuple[str, bytes, list[float]]
"""A name, what is told apart to the last bit, and numbers that sum it up."""

WITHOUT_WEIGHTS = ("nearest", "linear", "pchip", "makima", "cubic", "bspline", "cross-plane-ridge")
SLOW = ("dictionary", "deep-image-prior")
"""On the smaller scan alone."""

SHORT = ("train.batch=2", "train.patches=40", "train.val_patches=4")
SMALL = ("model.patch=[8,8,8]", "model.channels=4", *SHORT)
GAUSSIAN = ("model.patch=[4,4,4]", "model.latents=6", *SHORT)
EM = ("model.patch=[4,4,4]", "model.latents=6", "train.patches=200", "train.iterations=3")
LINES = ("train.patches=80", "train.start=scratch", "train.val_patches=4", "model.channels=8")
TRAINED: dict[str, tuple[str, ...]] = {
    "conv-fc-sparse": SMALL,
    "conv-interp": SMALL,
    "conv-interp-wmask": SMALL,
    "conv-mean": SMALL,
    "conv-sparse": SMALL,
    "conv-zero": SMALL,
    "local-sparse": SMALL,
    "miwae": SMALL,
    "mvae": SMALL,
    "tae": SMALL,
    "ppca": GAUSSIAN,
    "mixture-ppca": EM,
    "ppca-em": EM,
    "cross-plane": (*LINES, "model.blocks=1"),
    "cross-plane-latent": (*LINES, "model.blocks=1"),
    "cross-plane-ridge": (),
}

TIMES = re.compile(r"seconds|started|created|version|command|memory|python|platform|_per_")
"""Keys of JSON, and columns of tables, that differ from call to call."""


def texture(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Returns a ball with smooth texture, in air."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) - 1) / 2
    radius = np.linalg.norm((np.indices(shape).T - centre) / (0.46 * np.array(shape)), axis=-1).T
    waves = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    head = np.where(radius < 1, 600 + 900 * waves, 0) + 4 * rng.normal(size=shape)
    return head.astype(np.float32)


def write_scans(folder: Path) -> tuple[Path, Path]:
    """Writes an axial stack of floats, and an oblique sagittal one of integers with holes."""
    folder.mkdir(parents=True)
    first, second = folder / "axial.nii.gz", folder / "sagittal.nii.gz"
    image = nib.Nifti1Image(texture((40, 36, 28), 1)[:, :, ::3], np.diag([1.0, 1.1, 3.0, 1.0]))
    nib.save(image, first)

    tilt, turned = np.deg2rad(9), np.eye(4)
    turned[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine = turned @ np.array([[0, 0, -4.0, 20], [-1, 0, 0, 12], [0, 1, 0, -9], [0, 0, 0, 1]])
    data = np.moveaxis(texture((25, 18, 16), 2)[::4], 0, 2)
    image = nib.Nifti1Image(np.rint(data).astype(np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, second)
    return first, second


def write_cohort(folder: Path) -> None:
    """Writes six sparse scans with a split."""
    rows = ["participant_id\tsplit"]
    for number, split in enumerate(["train"] * 3 + ["val"] * 2 + ["test"]):
        name = f"sub-{number}"
        path = folder / name / "anat" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        data = texture((26, 24, 22), 10 + number)[:, :, number % 3 :: 3]
        nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 3.0, 1.0])), path)
        rows.append(f"{name}\t{split}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")


def write_heads(folder: Path) -> None:
    """Writes four full heads, each with a label map beside it."""
    for number in range(4):
        name = f"sub-{number}"
        path = folder / name / "anat" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        data = texture((24, 26, 22), 20 + number)
        affine = np.diag([8.0, 8, 8, 1])
        nib.save(nib.Nifti1Image(data, affine), path)


def call(*words: object) -> str:
    """Runs a command in this process and returns what it prints."""
    from mriimpute.cli import app

    line = [*map(str, words), "--device", "cpu", "--threads", "1", "--no-progress", "-q"]
    out, said = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(said):
            app(line, standalone_mode=False)
    except (Exception, SystemExit) as error:
        raise RuntimeError(f"mriimpute {' '.join(line)}: {error}\n{said.getvalue()}") from error
    return out.getvalue()


def image_entry(name: str, path: Path) -> Entry:
    """Sums up a NIfTI: its bytes but for compression, and moments of its voxels."""
    with gzip.open(path) as file:
        content = file.read()
    data = np.asarray(nib.load(path).dataobj, np.float64)
    ramp = np.linspace(0, 1, data.size)
    known = np.nan_to_num(data.ravel())
    return name, content, [known.mean(), known.std(), known.max(), float(ramp @ known) / data.size]


def model_entry(name: str, path: Path) -> Entry:
    """Sums up a model: its tensors and what the header says of it, but for versions."""
    tensors = load_file(path)
    content = b"".join(key.encode() + tensors[key].tobytes() for key in sorted(tensors))
    each = [tensors[key].astype(np.float64) for key in sorted(tensors)]
    return name, content, [sum(x.sum() for x in each), sum(np.square(x).sum() for x in each)]


def plain(value: Any) -> Any:
    """Returns JSON without what differs from call to call."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not TIMES.search(key)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def numbers(value: Any) -> Iterator[float]:
    """Yields the numbers of JSON, in its order."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def json_entry(name: str, path: Path, *, keys: bool = False) -> Entry:
    """Sums up a JSON file; of one that holds times and checksums, its keys alone."""
    content = json.loads(path.read_text())
    if keys:
        return name, json.dumps(paths(content)).encode(), []
    found = plain(content)
    return name, json.dumps(found, sort_keys=True).encode(), [sum(numbers(found))]


def paths(value: Any, above: str = "") -> list[str]:
    """Returns the keys of JSON, each with those above it."""
    if not isinstance(value, dict):
        return [above]
    return sorted(path for key, item in value.items() for path in paths(item, f"{above}/{key}"))


def table_entry(name: str, path: Path) -> Entry:
    """Sums up a table, but for its columns of times."""
    rows = [line.split("," if path.suffix == ".csv" else "\t") for line in
            path.read_text().splitlines()]  # fmt: skip
    kept = [n for n, title in enumerate(rows[0]) if not TIMES.search(title)]
    table = [[row[n] for n in kept if n < len(row)] for row in rows]
    return name, json.dumps(table).encode(), []


def results(name: str, folder: Path, samples: int) -> Iterator[Entry]:
    """Yields what `impute` wrote for one scan."""
    labels = ["mean", "std", "observed", *(f"draw{n:03d}" for n in range(1, samples + 1))]
    for label in labels:
        for path in sorted(folder.rglob(f"*_desc-{label}*.nii.gz")):
            yield image_entry(f"{name}/{label}", path)
    for path in sorted(folder.rglob("*_desc-mean*.json")):
        yield json_entry(f"{name}/sidecar keys", path, keys=True)


def imputed(folder: Path, scan: Path, methods: Sequence[str]) -> Iterator[Entry]:
    """Yields what methods without training make of a scan."""
    for method in methods:
        out = folder / method
        draws = 2 if method == "cross-plane-ridge" else 0
        call("impute", scan, "--model", method, "-o", out, "--samples", draws)
        yield from results(f"{method}/{scan.name}", out, draws)


def imputed_by_weights(folder: Path, scan: Path, *, adapted: bool) -> Iterator[Entry]:
    """Yields what the weights of the package make of a scan."""
    options = {"cross-plane": (), "cross-plane, thick": ("--thickness", "2")}
    if adapted:
        options["cross-plane, adapted"] = ("--adapt",)
    for name, words in options.items():
        out = folder / name
        call("impute", scan, "-o", out, "--samples", 2, *words)
        yield from results(f"{name}/{scan.name}", out, 2)


def axial(folder: Path) -> Iterator[Entry]:
    """Yields what the quick methods make of the first scan."""
    scan, _ = write_scans(folder / "scans")
    yield from imputed(folder, scan, WITHOUT_WEIGHTS)
    yield from imputed_by_weights(folder, scan, adapted=True)


def sagittal(folder: Path) -> Iterator[Entry]:
    """Yields what the quick methods make of the second scan."""
    _, scan = write_scans(folder / "scans")
    yield from imputed(folder, scan, WITHOUT_WEIGHTS)
    yield from imputed_by_weights(folder, scan, adapted=False)


def slow(folder: Path) -> Iterator[Entry]:
    """Yields what the other methods make of the second scan."""
    _, scan = write_scans(folder / "scans")
    yield from imputed(folder, scan, SLOW)


def trained(folder: Path, model: str) -> Iterator[Entry]:
    """Yields a model after 20 steps, and what it makes of the second scan."""
    cohort, run, out = folder / "cohort", folder / "run", folder / "trained"
    write_cohort(cohort)
    _, scan = write_scans(folder / "scans")
    words = [word for setting in TRAINED[model] for word in ("--set", setting)]
    call("train", cohort, "--model", model, "-o", run, *words)
    yield model_entry(f"{model}/model", run / "model.safetensors")
    call("impute", scan, "--model", run, "--samples", 2, "-o", out)
    yield from results(f"{model}/trained", out, 2)


def simulated(folder: Path) -> Iterator[Entry]:
    """Yields a simulated subject, and what an evaluation with truth finds on all of them."""
    write_heads(folder / "heads")
    options = ("--keep-every", 3, "--spacing", "source", "--no-register", "--jobs", 1)
    call("simulate", folder / "heads", "-o", folder / "sim", *options)
    for part in ("cohort", "truth"):
        path = next((folder / "sim" / part).rglob("sub-0_T1w.nii.gz"))
        yield image_entry(f"simulate/{part}", path)
    yield table_entry("simulate/participants", folder / "sim" / "participants.tsv")
    yield json_entry("simulate/record keys", folder / "sim" / "simulation.json", keys=True)
    yield from evaluated(folder / "out", "with truth", folder / "sim", "--split", "all")


def without_truth(folder: Path) -> Iterator[Entry]:
    """Yields what an evaluation without truth finds."""
    write_cohort(folder / "cohort")
    yield from evaluated(folder / "out", "without truth", folder / "cohort", "--without-truth")


def evaluated(out: Path, name: str, *words: object) -> Iterator[Entry]:
    """Yields what an evaluation found."""
    methods = ("--methods", "linear,pchip,cross-plane-ridge@scan", "--samples", 4)
    call("evaluate", *words, *methods, "-o", out)
    for path in sorted(out.rglob("*.json")):
        if path.parent.name != "runs":
            yield json_entry(f"evaluate {name}/{path.relative_to(out)}", path)
    for path in sorted([*out.rglob("*.csv"), *out.rglob("*.tsv")]):
        yield table_entry(f"evaluate {name}/{path.relative_to(out)}", path)


PIECES: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "axial": axial,
    "sagittal": sagittal,
    "slow": slow,
    **{f"train {model}": partial(trained, model=model) for model in TRAINED},
    "simulate": simulated,
    "without truth": without_truth,
}
"""Each in a folder of its own: none needs another one."""


@contextmanager
def few_steps() -> Iterator[None]:
    """Makes methods that learn from a scan alone take ten steps, or 1,000 patches."""
    from mriimpute.methods.cross_plane import imputer as network
    from mriimpute.methods.deep_image_prior.imputer import CONFIG, DeepImagePrior
    from mriimpute.methods.dictionary.imputer import DictionaryImputer

    config = replace(CONFIG, steps=10)
    prior = staticmethod(lambda _, device: DeepImagePrior(config, device=device))
    atoms = staticmethod(lambda _, device: DictionaryImputer(examples=1000, device=device))
    with (
        patch.object(network, "adapted", partial(network.adapted, steps=10)),
        patch.object(DeepImagePrior, "without_weights", prior),
        patch.object(DictionaryImputer, "without_weights", atoms),
    ):
        yield


def entries() -> Iterator[tuple[str, Entry]]:
    """Yields everything, each entry with the name of its piece."""
    for name, piece in PIECES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield from ((name, entry) for entry in piece(Path(folder)))


def main() -> None:
    """Prints a line for each entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", action="store_true", help="JSON of numbers, not checksums")
    asked = parser.parse_args()
    if asked.numbers:
        found: dict[str, dict[str, list[float]]] = {piece: {} for piece in PIECES}
        with few_steps():
            for piece, (name, _, values) in entries():
                found[piece][name] = [float(f"{x:.6g}") for x in values]
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    for _, (name, content, _) in entries():
        sys.stdout.write(f"{hashlib.sha256(content).hexdigest()[:20]}  {name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
