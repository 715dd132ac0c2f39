"""Benchmarks: each table measures a part of the package beside its peers, in one run on one machine."""
