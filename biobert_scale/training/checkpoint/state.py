"""How far a run is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """How far a run is. The data stream's whole state is `consumed_samples`."""

    global_step: int = 0
    """Optimizer steps taken."""
    consumed_samples: int = 0
    consumed_tokens: int = 0
    skipped_steps: int = 0
    """Steps whose gradients overflowed: seen, but not taken."""
