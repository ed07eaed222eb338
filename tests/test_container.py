"""Laws of the container image, read from the Dockerfile and .dockerignore.

They stand for an engine that builds it: what is cached, what gets in, and who it runs as.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import translate
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(text: str) -> list[tuple[str, str]]:
    """Returns instruction and argument of each step, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines()]


STEPS = instructions((ROOT / "Dockerfile").read_text())


def arguments(name: str, steps: list[tuple[str, str]] = STEPS) -> list[str]:
    return [argument for instruction, argument in steps if instruction == name]


def final_stage() -> list[tuple[str, str]]:
    last = max(n for n, (name, _) in enumerate(STEPS) if name == "FROM")
    return STEPS[last:]


def place(name: str, part: str) -> int:
    """Returns where in the final stage a step with `part` in its argument is."""
    return next(
        n for n, (i, argument) in enumerate(final_stage()) if i == name and part in argument
    )


def variables() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(arguments("ENV"))))


def is_ignored(path: str) -> bool:
    """Tells whether a path stays out of the build, as Docker reads .dockerignore."""
    ignored = False
    for line in filter(None, (line.strip() for line in IGNORED)):
        if line.startswith("#"):
            continue
        pattern = re.compile(
            r"(.*/)?" + translate(line.lstrip("!")[3:])
            if line.lstrip("!").startswith("**/")
            else translate(line.lstrip("!"))
        )
        above = [path, *(str(parent) for parent in Path(path).parents)]
        if any(pattern.fullmatch(name) for name in above):
            ignored = not line.startswith("!")
    return ignored


def test_the_only_base_is_pinned_to_a_patch_of_python_and_a_release_of_debian() -> None:
    stages = {argument.split()[-1] for argument in arguments("FROM") if " AS " in argument}
    bases = {argument.split()[0] for argument in arguments("FROM")} - stages

    (base,) = bases
    found = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+", base)
    assert found, base
    assert found[1] == PROJECT["requires-python"].removeprefix(">=")


def test_torch_is_the_version_that_numbers_are_from() -> None:
    (need,) = (need for need in PROJECT["dependencies"] if need.startswith("torch"))
    (pinned,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert f"TORCH={pinned}" in arguments("ARG")
    assert SpecifierSet(need.removeprefix("torch")).contains(pinned)


def test_the_licence_of_whatever_is_not_ours_goes_with_it() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "mriimpute").rglob("LICENSE*")]

    assert sorted(PROJECT["license-files"]) == ["LICENSE", *sorted(files)]
    assert f'licenses="{PROJECT["license"]}"' in " ".join(arguments("LABEL"))


def test_layers_go_from_the_rarest_change_to_the_most_frequent() -> None:
    torch, others = place("RUN", "torch=="), place("RUN", "requirements.txt")
    package = place("COPY", "/package")

    assert torch < place("COPY", "requirements.txt") < others < package


def test_the_final_stage_takes_nothing_from_the_folder_that_is_built() -> None:
    assert all(argument.startswith("--from=") for argument in arguments("COPY", final_stage()))
    assert all(argument.split()[0] != "." for argument in arguments("COPY"))
    assert not arguments("ADD")


def test_no_layer_keeps_what_an_installer_leaves_behind() -> None:
    for line in arguments("RUN"):
        assert line.count("pip install") == line.count("pip install --no-cache-dir")
        assert "apt-get install" not in line or "rm -rf /var/lib/apt/lists" in line


def test_settings_of_pip_come_from_outside_and_stay_in_no_layer() -> None:
    words = " ".join(arguments("ENV") + arguments("ARG")).upper()

    assert not re.search("INDEX_URL|FIND_LINKS|PROXY|TOKEN|PASSWORD|TRUSTED_HOST", words)
    for line in arguments("RUN"):
        assert "pip install" not in line or "--mount=type=secret,id=pip.conf" in line


def test_it_does_not_run_as_root_and_says_so_by_number() -> None:
    user = arguments("USER", final_stage())[-1]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_signals_reach_the_program() -> None:
    assert json.loads(arguments("ENTRYPOINT")[-1]) == ["mriimpute"]
    assert json.loads(arguments("CMD")[-1]) == ["--help"]


def test_a_read_only_root_without_a_home_is_enough() -> None:
    folders = {name for name in variables() if re.search("HOME|DIR$|CACHE_PATH", name)}

    assert {"HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "CUDA_CACHE_PATH"} <= folders
    assert all(re.match("/tmp(/|$)", variables()[name]) for name in folders)  # noqa: S108
    assert variables()["PYTHONDONTWRITEBYTECODE"] == "1"


def test_what_the_build_copies_is_let_in() -> None:
    copied = [argument for argument in arguments("COPY") if not argument.startswith("--from")]
    names = [name for argument in copied for name in argument.split()[:-1]]
    package = (p for p in (ROOT / "mriimpute").rglob("*") if p.is_file())
    files = [str(p.relative_to(ROOT)) for p in package if "__pycache__" not in p.parts]

    metadata = ["LICENSE", "CITATION.cff", "CHANGELOG.md"]
    assert names == ["pyproject.toml", "README.md", *metadata, "mriimpute"]
    assert [name for name in (*names, *files) if is_ignored(name)] == []


@pytest.mark.parametrize(
    "path",
    [
        "scan.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "cohort_cross-plane/model.safetensors",
        "mriimpute-demo/report/report.html",
        "mriimpute/stray.nii.gz",
        "mriimpute/presets/patient.dcm",
        "mriimpute/io/__pycache__/nifti.cpython-311.pyc",
        ".git/config",
        ".env",
        "tests/conftest.py",
        "participants.tsv",
    ],
)
def test_scans_runs_and_secrets_stay_out(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_imputing_needs_no_network_and_no_home(tmp_path: Path) -> None:
    apart = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("namespaces are not allowed here")
    scan = np.random.default_rng(0).integers(0, 900, (24, 20, 6)).astype(np.int16)
    nib.Nifti1Image(scan, np.diag([1.0, 1.0, 4.0, 1.0])).to_filename(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    words = ["impute", str(tmp_path / "scan.nii.gz"), "-o", str(out), "--samples", "2"]

    done = subprocess.run(  # noqa: S603
        [*apart, sys.executable, "-m", "mriimpute", *words, "--device", "cpu"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.returncode == 0, done.stderr
    assert (out / "scan_desc-draw002.nii.gz").exists()
