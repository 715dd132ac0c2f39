"""Benchmarks: each measures a part of the package beside its peer, in one run on one machine."""
