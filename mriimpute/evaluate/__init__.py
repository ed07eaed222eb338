"""Imputed scans against truth. Nothing else opens truth but `mriimpute reproduce`."""

from mriimpute.evaluate.contenders import DEFAULT_METHODS
from mriimpute.evaluate.panels import Panel, View
from mriimpute.evaluate.regions import Region
from mriimpute.evaluate.run import evaluate
from mriimpute.evaluate.scores import Row
from mriimpute.evaluate.summary import Estimate, LabelStanding, Standing, Summary

__all__ = [
    "DEFAULT_METHODS",
    "Estimate",
    "LabelStanding",
    "Panel",
    "Region",
    "Row",
    "Standing",
    "Summary",
    "View",
    "evaluate",
]
