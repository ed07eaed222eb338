"""Finished results, kept so that the same command goes on where it stopped.

REPORT/settings.json              what every result depends on
REPORT/rows/SCAN_METHOD.json      one finished result
REPORT/panels/SCAN_METHOD.npz     planes of that scan, for figures
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

from mriimpute.errors import OutputError
from mriimpute.evaluation.methods import Method
from mriimpute.evaluation.panels import Panel, read_panel, write_panel
from mriimpute.evaluation.result import Result, result_from_json
from mriimpute.files import atomic, foreign, is_occupied, read_json, write_json

__all__ = ["Store"]

MARK = "definitions_version"
"""A setting that every report has, and `settings.json` of no other program."""


class Store:
    """The results and panels of one report folder.

    Args:
        report: The folder.
        settings: What every result depends on.
        overwrite: Remove the results that the folder holds, if it is a report.

    Raises:
        OutputError: If the folder holds something else, or results made with other settings.
    """

    def __init__(
        self, report: Path, settings: Mapping[str, str | int], *, overwrite: bool
    ) -> None:
        self.report = report
        self.settings = settings
        record = report / "settings.json"
        if is_occupied(report):
            _require_report(record)
            if overwrite:
                for folder in ("rows", "panels"):
                    shutil.rmtree(report / folder, ignore_errors=True)
            else:
                _require_same(read_json(record), settings, report)
        write_json(record, settings)  # replaced, never gone: it stays a report if killed here

    def result(self, scan: str, method: Method) -> Result | None:
        """Returns the finished result of a method on a scan, or None.

        Raises:
            OutputError: If the result is damaged, or was made by a method of that name with other
                weights.
        """
        path = self._result_path(scan, method.name)
        if not path.is_file():
            return None
        stored = read_json(path)
        try:
            made_by, result = stored["fingerprint"], result_from_json(stored["row"])
        except (KeyError, TypeError) as error:  # what another version wrote
            raise OutputError(
                f"{path} is no result of this version",
                hint="pass --overwrite to score all methods again, or another folder with -o",
            ) from error
        if made_by != method.fingerprint:
            raise OutputError(
                f"{path} was made by another {method.name}: its weights differ",
                hint="pass --overwrite to score all methods again, or another folder with -o",
            )
        return result

    def save(self, result: Result, method: Method, panel: Panel) -> None:
        """Writes a finished result; its panel before it."""
        write_panel(self._panel_path(result.scan, method.name), panel)
        # Not write_json: a score may be infinite or NaN, and must come back as it was.
        text = json.dumps(
            {"fingerprint": method.fingerprint, "row": dataclasses.asdict(result)}, indent=1
        )
        with atomic(self._result_path(result.scan, method.name)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def panel(self, scan: str, method: str) -> Panel:
        """Returns the panel of a finished result.

        Raises:
            OutputError: If it is missing or damaged.
        """
        path = self._panel_path(scan, method)
        try:
            return read_panel(path)
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise OutputError(
                f"{path} is missing or damaged", hint="pass --overwrite to score everything again"
            ) from error

    def _result_path(self, scan: str, method: str) -> Path:
        return self.report / "rows" / f"{scan}_{_safe(method)}.json"

    def _panel_path(self, scan: str, method: str) -> Path:
        return self.report / "panels" / f"{scan}_{_safe(method)}.npz"


def _safe(method: str) -> str:
    return re.sub(r"[^\w.@#-]", "_", method)


def _require_report(record: Path) -> None:
    """Stops before something else than a report is removed, or mixed with one."""
    if not record.is_file():
        raise foreign(record.parent, "report")
    try:
        stored = read_json(record)
    except OutputError:  # damaged: `--overwrite`, which that error names, must help
        return
    if MARK not in stored:
        raise foreign(record.parent, "report")


def _require_same(
    stored: Mapping[str, str | int], settings: Mapping[str, str | int], report: Path
) -> None:
    changed = [
        f"{key} was {stored.get(key)}, is {settings.get(key)}"
        for key in sorted({*stored, *settings})
        if stored.get(key) != settings.get(key)
    ]
    if changed:
        raise OutputError(
            f"{report} holds results made with other settings: {'; '.join(changed)}",
            hint="pass --overwrite to replace them, or another folder with -o",
        )
