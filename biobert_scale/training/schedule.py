"""The learning rate as a function of optimizer steps taken, and of nothing else."""

from __future__ import annotations

from biobert_scale.config import ScheduleConfig


def learning_rate(steps_taken: int, *, peak: float, schedule: ScheduleConfig) -> float:
    """The rate of the optimizer step that follows `steps_taken` others: linear up to `peak`, then linear to
    zero.

    Step `warmup_steps` (counted from one) is the first at the peak; the rate would reach zero at step
    `total_steps` + 1.
    """
    if steps_taken < schedule.warmup_steps:
        return peak * (steps_taken + 1) / schedule.warmup_steps
    decay_steps = schedule.total_steps - schedule.warmup_steps
    return peak * max(0.0, (schedule.total_steps - steps_taken) / decay_steps)
