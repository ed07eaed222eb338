"""Fitting models to cohorts of sparse scans: settings, run folders, the loop, closed forms."""

from mriimpute.train.fit import train
from mriimpute.train.settings import DEFAULT, TrainConfig, names, preset, resolve

__all__ = ["DEFAULT", "TrainConfig", "names", "preset", "resolve", "train"]
