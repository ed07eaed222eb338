"""Tests for mriimpute.imputation.sources and for the jobs that are made of it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mriimpute.errors import ConfigError, OutputError, VolumeError
from mriimpute.files import read_json
from mriimpute.imputation.batch import Part, part_of
from mriimpute.imputation.bids import describe, sidecar
from mriimpute.imputation.jobs import Job, plan_jobs
from mriimpute.imputation.sources import find_sources


def filled(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    return paths


def listed(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, lines)), encoding="utf-8")
    return path


def places(jobs: Sequence[Job], out: Path) -> list[str]:
    return [str(job.file("mean").relative_to(out)) for job in jobs]


def test_a_list_stands_for_its_paths_relative_to_its_folder(tmp_path: Path) -> None:
    near, far = filled(tmp_path, "in/a.nii", "elsewhere/b.nii")
    scans = listed(tmp_path / "in" / "scans.txt", "# two scans", "a.nii", "", f"  {far}")

    assert [found.scan for found in find_sources([scans])] == [near, far]


def test_results_of_a_list_keep_the_folders_that_lie_beside_it(tmp_path: Path) -> None:
    filled(tmp_path, "in/1/scan.nii", "in/2/scan.nii", "in/more/x.nii", "far/y.nii")
    lines = ("1/scan.nii", "2/scan.nii", "more", "../far/y.nii")
    scans = listed(tmp_path / "in" / "scans.txt", *lines)

    jobs = plan_jobs([scans], tmp_path / "out")

    assert places(jobs, tmp_path / "out") == [
        "1/scan_desc-mean.nii",
        "2/scan_desc-mean.nii",
        "more/x_desc-mean.nii",
        "y_desc-mean.nii",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"# nothing\n", "lists no scan"), (b"\xff\xfe\xff", "cannot be read"), (b"b.txt", "list")],
    ids=["no scan", "no text", "a list"],
)
def test_a_list_without_scans_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)

    with pytest.raises((ConfigError, VolumeError), match=problem):
        find_sources([tmp_path / "a.txt"])


def test_a_missing_file_is_a_case_that_fails_later(tmp_path: Path) -> None:
    filled(tmp_path, "a.nii")

    assert len(plan_jobs([tmp_path / "gone.nii", tmp_path / "a.nii"], tmp_path / "out")) == 2


def test_a_scan_named_twice_is_imputed_once(tmp_path: Path) -> None:
    (scan,) = filled(tmp_path, "a.nii")

    assert len(plan_jobs([scan, scan], tmp_path / "out")) == 1


def test_two_contrasts_of_one_session_share_no_file(tmp_path: Path) -> None:
    anat = "ds/sub-01/anat"
    filled(tmp_path, f"{anat}/sub-01_T1w.nii.gz", f"{anat}/sub-01_FLAIR.nii.gz")

    jobs = plan_jobs([tmp_path / "ds"], tmp_path / "out")

    files = [job.file(label) for job in jobs for label in ("mean", "std", "observed")]
    assert len(set(files)) == 6
    assert files[2].name == "sub-01_desc-observedFLAIR_mask.nii.gz"


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_are_disjoint_and_their_union_is_all(parts: int, tmp_path: Path) -> None:
    scans = filled(tmp_path, *(f"{name}.nii" for name in "cabed"))
    jobs = plan_jobs(scans, tmp_path / "out")

    split = [part_of(jobs, Part(number, parts)) for number in range(1, parts + 1)]
    again = [part_of(jobs[::-1], Part(number, parts)) for number in range(1, parts + 1)]

    assert split == again
    assert sorted(job.scan for part in split for job in part) == sorted(scans)
    assert max(map(len, split)) - min(map(len, split)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="part must be I/N"):
        Part.parse(text)


def bids(folder: Path) -> Path:
    filled(folder, "dataset_description.json", "sub-01/anat/sub-01_T1w.nii.gz")
    return folder


@pytest.mark.parametrize("out", [".", "results", "sub-01", "sub-01/anat", "sub-01/../x"])
def test_results_never_go_into_a_tree_of_inputs(out: str, tmp_path: Path) -> None:
    tree = bids(tmp_path / "ds")

    with pytest.raises(OutputError, match="which is input") as failure:
        plan_jobs([tree], tree / out)
    assert "derivatives" in failure.value.hint


def test_a_folder_below_derivatives_is_where_bids_wants_results(tmp_path: Path) -> None:
    tree = bids(tmp_path / "ds")

    (job,) = plan_jobs([tree], tree / "derivatives" / "mriimpute")

    assert job.dataset == tree / "derivatives" / "mriimpute"


def test_results_never_go_into_a_folder_of_scans(tmp_path: Path) -> None:
    filled(tmp_path, "in/a.nii")

    with pytest.raises(OutputError, match="which is input"):
        plan_jobs([tmp_path / "in"], tmp_path / "in" / "derivatives" / "x")


def test_results_of_a_file_never_go_into_the_dataset_around_it(tmp_path: Path) -> None:
    tree = bids(tmp_path / "ds")
    scan = tree / "sub-01" / "anat" / "sub-01_T1w.nii.gz"

    with pytest.raises(OutputError, match="which is input"):
        plan_jobs([scan], tree / "results")
    assert plan_jobs([scan], None)[0].folder == scan.with_name("sub-01_T1w_imputed")


@pytest.mark.parametrize("link", ["out", "out/sub-01", "out/sub-01/anat"])
def test_a_link_into_the_tree_of_inputs_is_followed_and_refused(link: str, tmp_path: Path) -> None:
    tree = bids(tmp_path / "ds")
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tree / Path(link).relative_to("out"))

    with pytest.raises(OutputError, match="which is input"):
        plan_jobs([tree], tmp_path / "out")


def test_a_tree_behind_a_link_is_protected_like_the_tree(tmp_path: Path) -> None:
    tree = bids(tmp_path / "ds")
    (tmp_path / "link").symlink_to(tree)

    with pytest.raises(OutputError, match="which is input"):
        plan_jobs([tmp_path / "link"], tree / "results")


def test_the_image_that_marks_acquired_voxels_is_not_replaced(tmp_path: Path) -> None:
    scan, mark = filled(tmp_path, "a.nii.gz", "a_desc-observed.nii.gz")

    for observed in (None, mark):
        with pytest.raises(OutputError, match="is input and would be replaced"):
            plan_jobs([scan], tmp_path, observed=observed)


def test_results_never_lie_beside_their_scan_where_they_would_be_taken_for_input(
    tmp_path: Path,
) -> None:
    (scan,) = filled(tmp_path, "in/a.nii.gz")
    (tmp_path / "link").symlink_to(tmp_path / "in")

    for out in ("in", "link"):
        with pytest.raises(OutputError, match=r"holds a\.nii\.gz, which is input"):
            plan_jobs([scan], tmp_path / out)


def test_a_scan_is_not_replaced_by_the_result_of_another(tmp_path: Path) -> None:
    scans = filled(tmp_path, "a.nii.gz", "a_desc-mean.nii.gz")

    with pytest.raises(OutputError, match="is input and would be replaced"):
        plan_jobs(scans, tmp_path)


def test_a_name_that_is_not_utf8_is_a_source_byte_for_byte(tmp_path: Path) -> None:
    tree = tmp_path / os.fsdecode(b"K\xf6pfe")
    scan = tree / os.fsdecode(b"sub-\xf6_T1w.nii")

    describe(tmp_path / "out", tree, [scan], samples=0)

    assert sidecar(scan, tree)["Sources"] == ["bids:raw:sub-%F6_T1w.nii"]
    stored = read_json(tmp_path / "out" / "dataset_description.json")
    assert stored["DatasetLinks"] == {"raw": "../K%F6pfe"}
