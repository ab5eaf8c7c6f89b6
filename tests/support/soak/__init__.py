"""A job that goes through every fault there is, in an order drawn from a seed."""

from support.soak.run import SoakOptions, SoakReport, run_soak

__all__ = ["SoakOptions", "SoakReport", "run_soak"]
