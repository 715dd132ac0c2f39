"""Which records stay: last states, duplicates, benchmarks."""
