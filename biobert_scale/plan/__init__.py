"""What a run would need and how long it would take under every engine and micro-batch, and which of them to
take."""
