"""Checkpoints as transactions: written, verified, kept, read again."""
