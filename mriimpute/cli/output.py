"""Tables that fit the terminal: names wrap, and columns that find no room go to a second table.

Off a terminal a line is as long as it has to be, for programs that read it, unless `COLUMNS` says
otherwise.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import typer

__all__ = ["show_table", "show_text"]

GAP = 2
"""Blanks between two columns."""

NARROWEST = 18
"""Characters to which a column of text is narrowed before others go to a second table."""

UNLIMITED = 10_000


class _Column(NamedTuple):
    """Text in a column, its header first where there is one.

    Attributes:
        cells: One per line of the table.
        is_text: It may be narrowed, and is set flush left; else it holds numbers.
        widest: Characters that it takes where there is room.
        narrowest: Characters that it takes at least.
    """

    cells: Sequence[str]
    is_text: bool
    widest: int
    narrowest: int


def show_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    left: int = 1,
    err: bool = False,
) -> None:
    """Shows rows of text.

    Args:
        headers: One per column; all empty for a table without a head.
        rows: One text per column; the first one names the row, and is repeated in each table.
        title: Stands above the table.
        left: So many columns are text, set flush left; the others (numbers) are set flush right.
        err: Talk about the work, for stderr; else a result, for stdout.
    """
    width = _width(err)
    lines = [list(headers), *map(list, rows)] if any(headers) else list(map(list, rows))
    columns = [
        _column(cells, is_text=n < left, has_header=any(headers), width=width)
        for n, cells in enumerate(zip(*lines, strict=True))
    ]
    if title:
        show_text(title, err=err)
    for number, table in enumerate(_tables(columns, width)):
        if number:
            typer.echo("", err=err)
        _show(table, width, err=err, has_header=any(headers))


def show_text(text: str, *, err: bool = False) -> None:
    """Shows a paragraph.

    Args:
        text: Its words.
        err: Talk about the work, for stderr; else a result, for stdout.
    """
    width = _width(err)
    _show([_Column([text], True, width, width)], width, err=err)


def _width(err: bool) -> int:
    """Returns how many characters a line may have."""
    if (sys.stderr if err else sys.stdout).isatty():
        return shutil.get_terminal_size().columns
    told = os.environ.get("COLUMNS", "")
    return int(told) if told.isdecimal() and int(told) else UNLIMITED


def _column(cells: Sequence[str], *, is_text: bool, has_header: bool, width: int) -> _Column:
    from rich.cells import cell_len  # an ideogram is as wide as two letters

    words = [word for cell in cells[:1] for word in cell.split()] if has_header else []
    widest = max(map(cell_len, cells))
    whole = max(map(cell_len, [*words, *cells[has_header:]]), default=0)
    narrowest = min(widest, NARROWEST) if is_text else whole
    return _Column(cells, is_text, widest, min(narrowest, max(1, (width - GAP) // 2)))


def _tables(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Returns which columns stand together: as many as have room behind the first one."""
    tables: list[list[_Column]] = [list(columns[:1])] if columns else []
    for column in columns[1:]:
        if sum(each.narrowest + GAP for each in tables[-1]) + column.narrowest > width:
            tables.append([columns[0]])
        tables[-1].append(column)
    return tables


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Returns the characters of each column: the widest ones are narrowed until all fit."""
    widths = [column.widest for column in columns]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        free = [n for n, column in enumerate(columns) if widths[n] > column.narrowest]
        if not free:
            break
        widths[max(free, key=lambda n: widths[n])] -= 1
    return widths


def _show(columns: Sequence[_Column], width: int, *, err: bool, has_header: bool = False) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=err, width=width, height=UNLIMITED)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=has_header)
    for column, size in zip(columns, _widths(columns, width), strict=True):
        side: Literal["left", "right"] = "left" if column.is_text else "right"
        head = Text(column.cells[0] if has_header else "", style="bold")
        table.add_column(head, justify=side, width=size, overflow="fold")
    for row in list(zip(*(column.cells for column in columns), strict=True))[has_header:]:
        table.add_row(*map(Text, row))  # Text: a bracket in a file name is not markup
    with console.capture() as shown:
        console.print(table)
    for line in shown.get().splitlines():
        typer.echo(line.rstrip(), err=err)
