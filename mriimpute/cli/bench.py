"""`mriimpute bench`: how fast, in how much memory, and how far from what the machine could do."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mriimpute.cli import complete
from mriimpute.cli.app import command
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run

__all__ = ["bench"]

JSON, FIGURE = "bench.json", "bench.png"


def _size(value: str) -> str:
    if value and not re.fullmatch(r"\d+(x\d+){2}", value):
        raise typer.BadParameter(f"{value!r} is no size like 192x176x224")
    if value and min(map(int, value.split("x"))) < 16:
        raise typer.BadParameter(f"{value!r} is too small: at least 16 voxels along each axis")
    return value


@command()
def bench(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write bench.json and bench.png there."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="See that it works: figures mean little.")
    ] = False,
    size: Annotated[
        str,
        typer.Option(metavar="IxJxK", callback=_size, help="Voxels of the imputed volume."),
    ] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.one_method,
            help="What to measure beside the default model; repeat. By default: all.",
        ),
    ] = None,
) -> None:
    """Measure this machine: time and memory of every model, against others and against the floor.

    Nothing else should run meanwhile. Takes less than ten minutes on two cores.

    Example: mriimpute bench -o bench
    """
    import dataclasses

    from mriimpute.bench import BenchConfig, plain
    from mriimpute.bench import bench as measure
    from mriimpute.doctor import machine_facts
    from mriimpute.files import refuse_existing, writable_folder, write_json
    from mriimpute.report.bench import bench_tables
    from mriimpute.report.bench_figure import write_bench_figure

    chosen = tuple(model or ())
    config = BenchConfig.quick(chosen) if quick else BenchConfig(models=chosen)
    if size:
        i, j, k = map(int, size.split("x"))
        config = dataclasses.replace(config, size=(i, j, k))
    if out is not None:
        for name in (JSON, FIGURE):
            refuse_existing(out / name, overwrite=run.overwrite)
        writable_folder(out)

    found = measure(config, run.device, machine=machine_facts(), track=run.track)
    for table in bench_tables(found):
        show_table(table.headers, table.rows, title=table.title)
        typer.echo("")
    if out is not None:
        write_bench_figure(out / FIGURE, found)
        write_json(out / JSON, {**plain(found), "run": run.record(device=run.device)})
        typer.echo(f"{out / JSON}\n{out / FIGURE}")
