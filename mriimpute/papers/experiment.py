"""What every experiment promises, and what it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mriimpute.papers.data import Data

__all__ = [
    "Bars",
    "Budget",
    "Cell",
    "Claim",
    "Conclusion",
    "Experiment",
    "Images",
    "Lines",
    "Outcome",
    "Outcomes",
    "Plot",
    "Series",
    "Table",
    "Task",
    "Values",
]

Budget = Literal["smoke", "cpu", "paper"]
Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A part of an experiment that runs by itself, in any order, in any process.

    Attributes:
        key: Its name among the tasks of the experiment; names its files.
        settings: Everything that decides the result, next to the data and the seed: plain values,
            which are stored. Their names are those of files on disk, and stay.
    """

    key: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of a task.

    Attributes:
        numbers: Plain values: numbers, texts, lists and tables of these.
        arrays: Whatever is too large to be read by a person.
    """

    numbers: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


Outcomes: TypeAlias = Mapping[tuple[str, ...], Outcome]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text and numbers; None is a number that there is not.

    Attributes:
        title: What is tabulated, with units.
        columns: One header per cell of a row.
        rows: From top to bottom.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


Values: TypeAlias = Sequence[int | float] | np.ndarray
Series: TypeAlias = tuple[Values, Values, Values | None]
"""x, y, and half the width of the band around y, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Curves over a common axis.

    Attributes:
        title: Of the panel.
        x_label: With unit.
        y_label: With unit.
        series: Name to (x, y, half the width of the band around y or None).
        log_x: Whether x is on a logarithmic axis.
        log_y: Whether y is on a logarithmic axis.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Groups of bars side by side.

    Attributes:
        title: Of the panel.
        y_label: With unit.
        groups: Names of the groups.
        series: Name of a bar to its height in each group; NaN where there is none.
        error_bars: Like `series`: half their length. May lack names.
    """

    title: str
    y_label: str
    groups: Sequence[str]
    series: Mapping[str, Values]
    error_bars: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Rows of grey images, one column per method; NaN is shown as a colour of its own.

    Attributes:
        title: Of the panel.
        columns: Names above the images.
        rows: One image (h, w) per column.
        vmin: What is shown black.
        vmax: What is shown white.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[np.ndarray]]
    vmin: float = 0.0
    vmax: float = 1.0


Plot: TypeAlias = Lines | Bars | Images


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the paper says.

    Attributes:
        text: A sentence that can be false.
        holds: Whether our numbers agree.
        detail: These numbers.
    """

    text: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What an experiment shows.

    Attributes:
        tables: Ours beside the paper's.
        plots: Panels of the figure.
        claims: Of the paper.
    """

    tables: Sequence[Table]
    plots: Sequence[Plot]
    claims: Sequence[Claim]


@runtime_checkable
class Experiment(Protocol):
    """A module of this package: the file name, dashes for underscores, is what users type.

    Attributes:
        TITLE: One line, for the list of experiments; a plain string in the source.
        SOURCE: The figure or table of which paper.
        DATA: Names of the data that it reads, for the record.
    """

    TITLE: str
    SOURCE: str
    DATA: tuple[str, ...]

    def tasks(self, budget: Budget, seed: int) -> list[Task]:
        """Returns the tasks."""
        ...

    def perform(self, task: Task, data: Data, *, seed: int, device: str) -> Outcome:
        """Performs one task; depends on nothing but its arguments."""
        ...

    def conclude(self, outcomes: Outcomes, budget: Budget) -> Conclusion:
        """Returns what all outcomes together show."""
        ...
