"""Imputed scans against truth: the only package that opens truth."""

from mriimpute.evaluate.contenders import DEFAULT_METHODS
from mriimpute.evaluate.panels import Panel
from mriimpute.evaluate.run import evaluate
from mriimpute.evaluate.scores import Row
from mriimpute.evaluate.summary import Estimate, Standing, Summary

__all__ = ["DEFAULT_METHODS", "Estimate", "Panel", "Row", "Standing", "Summary", "evaluate"]
