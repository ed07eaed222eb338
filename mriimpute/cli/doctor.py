"""`mriimpute doctor`: what this machine is, and whether it computes what it should."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mriimpute.cli.app import command
from mriimpute.cli.output import show_table
from mriimpute.cli.run import Run

if TYPE_CHECKING:
    from mriimpute.doctor import Check

__all__ = ["doctor"]

COLUMNS = ("check", "verdict", "measured", "limit", "unit", "")


@command()
def doctor(
    run: Run,
    check_numbers: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Also load torch and compare what --device computes with NumPy: a minute or two.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, for programs.")
    ] = False,
) -> None:
    """Show what this machine is: versions, GPU, driver, memory. Takes a second, loads nothing.

    Exits with status 1 if a check fails. What it prints holds no path and no name.

    Example: mriimpute doctor --self-test
    """
    from mriimpute.doctor import machine_checks, machine_facts, self_test

    facts = machine_facts()
    if not as_json:
        show_table(["", ""], _rows(facts), left=2)
        if check_numbers and not run.quiet:
            typer.echo("testing ...", err=True)

    tested = []
    for result in self_test(run.wanted_device) if check_numbers else ():
        if isinstance(result, dict):
            facts["accelerator"] = result
        else:
            tested.append(result)
    checks = [*machine_checks(facts), *tested]
    failed = [check.name for check in checks if check.verdict == "fail"]
    if as_json:
        plain = [asdict(check) for check in checks]
        typer.echo(json.dumps({**facts, "checks": plain, "ok": not failed}, allow_nan=False))
    else:
        if check_numbers:
            show_table(["", ""], _rows({"accelerator": facts.get("accelerator", {})}), left=2)
        show_table(COLUMNS, list(map(_cells, checks)), left=6)
        if not check_numbers and not run.quiet:
            typer.echo(
                "whether it computes what it should: mriimpute doctor --self-test", err=True
            )
    if failed:
        typer.echo(f"failed: {len(failed)} of {len(checks)}: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _cells(check: "Check") -> list[str]:
    from mriimpute.memory import format_bytes

    in_bytes = check.unit == "bytes"
    measured, limit = (
        "" if x is None else format_bytes(int(x)) if in_bytes else f"{x:.2g}"
        for x in (check.measured, check.limit)
    )
    unit = "at least" if in_bytes else check.unit
    return [check.name, check.verdict, measured, limit, unit, check.note]


def _rows(facts: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Returns a line for each group of facts, and one for each device."""
    rows = []
    for group, values in facts.items():
        plain = {name: value for name, value in values.items() if name != "devices"}
        rows.append((group, _line(plain)))
        rows += [("GPU", _line(device)) for device in values.get("devices", [])]
    return rows


def _line(values: dict[str, Any]) -> str:
    return ", ".join(_shown(name, value) for name, value in values.items())


def _shown(name: str, value: Any) -> str:
    from mriimpute.memory import format_bytes

    name = name.replace("_", " ")
    if value is None:
        return f"{name.removesuffix(' bytes')} none"
    if name.endswith(" bytes"):
        return f"{name.removesuffix(' bytes')} {format_bytes(value)}"
    return f"{name} {' '.join(value) if isinstance(value, list) else value}"
