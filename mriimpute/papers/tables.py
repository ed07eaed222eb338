"""Tables of numbers as text: TSV for programs, Markdown for people."""

import csv
import io
import math
from pathlib import Path

from mriimpute.files import atomic
from mriimpute.papers.experiment import Cell, Conclusion, Table

__all__ = ["text", "write_tables"]


def write_tables(out: Path, title: str, source: str, conclusion: Conclusion) -> None:
    """Writes table.md with all tables and claims, and table.tsv, table_2.tsv and so on."""
    parts = [f"# {title}\n\n{source}\n"]
    for number, table in enumerate(conclusion.tables, start=1):
        parts.append(_markdown(table))
        _write(out / ("table.tsv" if number == 1 else f"table_{number}.tsv"), _tsv(table))
    parts += [
        f"- {'yes' if claim.holds else '**no**'}: {claim.text} ({claim.detail})\n"
        for claim in conclusion.claims
    ]
    _write(out / "table.md", "\n".join(parts))


def text(cell: Cell) -> str:
    """Returns a cell as people read it: four significant digits, a dash for no number.

    Example:
        >>> text(0.0123456), text(18), text(None), text("figure only")
        ('0.01235', '18', '-', 'figure only')
    """
    match cell:
        case None:
            return "-"
        case float() if math.isnan(cell):
            return "-"
        case float():
            return f"{cell:.4g}"
        case _:
            return str(cell)


def _markdown(table: Table) -> str:
    rows = [[text(cell).replace("|", "\\|") for cell in row] for row in table.rows]
    lines = [list(table.columns), ["---", *["---:"] * (len(table.columns) - 1)], *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table.title}\n\n{body}\n"


def _tsv(table: Table) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_exact(cell) for cell in row] for row in table.rows)
    return file.getvalue()


def _exact(cell: Cell) -> str:
    return "n/a" if cell is None or cell != cell else str(cell)


def _write(path: Path, content: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
