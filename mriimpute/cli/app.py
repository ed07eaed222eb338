"""The application: the common options, and the one place where an error becomes a message.

A command is a function whose first parameter is `run: Run`:

    @command()
    def inspect(run: Run, scan: Annotated[Path, typer.Argument(help="...")]) -> None:

`command` adds the options that every command has and turns them into `run`. Heavy libraries are
imported inside the function, so that `--help` waits for none of them.
"""

import errno
import functools
import inspect
import io
import platform
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mriimpute import __version__
from mriimpute.cli import inputs, options
from mriimpute.cli.log_file import ClickException, keep_traceback, kept_log
from mriimpute.cli.progress import choose_track
from mriimpute.cli.run import Run, stoppable, talking
from mriimpute.cli.streams import lost_output, steady_streams
from mriimpute.distributed import World, launched
from mriimpute.errors import ConfigError, MriImputeError, PeerError
from mriimpute.memory import LIBRARIES, is_shortage, keep_freed_memory, require_loadable

__all__ = ["app", "command", "message", "say", "tell", "trace"]


ORDER = (
    "demo",
    "inspect",
    "simulate",
    "train",
    "impute",
    "evaluate",
    "reproduce",
    "doctor",
    "bench",
)

SHARED = ("impute", "train")
"""Commands whose work several processes can share."""

LIGHT = ("doctor", "impute", "inspect", "simulate")
"""Commands that load torch for some of their work only, if at all."""

COMMON: dict[str, tuple[Any, Any]] = {
    "seed": (options.Seed, 0),
    "device": (options.Device, "auto"),
    "threads": (options.Threads, 0),
    "overwrite": (options.Overwrite, False),
    "quiet": (options.Quiet, False),
    "verbose": (options.Verbose, 0),
    "debug": (options.Debug, False),
    "log_file": (options.Log, None),
    "no_progress": (options.NoProgress, False),
}


class Group(TyperGroup):
    """Prints a failure as two lines on stderr; with `--debug` the traceback before them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the commands in the order in which a newcomer meets them."""
        rank = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: rank.get(name, len(rank)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps what was typed, for the record and for `--debug`."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program."""
        steady_streams()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        result = self._invoked(ctx)
        if error := lost_output():
            tell(error)
            raise typer.Exit(1)
        return result

    def _invoked(self, ctx: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a path need not be UTF-8: print its bytes
            sys.stdout.reconfigure(errors="surrogateescape")
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, ClickException, BrokenPipeError):
            raise
        except KeyboardInterrupt as error:
            text = "interrupted: nothing is half written; run the same command again to go on"
            if launched().main:
                typer.secho(text, fg="yellow", err=True)
            raise typer.Exit(130) from error
        except Exception as error:
            if "--debug" in ctx.obj:
                traceback.print_exception(error, file=sys.stderr)
            # What all processes of a run find wrong, the main one says.
            if launched().main or not isinstance(error, ConfigError | PeerError):
                tell(error)
            raise typer.Exit(1) from error


def trace(run: Run, error: Exception) -> None:
    """Shows the traceback of an error that a command survives; without `--debug` it is logged."""
    if "--debug" in run.command_line:
        traceback.print_exception(error, file=sys.stderr)
    else:
        keep_traceback(error)


def tell(error: Exception) -> tuple[str, str]:
    """Prints an error as two lines on stderr, and returns them, for a command that goes on."""
    problem, hint = message(error)
    say(problem, hint)
    return problem, hint


def say(problem: str, hint: str) -> None:
    """Prints what is wrong, and what to do, as two lines on stderr."""
    typer.secho(f"error: {problem}", fg="red", err=True)
    typer.secho(f"hint: {hint}", err=True)


def message(error: Exception) -> tuple[str, str]:
    """Returns what is wrong, and what to do."""
    text = " ".join(str(error).split())
    torch = sys.modules.get("torch")
    gpu_full = torch is not None and isinstance(error, torch.OutOfMemoryError)
    if isinstance(error, MriImputeError):
        return text, error.hint
    if gpu_full:
        return "the GPU is out of memory", "close other programs on it, or pass --device cpu"
    if is_shortage(error):
        return "out of memory", "close other programs, or use a machine with more memory"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        too_long = error.errno == errno.ENAMETOOLONG
        from mriimpute.files import TOO_LONG

        hint = TOO_LONG if too_long else "check that the path is right and may be read"
        return f"{place}{error.strerror}", hint
    return (
        f"unexpected {type(error).__name__}: {text}",
        "this is a bug; pass --debug for the traceback and report it",
    )


app = typer.Typer(
    name="mriimpute",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> bool:
    if value:
        typer.echo(f"mriimpute {__version__}\n{_software()}")
        raise typer.Exit
    return value  # what a callback returns is what the command gets


def _software() -> str:
    """Returns what the package stands on, as the installation tells: nothing is loaded."""
    from mriimpute.device import cuda_of_torch, driver_version
    from mriimpute.provenance import version_of

    return (
        f"Python {platform.python_version()}\n"
        f"torch {version_of('torch')}, CUDA {cuda_of_torch() or 'none'}\n"
        f"NVIDIA driver {driver_version() or 'none'}"
    )


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show versions, of torch, CUDA and the driver, too, and exit.",
            is_eager=True,
            callback=_version,
        ),
    ] = False,
) -> None:
    """Fill in the slices that a brain MRI skipped, learning from sparse scans alone.

    For research; not a medical device. How to cite: CITATION.cff, with the source and in the
    metadata of the package.
    """


def command(
    name: str | None = None, *, cls: type[TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command and gives it the common options.

    Args:
        name: As typed by the user; by default that of the function.
        cls: What parses its command line, if not an ordinary command.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, cls=cls)(_with_common_options(function))
        return function

    return register


def _with_common_options(function: Callable[..., None]) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    positional = next(filter(inputs.is_input, own), None)

    @functools.wraps(function)
    def run_command(*, ctx: Any, **given: Any) -> None:
        common = {name: given.pop(name) for name in COMMON}
        if positional:
            given[positional.name] = inputs.chosen(positional, given, ctx)
        world = launched()
        _require_shared(function.__name__, world)
        quiet = common["quiet"] or not world.main
        words = ("mriimpute", *ctx.obj)
        with ExitStack() as stack:
            log = stack.enter_context(
                kept_log(common["log_file"] if world.main else None, words, message)
            )
            verbose = max(common["verbose"], int(common["debug"]))
            stack.enter_context(
                talking(quiet=quiet, verbose=verbose, mute=not world.main, log=log)
            )
            from mriimpute.workers import considerate_threads, limited_threads  # multiprocessing

            stack.enter_context(considerate_threads())
            stack.enter_context(limited_threads(common["threads"]))
            keep_freed_memory()
            stack.enter_context(stoppable())
            run = Run(
                command_line=words,
                seed=common["seed"],
                wanted_device=common["device"],
                threads=common["threads"],
                overwrite=common["overwrite"],
                quiet=quiet,
                track=choose_track(
                    wanted=not (common["no_progress"] or quiet), terminal=sys.stderr.isatty()
                ),
                world=world,
            )
            light = function.__name__ in LIGHT
            require_loadable(*LIBRARIES, *(() if light else ("torch",)))
            function(run, **given)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in COMMON.items()
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    if positional:
        own[own.index(positional)] = inputs.optional(positional)
        own.insert(0, inputs.option(positional))
    shown = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *added]
    run_command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run_command.__annotations__ = {p.name: p.annotation for p in shown}
    return run_command


def _require_shared(command: str, world: World) -> None:
    """Stops several processes that would all do the same work."""
    if world.size > 1 and command not in SHARED:
        raise ConfigError(
            f"{command} is the work of one process, not of {world.size}",
            hint=f"run it without torchrun, which is for {' and '.join(SHARED)}",
        )
