"""A line of `metrics.jsonl`. What each name means, and its unit: docs/explanation/architecture.md."""

from __future__ import annotations

from typing import TypedDict

RunMetrics = TypedDict(
    "RunMetrics",
    {
        "global_step": int,
        "consumed_samples": int,
        # of a training step
        "consumed_tokens": int,
        "train/loss": float,
        "train/mlm_loss": float,
        "train/nsp_loss": float,
        "train/mlm_accuracy": float,
        "train/nsp_accuracy": float,
        "optim/grad_norm": float,
        "optim/loss_scale": float,
        "optim/learning_rate": float,
        "optim/skipped_steps": int,
        "data/epoch": float,
        "data/phase": int,
        "perf/tokens_per_second_per_device": float,
        "perf/sequences_per_second": float,
        "perf/model_flops_per_second_per_device": float,
        "perf/mfu": float,
        "perf/padding_fraction": float,
        "perf/step_seconds": float,
        "perf/data_wait_seconds": float,
        "perf/forward_seconds": float,
        "perf/backward_seconds": float,
        "perf/optimizer_seconds": float,
        "perf/checkpoint_seconds_in_all": float,
        "perf/validation_seconds_in_all": float,
        "perf/slowest_rank": int,
        "perf/slowest_rank_excess": float,
        "perf/peak_memory_bytes": int,
        # of a validation
        "validation/mlm_loss": float,
        "validation/perplexity": float,
        "validation/nsp_loss": float,
        "validation/mlm_accuracy": float,
        "validation/nsp_accuracy": float,
        "validation/sequences": int,
        # of a save
        "perf/checkpoint_stall_seconds": float,
        "perf/checkpoint_write_seconds": float,
    },
    total=False,
)
"""A record has `global_step`, `consumed_samples`, and the names of one kind: of a training step, a validation
or a save. A loss or a norm that is not finite is null in the file."""
