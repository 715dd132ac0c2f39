"""Checkpoints in; a Hugging Face model directory with its card out."""
