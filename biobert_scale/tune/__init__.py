"""Which micro-batch, engine and settings of `[compute]` take the most sequences a second on these devices."""
