"""What the shell completes, by `mriimpute --install-completion`: names alone; nothing is loaded.

Where no name fits, shells offer files.
"""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["devices", "experiments", "imputing_models", "methods", "one_method", "trained_models"]

Completions = list[tuple[str, str]]
"""Values, each with a word of help."""

GPUS = Path("/proc/driver/nvidia/gpus")


def devices(incomplete: str) -> Completions:
    """Returns what `--device` takes, GPUs of this machine by number."""
    count = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    known = {"auto": "a GPU where there is one", "cpu": "", "cuda": "the first GPU"}
    return _fitting((known | {f"cuda:{n}": "" for n in range(count)}).items(), incomplete)


def imputing_models(incomplete: str) -> Completions:
    """Returns names that `impute --model` takes."""
    from mriimpute.methods.registry import DEFAULT, METHODS, without_weights

    names = [DEFAULT, *without_weights()]
    return _fitting([(name, METHODS[name].about) for name in names], incomplete)


def trained_models(incomplete: str) -> Completions:
    """Returns names that `train --model` takes."""
    from mriimpute.methods.registry import descriptions

    return _fitting(descriptions().items(), incomplete)


def methods(incomplete: str) -> Completions:
    """Returns lists that `evaluate --methods` takes: what is there, and one name more."""
    from mriimpute.methods.registry import METHODS, descriptions

    begun, comma, last = incomplete.rpartition(",")
    known = {name: method.about for name, method in METHODS.items()} | descriptions()
    known |= {f"cross-plane@{how}": "" for how in ("package", "adapt")}
    known["cross-plane-ridge@scan"] = ""
    used = begun.split(",")
    fitting = _fitting(known.items(), last)
    return [(f"{begun}{comma}{name}", about) for name, about in fitting if name not in used]


def one_method(incomplete: str) -> Completions:
    """Returns names of all that imputes, trained or not."""
    return [pair for pair in methods(incomplete) if "@" not in pair[0] and "," not in pair[0]]


def experiments(incomplete: str) -> Completions:
    """Returns what `reproduce` repeats."""
    from mriimpute.papers import listing

    return _fitting([(name, entry.title) for name, entry in listing().items()], incomplete)


def _fitting(known: Iterable[tuple[str, str]], incomplete: str) -> Completions:
    return [(name, about) for name, about in known if name.startswith(incomplete)]
