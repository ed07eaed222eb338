"""Full scans -> sparse scans, and the truth kept apart."""

from mriimpute.simulate.acquisition import SimulationConfig
from mriimpute.simulate.run import Failure, SimulationReport, simulate

__all__ = ["Failure", "SimulationConfig", "SimulationReport", "simulate"]
