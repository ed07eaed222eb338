"""Fitting models to cohorts of sparse scans: settings, run folders, and the one loop."""

from mriimpute.methods.registry import DEFAULT, trainable
from mriimpute.training.run import train
from mriimpute.training.settings import preset, resolve

__all__ = ["DEFAULT", "preset", "resolve", "train", "trainable"]
