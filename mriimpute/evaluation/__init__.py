"""Imputed scans against truth, or against hidden parts of themselves.

Nothing else opens truth but `mriimpute reproduce`.
"""

from mriimpute.evaluation.curves import Curves
from mriimpute.evaluation.methods import DEFAULT_METHODS
from mriimpute.evaluation.panels import Panel, View
from mriimpute.evaluation.protocol import Protocol, ProtocolName
from mriimpute.evaluation.regions import Region
from mriimpute.evaluation.result import Result
from mriimpute.evaluation.run import evaluate
from mriimpute.evaluation.summary import Estimate, LabelSummary, MethodSummary, Summary
from mriimpute.evaluation.without_truth import without_truth
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
