"""The pre-training loop, its engines and its checkpoints."""
