"""Optimizer steps a second."""
