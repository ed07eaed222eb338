"""How fast, in how much memory, and how far from what this machine could do."""

from mriimpute.bench.run import Bench, BenchConfig, bench, plain

__all__ = ["Bench", "BenchConfig", "bench", "plain"]
