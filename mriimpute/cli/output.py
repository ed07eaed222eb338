"""Tables: by rich on a terminal, aligned plain text elsewhere."""

import sys
from collections.abc import Sequence

import typer

__all__ = ["show_table"]


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
        rows: One text per column.
        title: Stands above the table.
        left: So many columns are set flush left, the others (numbers) flush right.
        err: Talk about the work, for stderr; else a result, for stdout.
    """
    if (sys.stderr if err else sys.stdout).isatty():
        _show_rich(headers, rows, title, left, err)
        return
    if title:
        typer.echo(title, err=err)
    lines = [list(headers), *map(list, rows)] if any(headers) else list(map(list, rows))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if n < left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip(), err=err)


def _show_rich(
    headers: Sequence[str], rows: Sequence[Sequence[str]], title: str, left: int, err: bool
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", show_header=any(headers))
    for n, header in enumerate(headers):
        table.add_column(header, justify="left" if n < left else "right")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a bracket in a file name is not markup
    Console(stderr=err).print(table)
