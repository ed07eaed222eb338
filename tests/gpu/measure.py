"""What `measure.sh` needs besides commands: made-up heads to learn from, and one JSON."""

import datetime
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PARTS = ("tests", "heads", "training", "bench")

SAID = 20
"""Lines of its output that are kept of a part that failed."""


def write_heads(folder: Path, count: int, size: tuple[int, int, int]) -> None:
    """Writes made-up heads of which one slice in six was acquired; the last one is to validate."""
    from mriimpute.bench.phantom import write_head

    rows = ["participant_id\tsplit"]
    for number in range(count):
        name = f"sub-{number:02}"
        path = folder / name / "anat" / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        write_head(path, size, seed=number)
        rows.append(f"{name}\t{'val' if number == count - 1 else 'train'}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")


def together(work: Path, device: str) -> dict[str, Any]:
    """Returns what the parts left in `work`, as plain values; null for what is not there.

    Args:
        work: Folder of `measure.sh`.
        device: As it was asked for.
    """
    bench = _json(work / "bench" / "bench.json")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device,
        "device_name": bench["device_name"] if bench else None,
        "parts": {name: _ended(work, name) for name in PARTS},
        "tests": _tests(work / "tests.xml"),
        "training": _training(work / "run" / "journal.jsonl"),
        "bench": bench,
    }


def _ended(work: Path, name: str) -> dict[str, Any]:
    status, seconds = map(int, (work / f"{name}.status").read_text().split())
    ended: dict[str, Any] = {"status": status, "seconds": seconds}
    if status:
        ended["said"] = (work / f"{name}.log").read_text(errors="replace").splitlines()[-SAID:]
    return ended


def _tests(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    tree = ElementTree.parse(path)  # noqa: S314 (pytest wrote it just now)
    suite = next(tree.iter("testsuite"))
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    wrong = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {**counts, "wrong": wrong}


def _training(path: Path) -> dict[str, Any] | None:
    """Returns the last line of the journal, which has steps per second and gains by gap."""
    lines = path.read_text().splitlines() if path.is_file() else []
    last: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return last


def _json(path: Path) -> dict[str, Any] | None:
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return content


def main(words: Sequence[str]) -> int:
    """Does one of `heads DIR COUNT I J K` and `together WORK DEVICE RESULT`."""
    match list(words):
        case ["heads", folder, count, i, j, k]:
            write_heads(Path(folder), int(count), (int(i), int(j), int(k)))
            return 0
        case ["together", work, device, result]:
            content = together(Path(work), device)
            Path(result).write_text(json.dumps(content, indent=2) + "\n")
            sys.stdout.write(f"{result}\n")
            return int(any(part["status"] for part in content["parts"].values()))
        case _:
            sys.stderr.write(f"{main.__doc__}\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
