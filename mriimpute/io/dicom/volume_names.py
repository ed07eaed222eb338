"""What volumes of one series are called: by echo, type or time, never by what may be a name."""

from collections.abc import Sequence

__all__ = ["NAMES", "Labels", "by_number", "volume_names"]

Labels = tuple[str, ...]
"""Attributes, or the values of each."""

NAMES = {
    "echo time": "echo",
    "inversion time": "inversion",
    "b value": "diffusion",
    "private b value": "diffusion",
    "gradient": "direction",
    "flip angle": "flip",
    "repetition time": "repetition",
    "time": "time",
    "trigger time": "time",
    "acquisition": "acquisition",
    "stack": "stack",
    "component": "type",
    "image type": "type",
    "sequence": "sequence",
}
"""What parts are called, each with its rank behind it."""

WORDS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
    "MIXED": "mixed",
    "W": "water",
    "WATER": "water",
    "F": "fat",
    "FAT": "fat",
    "IP": "inphase",
    "IN_PHASE": "inphase",
    "OP": "outphase",
    "OPP_PHASE": "outphase",
    "OUT_PHASE": "outphase",
    "ND": "nd",
    "NORM": "norm",
    "ADC": "adc",
    "TRACEW": "trace",
}
"""What types of images are called. Other words are not shown: they may be anything."""


def volume_names(names: Labels, keys: Sequence[Labels]) -> dict[Labels, str]:
    """Returns what each volume of a series is called, by the values that tell it apart.

    Args:
        names: Attributes.
        keys: Their values, of each volume.

    Example:
        >>> volume_names(("echo time", "image type"), [("9", "M"), ("9", "P")])
        {('9', 'M'): 'echo1-magnitude', ('9', 'P'): 'echo1-phase'}
    """
    words = []
    for column, name in enumerate(names):
        values = sorted({key[column] for key in keys}, key=lambda value: by_number((value,)))
        width = len(str(len(values)))
        called = {value: f"{NAMES[name]}{n:0{width}}" for n, value in enumerate(values, start=1)}
        if NAMES[name] == "type":
            called |= _types(values)
        words.append(called)
    return {key: "-".join(words[n][value] for n, value in enumerate(key)) for key in keys}


def _types(values: Sequence[str]) -> dict[str, str]:
    """Returns what types of images are called, where each has a word that no other has."""
    parts = [value.upper().split("\\") for value in values]
    shared = set.intersection(*map(set, parts))
    known = [[WORDS[w] for w in part if w in WORDS and w not in shared] for part in parts]
    first = [words[0] if words else "" for words in known]
    is_clear = all(first) and len(set(first)) == len(first)
    return dict(zip(values, first, strict=True)) if is_clear else {}


def by_number(key: Labels) -> tuple[tuple[float, str], ...]:
    """Returns what sorts values by number, and those that are none behind them by letter."""

    def parsed(text: str) -> tuple[float, str]:
        try:
            return float(text), text
        except ValueError:
            return float("inf"), text

    return tuple(parsed(text) for text in key)
