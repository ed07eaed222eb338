"""`-i`, `--input`: what every command that reads scans takes in place of its first words."""

import inspect
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

__all__ = ["chosen", "is_input", "option", "optional"]

NAME = "input_"

UsageError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)


def is_input(parameter: inspect.Parameter) -> bool:
    """Tells whether a parameter of a command is the paths that it reads."""
    kind, *more = get_args(parameter.annotation) or (None,)
    is_argument = any(isinstance(each, type(typer.Argument())) for each in more)
    return is_argument and kind in (Path, list[Path])


def option(parameter: inspect.Parameter) -> inspect.Parameter:
    """Returns the option that may be given in its place."""
    name = _metavar(parameter)
    again = "; may be repeated" if _takes_several(parameter) else ""
    kind = Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", metavar=name, help=f"In place of {name}{again}."),
    ]
    return inspect.Parameter(NAME, parameter.kind, default=None, annotation=kind)


def optional(parameter: inspect.Parameter) -> inspect.Parameter:
    """Returns the parameter as one that may be left out, in favour of the option."""
    kind, *more = get_args(parameter.annotation)
    loose = Annotated[(kind | None, *more)]  # type: ignore[valid-type]
    return parameter.replace(default=None, annotation=loose)


def chosen(parameter: inspect.Parameter, given: dict[str, Any], ctx: Any) -> Any:
    """Returns what a parameter is, by whichever of the two it was given.

    Args:
        parameter: Of the command.
        given: Values by name; that of the option is taken out.
        ctx: Of the call.

    Raises:
        UsageError: If it was given by both, by none, or too often.
    """
    named, words = given.pop(NAME), given[parameter.name]
    name = _metavar(parameter)
    if named and words:
        raise UsageError(f"Give {name} or --input, not both.", ctx=ctx)
    if not named and not words:
        raise UsageError(f"Missing argument '{name}', or option '--input'.", ctx=ctx)
    if words:
        return words
    if _takes_several(parameter):
        return named
    if len(named) > 1:
        raise UsageError(f"Give one --input, not {len(named)}.", ctx=ctx)
    return named[0]


def _metavar(parameter: inspect.Parameter) -> str:
    told = (getattr(each, "metavar", None) for each in get_args(parameter.annotation))
    return next(filter(None, told), parameter.name.upper())


def _takes_several(parameter: inspect.Parameter) -> bool:
    return bool(get_args(parameter.annotation)[0] == list[Path])
