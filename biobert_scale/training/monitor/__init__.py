"""What a run watches, measures and records."""
