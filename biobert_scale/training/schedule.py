"""The learning rate as a function of optimizer steps taken, and of nothing else."""

from __future__ import annotations

import math

from biobert_scale.config import ScheduleConfig


def learning_rate(steps_taken: int, *, peak: float, schedule: ScheduleConfig) -> float:
    """The rate of the optimizer step that follows `steps_taken` others: linear up to `peak`, then the decay.

    Step `warmup_steps` (counted from one) is the first at the peak; a rate that ends at zero would reach it
    at step `total_steps` + 1. From there on the rates are those of transformers' schedules
    (`transformers.optimization`); in the warm-up, theirs are one step behind.
    """
    warmup, total = schedule.warmup_steps, schedule.total_steps
    if steps_taken < warmup:
        return peak * (steps_taken + 1) / warmup
    left = max(0.0, (total - steps_taken) / (total - warmup))
    match schedule.decay:
        case "linear":
            return peak * left
        case "cosine":
            return peak * 0.5 * (1 + math.cos(math.pi * (1 - left)))
        case "constant":
            rate = peak
        case "inverse_square_root":
            rate = peak * math.sqrt(warmup / min(steps_taken, total - schedule.cooldown_steps))
    if not schedule.cooldown_steps:
        return rate
    return rate * max(0.0, min(1.0, (total - steps_taken) / schedule.cooldown_steps))
