"""Fitting models to cohorts of sparse scans: settings, run folders, and the one loop."""

from mriimpute.methods.registry import DEFAULT, trainable
from mriimpute.train.run import train
from mriimpute.train.settings import preset, resolve

__all__ = ["DEFAULT", "preset", "resolve", "train", "trainable"]
