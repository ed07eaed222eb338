"""Tests for `mriimpute impute` of many scans, and for `mriimpute-bids`."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mriimpute.cli import app, bids
from mriimpute.cli.variadic import repeat_options
from mriimpute.errors import OutputError
from mriimpute.files import sha256
from mriimpute.imputation import scan as scan_module
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.io import Scan, read_scan


def save_scan(path: Path, seed: int = 0) -> Path:
    data = np.random.default_rng(seed).normal(500, 100, (8, 7, 4)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    return path


def call(*words: object) -> Result:
    options = ["impute", "--model=linear", "--device=cpu"]
    return CliRunner().invoke(app, [*options, *map(str, words)])


def batch(folder: Path) -> list[Path]:
    """Three scans, the second of which is damaged."""
    scans = [save_scan(folder / f"{name}.nii.gz", seed=n) for n, name in enumerate("abc")]
    scans[1].write_bytes(scans[1].read_bytes()[:-9])
    return scans


def tree(folder: Path) -> Path:
    for n, (sub, ses) in enumerate((s, t) for s in ("01", "02") for t in ("pre", "post")):
        anat = folder / f"sub-{sub}" / f"ses-{ses}" / "anat"
        save_scan(anat / f"sub-{sub}_ses-{ses}_T1w.nii.gz", seed=n)
    save_scan(folder / "sub-01" / "ses-pre" / "anat" / "sub-01_ses-pre_FLAIR.nii.gz", seed=9)
    description = {"Name": "x", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


def means(result: Result) -> list[str]:
    return [Path(line).name for line in result.stdout.splitlines()]


def test_the_report_tells_what_became_of_each_scan(tmp_path: Path) -> None:
    scans, file = batch(tmp_path / "in"), tmp_path / "run.json"

    result = call(tmp_path / "in", "-o", tmp_path / "out", "--report", file, "--seed", 5)

    told = json.loads(file.read_text())
    assert result.exit_code == 1
    assert told["complete"]
    assert told["counts"] == {"done": 2, "skipped": 0, "failed": 1, "waiting": 0}
    assert [case["status"] for case in told["cases"]] == ["done", "failed", "done"]
    assert [case["sha256"] for case in told["cases"]] == [sha256(scan) for scan in scans]
    assert told["cases"][0]["outputs"] == ["a_desc-mean.nii.gz", "a_desc-observed.nii.gz"]
    assert told["cases"][0]["error"] is None
    assert told["cases"][1]["outputs"] == []
    assert told["cases"][1]["error"]["problem"].startswith("b.nii.gz is damaged or cut short")
    assert told["cases"][1]["error"]["hint"] == "copy the file again"
    assert told["cases"][2]["seconds"] > 0
    assert told["seed"] == 5
    assert told["settings"]["request"]["model"] == "linear"
    assert told["versions"]["mriimpute"]
    assert str(tmp_path) not in file.read_text()


def test_the_report_is_true_after_every_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, int]] = []
    read = scan_module.read_scan

    def spy(*words: object, **named: object) -> object:
        seen.append(json.loads((tmp_path / "run.json").read_text())["counts"])
        return read(*words, **named)

    monkeypatch.setattr(scan_module, "read_scan", spy)
    batch(tmp_path / "in")

    call(tmp_path / "in", "-o", tmp_path / "out", "--report", tmp_path / "run.json")

    assert [counts["waiting"] for counts in seen] == [3, 2, 1]
    assert [counts["failed"] for counts in seen] == [0, 0, 1]


def test_a_table_at_the_end_tells_what_became_of_each_scan(tmp_path: Path) -> None:
    batch(tmp_path / "in")

    result = call(tmp_path / "in", "-o", tmp_path / "out")

    rows = re.findall(r"^(\w\.nii\.gz)  (done|failed) ", result.stderr, flags=re.MULTILINE)
    assert rows == [("a.nii.gz", "done"), ("b.nii.gz", "failed"), ("c.nii.gz", "done")]
    assert means(result) == ["a_desc-mean.nii.gz", "c_desc-mean.nii.gz"]
    assert "not a medical device" in result.stderr


def test_the_table_at_the_end_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    long = "sub-0001_ses-baseline_acq-thick_rec-norm_run-01_T1w"
    (damaged := save_scan(tmp_path / "in" / f"{long}.nii.gz")).write_bytes(b"no image" * 9)
    save_scan(tmp_path / "in" / "b.nii.gz")

    result = call(tmp_path / "in", "-o", tmp_path / "out")

    lines = result.stderr.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("scan "))
    table = lines[start : next(n for n, line in enumerate(lines) if " files, " in line)]
    assert max(map(len, table)) <= columns
    assert damaged.name[:18] in result.stderr
    for word in ("done", "failed", "problem", "seconds", "size", "image"):
        assert word in "\n".join(table)


def test_of_many_scans_folders_and_totals_are_told_and_where_the_list_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mriimpute.cli.batch.MAX_TABLE_ROWS", 2)
    source = tree(tmp_path / "ds")
    words = (source, "-o", tmp_path / "out", "--report", tmp_path / "run.json")

    result = call(*words)

    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert f"the list of all 5 scans: {tmp_path / 'run.json'}" in result.stderr
    total = f"{len(files) + 1} files, "
    assert f"in 4 folders of {tmp_path / 'out'}" in result.stderr
    beside = next(line for line in result.stderr.splitlines() if line.startswith("beside them"))
    for name in ("run.json", "dataset_description.json", "descriptions.tsv", "README"):
        assert name in beside
    assert [line for line in result.stderr.splitlines() if line.startswith(total)]
    assert "desc-mean" not in result.stderr
    silent = call(*words, "--overwrite", "-q")
    assert silent.stderr == ""


def test_an_unexpected_error_of_one_scan_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_target_grid(scan: Scan, *words: object) -> object:
        if scan.path.name == "a.nii.gz":
            raise RuntimeError("surprise")
        return grid(scan, *words)

    grid = scan_module.to_target_grid
    monkeypatch.setattr(scan_module, "to_target_grid", to_target_grid)
    batch(tmp_path / "in")

    result = call(tmp_path / "in", "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert means(result) == ["c_desc-mean.nii.gz"]
    assert "error: unexpected RuntimeError: surprise" in result.stderr
    assert "failed: 2 of 3: a.nii.gz, b.nii.gz" in result.stderr


def test_a_missing_scan_of_a_list_does_not_stop_the_others(tmp_path: Path) -> None:
    save_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "scans.txt").write_text("gone.nii.gz\na.nii.gz\n")

    result = call(tmp_path / "in" / "scans.txt", "-o", tmp_path / "out")

    assert result.exit_code == 1
    assert means(result) == ["a_desc-mean.nii.gz"]
    assert "gone.nii.gz does not exist" in result.stderr


def test_a_folder_called_by_a_word_leaves_the_words_of_messages_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_scan(Path("d") / "a.nii.gz")
    (Path("d") / "scans.txt").write_text("gone.nii.gz\na.nii.gz\n")

    call("d/scans.txt", "-o", "out", "--report", "run.json")

    _, gone = json.loads(Path("run.json").read_text())["cases"]
    assert gone["error"]["problem"] == "gone.nii.gz does not exist"


def test_a_finished_batch_is_no_error_and_its_report_says_skipped(tmp_path: Path) -> None:
    for n, name in enumerate("ab"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", seed=n)
    words = (tmp_path / "in", "-o", tmp_path / "out", "--report", tmp_path / "run.json")
    call(*words)
    before = (tmp_path / "out" / "a_desc-mean.nii.gz").stat().st_mtime_ns

    again = call(*words)

    told = json.loads((tmp_path / "run.json").read_text())
    assert (again.exit_code, again.stdout) == (0, "")
    assert "2 of 2 were done before" in again.stderr
    assert [case["status"] for case in told["cases"]] == ["skipped", "skipped"]
    assert told["cases"][0]["outputs"] == ["a_desc-mean.nii.gz", "a_desc-observed.nii.gz"]
    assert (tmp_path / "out" / "a_desc-mean.nii.gz").stat().st_mtime_ns == before


def test_one_finished_scan_is_skipped_and_one_line_says_so(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz")
    call(scan)
    mean = tmp_path / "a_imputed" / "a_desc-mean.nii.gz"
    before = mean.stat().st_mtime_ns

    again = call(scan)

    assert (again.exit_code, again.stdout) == (0, "")
    assert [line for line in again.stderr.splitlines() if "was made before" in line] == [
        f"{mean} was made before, as it is asked for"
    ]
    assert mean.stat().st_mtime_ns == before


def test_one_scan_done_in_another_way_is_an_error_that_names_overwrite(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz")
    call(scan)

    other = call(scan, "--seed", 1)

    assert other.exit_code == 1
    assert "a_desc-mean.nii.gz exists" in other.stderr
    assert "--overwrite" in other.stderr


def pages(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
    """Makes a page take no time: the mean is read, and an empty file written."""

    def write(job: Job, *, request: Request) -> None:
        if job.scan.name == failing:
            raise OutputError("no space", hint="make some")
        read_scan(job.file("mean"))
        job.page.touch()

    monkeypatch.setattr("mriimpute.report.write_scan_page", write)


def test_a_damaged_result_that_gets_a_page_is_made_anew_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages(monkeypatch)
    words = (tmp_path / "in", "-o", out := tmp_path / "out", "--report", tmp_path / "run.json")
    for n, name in enumerate("ab"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", seed=n)
    call(*words)
    mean = out / "a_desc-mean.nii.gz"
    whole = mean.read_bytes()
    mean.write_bytes(whole[:-9])
    save_scan(tmp_path / "in" / "c.nii.gz", seed=2)

    result = call(*words, "--page")

    assert result.exit_code == 0, result.stderr
    assert means(result) == ["a_desc-mean.nii.gz", "c_desc-mean.nii.gz"]
    assert "warning: a.nii.gz is imputed anew" in result.stderr
    assert mean.read_bytes() == whole
    assert len(list(out.glob("*.html"))) == 3 + 1  # and the overview
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["counts"] == {"done": 2, "skipped": 1, "failed": 0, "waiting": 0}


def test_a_page_that_cannot_be_written_fails_alone_and_keeps_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages(monkeypatch, failing="a.nii.gz")
    words = (tmp_path / "in", "-o", out := tmp_path / "out")
    save_scan(tmp_path / "in" / "a.nii.gz")
    call(*words)
    before = (out / "a_desc-mean.nii.gz").stat().st_mtime_ns
    save_scan(tmp_path / "in" / "b.nii.gz", seed=1)

    result = call(*words, "--page")

    assert result.exit_code == 1
    assert means(result) == ["b_desc-mean.nii.gz"]
    assert "error: no space" in result.stderr
    assert (out / "a_desc-mean.nii.gz").stat().st_mtime_ns == before


def test_results_made_with_an_option_that_is_gone_do_not_count_as_done(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz")
    call(scan)
    record = tmp_path / "a_imputed" / "a_desc-mean.json"
    content = json.loads(record.read_text())

    before = content["settings"]["request"].pop("keep_observed")
    content["settings"]["request"]["keep_observed"] = False
    record.write_text(json.dumps(content))
    again = call(scan)

    assert before is True  # as earlier versions wrote by default
    assert again.exit_code == 1


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert call(save_scan(tmp_path / "a.nii.gz"), "--part", "3/2").exit_code == 2


def test_jobs_of_an_array_do_everything_once(tmp_path: Path) -> None:
    for n, name in enumerate("abcd"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", seed=n)
    words = (tmp_path / "in", "-o", tmp_path / "out")

    jobs = [call(*words, "--part", f"{number}/5") for number in range(1, 6)]

    assert [job.exit_code for job in jobs] == [0] * 5
    assert sorted(name for job in jobs for name in means(job)) == [
        f"{name}_desc-mean.nii.gz" for name in "abcd"
    ]
    assert max(len(means(job)) for job in jobs) == 1


def test_a_report_replaces_no_other_file_and_no_report_of_another_part(tmp_path: Path) -> None:
    save_scan(tmp_path / "in" / "a.nii.gz")
    save_scan(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "mine.json").write_text("{}")
    words = (tmp_path / "in", "-o", tmp_path / "out", "-q")

    refused = call(*words, "--report", tmp_path / "mine.json")
    call(*words, "--part", "1/2", "--report", tmp_path / "run.json")
    other = call(*words, "--part", "2/2", "--report", tmp_path / "run.json")
    inside = call(*words, "--report", tmp_path / "in" / "run.json")

    assert "mine.json exists and is no report" in refused.stderr
    assert "run.json is the report of another part" in other.stderr
    assert "which is input" in inside.stderr
    assert (tmp_path / "mine.json").read_text() == "{}"
    assert {result.exit_code for result in (refused, other, inside)} == {1}


def test_a_result_that_is_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "a.nii.gz")
    call(scan, "-o", tmp_path / "out")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    results = sorted((tmp_path / "out").iterdir())
    for path in results[1:]:  # the record of the mean stays one
        path.unlink()
        path.symlink_to(precious)

    result = call(scan, "-o", tmp_path / "out", "--overwrite")

    assert result.exit_code == 0, result.stderr
    assert precious.read_bytes() == b"precious"
    assert not any(path.is_symlink() for path in results)


def test_a_bids_tree_becomes_a_derivative_dataset(tmp_path: Path) -> None:
    result = call(tree(tmp_path / "ds"), "-o", tmp_path / "out")

    out = tmp_path / "out"
    description = json.loads((out / "dataset_description.json").read_text())
    record = json.loads(
        (out / "sub-01/ses-pre/anat/sub-01_ses-pre_desc-mean_FLAIR.json").read_text()
    )
    labels = [line.split("\t") for line in (out / "descriptions.tsv").read_text().splitlines()]
    images = list(out.rglob("*.nii.gz"))
    assert result.exit_code == 0, result.stderr
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "mriimpute"
    assert description["GeneratedBy"][0]["Version"]
    assert (out / description["DatasetLinks"]["raw"]).resolve() == tmp_path / "ds"
    assert record["Sources"] == ["bids:raw:sub-01/ses-pre/anat/sub-01_ses-pre_FLAIR.nii.gz"]
    assert record["SpatialReference"] == "orig"
    assert record["SkullStripped"] is False
    assert record["Resolution"].startswith("1 mm between slices, 4 mm where acquired")
    assert labels[0] == ["desc_id", "description"]
    used = {match[0] for path in images if (match := re.search(r"desc-\w+?(?=_)", path.name))}
    assert used <= {label for label, _ in labels[1:]}
    assert len(images) == 2 * 5
    assert "not a medical device" in (out / "README").read_text()
    assert (out / ".bidsignore").read_text() == "*.html\nquality.tsv\n"


def test_results_of_files_and_plain_folders_get_no_dataset_files(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "in" / "sub-01_T1w.nii.gz")

    call(tmp_path / "in", "-o", tmp_path / "folder")
    call(scan, "-o", tmp_path / "file")

    for out in ("folder", "file"):
        assert not list((tmp_path / out).glob("[dR]*"))
        record = json.loads((tmp_path / out / "sub-01_desc-mean_T1w.json").read_text())
        assert "Sources" not in record
        assert "not a medical device" in record["Notice"]


def test_parts_of_a_tree_describe_the_same_dataset(tmp_path: Path) -> None:
    source = tree(tmp_path / "ds")
    call(source, "-o", tmp_path / "whole")

    for number in (1, 2, 3):
        call(source, "-o", tmp_path / "parts", "--part", f"{number}/3")

    for name in ("dataset_description.json", "descriptions.tsv", "README"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_results_are_not_mixed_with_another_dataset(tmp_path: Path) -> None:
    source, other = tree(tmp_path / "ds"), tree(tmp_path / "other")
    more = save_scan(tmp_path / "more" / "sub-09" / "anat" / "sub-09_T1w.nii.gz").parents[2]

    mixed = call(source, "-o", other, "-q")
    both = call(source, more, "-o", tmp_path / "out", "-q")

    assert "is another dataset" in mixed.stderr
    assert not list(other.rglob("*desc-*"))
    assert "would be one dataset" in both.stderr
    assert not (tmp_path / "out").exists()


def test_labels_choose_participants_and_sessions(tmp_path: Path) -> None:
    source = tree(tmp_path / "ds")

    words = ("--participant-label", "01", "sub-02", "--session-id", "post")
    result = call(source, "-o", tmp_path / "out", *words)
    absent = call(source, "-o", tmp_path / "out2", "--participant-label", "7", "-q")

    assert means(result) == [f"sub-{n}_ses-post_desc-mean_T1w.nii.gz" for n in ("01", "02")]
    assert "no scan is of participant 7" in absent.stderr
    assert not (tmp_path / "out2").exists()


def test_a_bids_app_is_the_same_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tree(tmp_path / "ds")
    (tmp_path / "f.json").write_text('{"flair": {"suffix": "FLAIR"}}')
    words = [str(source), str(tmp_path / "app"), "participant", "--model", "linear"]
    labels = ["--participant-label", "01", "--session-id", "pre", "--n-cpus", "1"]

    with pytest.raises(SystemExit) as done:
        bids.main([*words, *labels, "--bids-filter-file", str(tmp_path / "f.json")])
    with pytest.raises(SystemExit) as again:
        bids.main([*words, *labels, "--bids-filter-file", str(tmp_path / "f.json")])

    call(source, "-o", tmp_path / "plain")
    assert (done.value.code, again.value.code) == (0, 0)
    images = [path.relative_to(tmp_path / "app") for path in (tmp_path / "app").rglob("*.nii.gz")]
    assert len(images) == 2
    for image in images:
        assert (tmp_path / "app" / image).read_bytes() == (tmp_path / "plain" / image).read_bytes()
    assert "FLAIR" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["ds", "out", "group"], "nothing to do at the group level"),
        (["empty", "out", "participant"], "is not a BIDS dataset"),
        (["ds", "ds", "participant"], "is not a BIDS dataset"),
    ],
)
def test_what_a_bids_app_cannot_do_is_two_lines(
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_scan(tmp_path / "ds" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")

    with pytest.raises(SystemExit) as done:
        bids.main(words)

    error, hint = capfd.readouterr().err.splitlines()
    assert done.value.code == 1
    assert error.startswith("error: ")
    assert problem in error
    assert hint.startswith("hint: ")
    assert not (tmp_path / "out").exists()


def test_a_bids_app_takes_a_tree_without_description_if_told(tmp_path: Path) -> None:
    save_scan(tmp_path / "ds" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    words = [str(tmp_path / "ds"), str(tmp_path / "out"), "participant", "--model", "linear"]

    with pytest.raises(SystemExit) as done:
        bids.main([*words, "--skip-bids-validation", "-q"])

    assert done.value.code == 0
    assert (tmp_path / "out" / "dataset_description.json").is_file()


def test_an_option_takes_words_until_the_next_option() -> None:
    words = ["ds", "--participant-label", "01", "02", "-o", "out", "--session-id=a", "x"]

    assert repeat_options(words) == [
        *("ds", "--participant-label", "01", "--participant-label", "02"),
        *("-o", "out", "--session-id=a", "x"),
    ]
