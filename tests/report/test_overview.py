"""Tests for mriimpute.report.overview and the table beside it, by way of `mriimpute impute`."""

import base64
import io
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mriimpute.cli import app
from mriimpute.files import read_tsv, write_json
from mriimpute.imputation.jobs import Job, plan_jobs
from mriimpute.imputation.measures import MEASURES
from mriimpute.imputation.overview import grouped, rows_of
from mriimpute.report import overview, write_overviews

ReadPage = Callable[[Path], Any]


def save_scan(path: Path, seed: int = 0) -> Path:
    data = np.random.default_rng(seed).normal(500, 100, (24, 21, 5)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    return path


def impute(*words: object) -> Result:
    options = ["impute", "--model=linear", "--device=cpu"]
    return CliRunner().invoke(app, [*options, *map(str, words)])


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Three scans, each with a result."""
    for n, name in enumerate("abc"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz", seed=n)
    planned = plan_jobs([tmp_path / "in"], tmp_path / "out")
    for job, verdict, gain in zip(planned, ("pass", "fail", "pass"), (2.0, 1.0, 1.5), strict=True):
        shown = np.random.default_rng(0).random((24, 21, 17), np.float32)
        job.folder.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(shown, np.eye(4)), job.file("mean"))
        measures = {"gain_db": {"value": gain, "unit": "dB", "usual": [0.5, None]}}
        quality = {"verdict": verdict, "reasons": ["b < c & d", "e"], "measures": measures}
        write_json(job.record, {"Quality": quality})
    return planned


def test_a_batch_gets_a_table_and_a_page_and_a_single_scan_none(
    tmp_path: Path, read_page: ReadPage
) -> None:
    for n in range(2):
        save_scan(tmp_path / "in" / f"{n}.nii.gz", seed=n)

    result = impute(tmp_path / "in")
    alone = impute(tmp_path / "in" / "0.nii.gz", "-o", tmp_path / "alone")

    assert (result.exit_code, alone.exit_code) == (0, 0)
    out = tmp_path / "in_imputed"
    rows = read_tsv(out / "quality.tsv")
    assert [row["scan"] for row in rows] == ["0.nii.gz", "1.nii.gz"]
    assert list(rows[0]) == ["scan", "verdict", "reasons", *MEASURES, "result", "key"]
    assert rows[0]["result"] == "0_desc-mean.nii.gz"
    page = read_page(out / "index.html")
    assert page.open == []
    assert len(page.named("img")) == 2
    assert all(reference.startswith("data:image/png") for reference in page.references())
    for words in ("2 scans", "image data of the people scanned", "not a medical device",
                  "A lesion that lies between two slices"):  # fmt: skip
        assert words in page.text, words
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == [
        f"0_desc-{name}" for name in ("mean.json", "mean.nii.gz", "observed.json",
                                      "observed.nii.gz")
    ]  # fmt: skip


def test_the_verdict_stands_in_the_sidecar_on_stderr_and_in_the_report(tmp_path: Path) -> None:
    scan = save_scan(tmp_path / "scan.nii.gz")

    result = impute(scan, "--report", tmp_path / "run.json")

    sidecar = json.loads((tmp_path / "scan_imputed" / "scan_desc-mean.json").read_text())
    quality = sidecar["Quality"]
    (case,) = json.loads((tmp_path / "run.json").read_text())["cases"]
    assert quality["verdict"] == "fail"  # it is noise
    assert case["quality"] == {key: quality[key] for key in ("verdict", "reasons")}
    assert f"fail: scan.nii.gz: {'; '.join(quality['reasons'])}\n" in result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "scan_imputed/scan_desc-mean.nii.gz")]
    assert result.exit_code == 0


def test_the_worst_comes_first(jobs: list[Job], tmp_path: Path, read_page: ReadPage) -> None:
    (page,) = write_overviews(jobs, {})

    rows = read_tsv(tmp_path / "out" / "quality.tsv")
    assert [row["scan"] for row in rows] == ["b.nii.gz", "c.nii.gz", "a.nii.gz"]
    assert [row["gain_db"] for row in rows] == ["1", "1.5", "2"]
    assert rows[0]["reasons"] == "b < c & d; e"
    assert rows[0]["shrinkage"] == "n/a"
    shown = read_page(page)
    assert shown.text.index("b.nii") < shown.text.index("c.nii") < shown.text.index("a.nii")
    assert "b < c & d; e" in shown.text


def test_what_failed_is_there_with_its_problem_before_all_others(
    jobs: list[Job], tmp_path: Path
) -> None:
    rows = rows_of(tmp_path / "out", jobs, {jobs[0]: "no space"})

    assert rows[0].name == "a.nii.gz"
    assert (rows[0].verdict, rows[0].reasons) == ("failed", ("no space",))


def test_scans_of_other_parts_are_there_once_they_have_a_result(
    jobs: list[Job], tmp_path: Path
) -> None:
    jobs[1].record.unlink()

    assert {row.name for row in rows_of(tmp_path / "out", jobs, {})} == {"a.nii.gz", "c.nii.gz"}


def verdicts(jobs: Sequence[Job], problems: Mapping[Job, str], read_page: ReadPage) -> Any:
    """Returns the verdicts by scan, which the page has, too."""
    write_overviews(jobs, problems)
    (folder,) = {job.folder for job in jobs}
    rows = read_tsv(folder / "quality.tsv")
    assert f"{len(rows)} scans" in read_page(folder / "index.html").text
    return {row["scan"].removesuffix(".nii.gz"): row["verdict"] for row in rows}


def test_scans_that_a_call_is_not_about_stay_while_their_results_do(
    jobs: list[Job], read_page: ReadPage
) -> None:
    before = verdicts(jobs, {}, read_page)

    assert verdicts(jobs[:2], {}, read_page) == before
    assert verdicts(jobs[2:], {}, read_page) == before
    jobs[1].record.unlink()
    assert verdicts(jobs[2:], {}, read_page) == {"a": "pass", "c": "pass"}


def test_a_failure_stays_until_the_scan_succeeds(jobs: list[Job], read_page: ReadPage) -> None:
    record = json.loads(jobs[1].record.read_text())
    jobs[1].record.unlink()
    failed = {"a": "failed", "b": "failed", "c": "pass"}

    # a, imputed anew, has its earlier result still
    assert verdicts(jobs, {jobs[0]: "x", jobs[1]: "y"}, read_page) == failed
    assert verdicts(jobs, {jobs[2]: ""}, read_page) == failed
    assert verdicts(jobs[1:], {}, read_page) == failed
    write_json(jobs[1].record, record)
    assert verdicts(jobs, {}, read_page) == {**failed, "b": "fail"}
    assert verdicts(jobs, {jobs[0]: ""}, read_page)["a"] == "pass"


def test_the_page_is_renewed_whenever_it_would_be_another(
    jobs: list[Job], tmp_path: Path, read_page: ReadPage
) -> None:
    (page,) = write_overviews(jobs, {})
    before = page.read_bytes()

    jobs[0].page.touch()
    assert write_overviews(jobs, {}) == [page]
    assert read_page(page).references().count("a_desc-report.html") == 1
    jobs[0].page.unlink()
    jobs[0].record.write_text(jobs[0].record.read_text().replace('"Quality"', '"n": 1, "Quality"'))
    assert write_overviews(jobs, {}) == [page]  # of another result with the same verdict
    page.write_bytes(before)  # killed before the page was written
    assert write_overviews(jobs, {}) == [page]


def test_a_table_that_a_spreadsheet_saved_is_ours(
    jobs: list[Job], tmp_path: Path, read_page: ReadPage
) -> None:
    before = verdicts(jobs, {jobs[0]: "x"}, read_page)
    table = tmp_path / "out" / "quality.tsv"
    table.write_bytes(BOM_UTF8 + table.read_bytes().replace(b"\n", b"\r\n"))

    assert verdicts(jobs[1:], {jobs[1]: "y"}, read_page) == {**before, "b": "failed"}


def test_a_result_of_an_earlier_version_has_no_verdict(jobs: list[Job], tmp_path: Path) -> None:
    write_json(jobs[0].record, {"settings": {}})

    write_overviews(jobs, {})

    verdicts = {row["scan"]: row["verdict"] for row in read_tsv(tmp_path / "out/quality.tsv")}
    assert verdicts["a.nii.gz"] == "n/a"


def test_a_verdict_that_only_another_version_knows_is_looked_at(
    jobs: list[Job], read_page: ReadPage
) -> None:
    quality = {"verdict": "warn", "reasons": ["x"], "measures": {"gain_db": {}}}
    write_json(jobs[0].record, {"Quality": quality})

    assert verdicts(jobs, {}, read_page) == {"a": "look", "b": "fail", "c": "pass"}


def test_names_in_the_table_command_no_terminal(tmp_path: Path) -> None:
    job = Job(tmp_path / "a\x1b[31mb\n.nii", tmp_path)

    (row,) = rows_of(tmp_path, [job], {job: "no \x9b"})

    assert row.cells(tmp_path)["scan"] == "a [31mb .nii"
    assert row.cells(tmp_path)["reasons"] == "no"


def test_a_second_time_nothing_is_written_and_pictures_are_taken_over(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_overviews(jobs, {})
    before = (tmp_path / "out" / "index.html").read_text()
    made: list[Path] = []
    monkeypatch.setattr(overview, "_picture", lambda path: made.append(path) or "data:x")

    assert write_overviews(jobs, {}) == []
    write_json(jobs[0].record, {"Quality": {"verdict": "look", "reasons": []}})
    write_overviews(jobs, {})

    after = (tmp_path / "out" / "index.html").read_text()
    assert set(made) == {jobs[0].file("mean")}
    assert len(set(re.findall('data:image[^"]+', before + after))) == 1  # one and the same noise


@pytest.mark.parametrize("name", ["quality.tsv", "index.html"])
def test_a_file_of_somebody_else_stays(jobs: list[Job], name: str, tmp_path: Path) -> None:
    (tmp_path / "out" / name).write_text("mine\n")

    write_overviews(jobs, {})

    assert (tmp_path / "out" / name).read_text() == "mine\n"


def test_results_without_their_image_have_a_row_without_a_picture(
    jobs: list[Job], read_page: ReadPage
) -> None:
    jobs[2].file("mean").unlink()

    (page,) = write_overviews(jobs, {})

    assert len(read_page(page).named("img")) == 2


def test_left_is_on_the_left_of_pictures_and_they_say_so(
    jobs: list[Job], read_page: ReadPage
) -> None:
    shown = np.zeros((24, 21, 17), np.float32)
    shown[2:10, 3:18] = 1  # x grows towards the left
    nib.save(nib.Nifti1Image(shown, np.diag([-1.0, 1, 1, 1])), jobs[0].file("mean"))

    (page,) = write_overviews(jobs, {})

    read = read_page(page)
    (picture,) = (p["src"] for p in read.named("img") if "a.nii" in p["alt"])
    grey = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1])))
    left, right = np.split(np.asarray(grey)[:, : grey.width // 2 * 2], 2, axis=1)
    assert left.mean() < right.mean()
    assert [span["class"] for span in read.named("span")].count("L") == 3
    assert "L, the left of the body, is on their left" in read.text


def test_each_folder_of_results_has_its_own(tmp_path: Path) -> None:
    for name in ("x/1", "x/2", "y/sub-3/anat/sub-3_T1w"):
        save_scan(tmp_path / f"{name}.nii.gz")

    apart = grouped(plan_jobs([tmp_path / "x", tmp_path / "y"], None))
    together = grouped(plan_jobs([tmp_path / "x", tmp_path / "y"], tmp_path / "out"))

    assert {root.name: len(jobs) for root, jobs in apart.items()} == {"x_imputed": 2}
    assert {root.name: len(jobs) for root, jobs in together.items()} == {"out": 3}


def test_one_scan_of_a_batch_again_has_the_table_of_the_batch(jobs: list[Job]) -> None:
    assert grouped(jobs[:1]) == {}

    write_overviews(jobs, {})

    assert grouped(jobs[:1]) == {jobs[0].folder: jobs[:1]}


def test_a_name_that_is_markup_stays_text(tmp_path: Path, read_page: ReadPage) -> None:
    for name in ("<b>bold", "plain"):
        save_scan(tmp_path / "in" / f"{name}.nii.gz")

    impute(tmp_path / "in", "--page")

    page = read_page(tmp_path / "in_imputed" / "index.html")
    assert "<b>bold.nii.gz" in page.text
    assert page.named("b") == []
    assert "%3Cb%3Ebold_desc-report.html" in page.references()


def test_a_name_that_is_not_utf8_is_linked_byte_for_byte(
    tmp_path: Path, read_page: ReadPage
) -> None:
    for name in (os.fsdecode(b"K\xf6pf"), "K\N{LATIN SMALL LETTER O WITH DIAERESIS}pf"):
        save_scan(tmp_path / "in" / "scan.nii").rename(tmp_path / "in" / f"{name}.nii")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    for job in jobs:
        job.folder.mkdir(exist_ok=True)
        write_json(job.record, {})
        job.page.touch()

    (page,) = write_overviews(jobs, {})

    assert sorted(read_page(page).references()) == [
        "K%C3%B6pf_desc-report.html",
        "K%F6pf_desc-report.html",
    ]
    assert {row["scan"] for row in read_tsv(page.with_name("quality.tsv"))} == {
        path.name for path in (tmp_path / "in").iterdir()
    }
    assert write_overviews(jobs, {}) == []
