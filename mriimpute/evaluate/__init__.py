"""Imputed scans against truth, or against hidden parts of themselves.

Nothing else opens truth but `mriimpute reproduce`.
"""

from mriimpute.evaluate.curves import Curves
from mriimpute.evaluate.methods import DEFAULT_METHODS
from mriimpute.evaluate.panels import Panel, View
from mriimpute.evaluate.protocol import Protocol, ProtocolName
from mriimpute.evaluate.regions import Region
from mriimpute.evaluate.result import Result
from mriimpute.evaluate.run import evaluate
from mriimpute.evaluate.summary import Estimate, LabelSummary, MethodSummary, Summary
from mriimpute.evaluate.without_truth import without_truth
from mriimpute.metrics.statistics import Comparison

__all__ = [
    "DEFAULT_METHODS",
    "Comparison",
    "Curves",
    "Estimate",
    "LabelSummary",
    "MethodSummary",
    "Panel",
    "Protocol",
    "ProtocolName",
    "Region",
    "Result",
    "Summary",
    "View",
    "evaluate",
    "without_truth",
]
