"""How fast, in how much memory, and how far from what this machine could do."""

from mriimpute.bench.result import Bench, plain
from mriimpute.bench.run import bench
from mriimpute.bench.settings import BenchConfig

__all__ = ["Bench", "BenchConfig", "bench", "plain"]
