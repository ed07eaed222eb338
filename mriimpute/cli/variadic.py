"""Options that take several words, such as `--participant-label 01 02` of BIDS-Apps."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

__all__ = ["VariadicCommand", "repeat_options"]

VARIADIC = ("--participant-label", "--session-id", "--input", "-i")


def repeat_options(words: Sequence[str], options: Sequence[str] = VARIADIC) -> list[str]:
    """Returns the words with such an option repeated before each of its values.

    Its values end at the next word that begins with `-`.

    Example:
        >>> repeat_options(["bids", "--session-id", "a", "b", "-q"])
        ['bids', '--session-id', 'a', '--session-id', 'b', '-q']
    """
    out: list[str] = []
    current, values = "", 0
    for word in words:
        if word.startswith("-"):
            current, values = (word if word in options else ""), 0
        elif current:
            values += 1
            if values > 1:
                out.append(current)
        out.append(word)
    return out


class VariadicCommand(TyperCommand):
    """A command with options that take several words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line."""
        return super().parse_args(ctx, repeat_options(args))
