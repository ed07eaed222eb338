"""Full scans -> sparse scans, and the truth kept apart."""

from mriimpute.simulation.acquisition import SimulationConfig
from mriimpute.simulation.run import Failure, SimulationReport, simulate

__all__ = ["Failure", "SimulationConfig", "SimulationReport", "simulate"]
