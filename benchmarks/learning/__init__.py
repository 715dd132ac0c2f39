"""Held-out loss by step, beside transformers' `Trainer`."""
