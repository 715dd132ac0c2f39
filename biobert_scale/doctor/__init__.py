"""Checks of a machine, its ranks, its disks and its tokens, before a run depends on them."""
