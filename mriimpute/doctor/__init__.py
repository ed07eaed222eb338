"""What this machine is, and whether it computes what it should."""

from mriimpute.doctor.check import Check, Verdict
from mriimpute.doctor.in_subprocess import self_test
from mriimpute.doctor.machine import machine_checks, machine_facts

__all__ = ["Check", "Verdict", "machine_checks", "machine_facts", "self_test"]
