"""What the parts of the GPU suite have in common: the model, the types, and how a part reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from biobert_scale.config import Config, ModelConfig
from biobert_scale.recipes import load_config

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Report = Callable[[Any], None]
"""Keeps what a part has found so far, in place of what it reported before."""
TINY = ModelConfig(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=128,
    max_position_embeddings=128,
)


def suite_config(*, dtype: str, sequences: int, micro_batch_size: int, tiny: bool) -> Config:
    """biobert-large with another batch; or in `tiny` a model for trying the suite itself."""
    config = load_config("biobert-large")
    training = replace(
        config.training,
        precision=replace(config.training.precision, dtype=dtype),  # type: ignore[arg-type]
        global_batch_size=sequences,
        micro_batch_size=micro_batch_size,
        trackers=(),
    )
    config = replace(config, training=training)
    if tiny:
        config = replace(
            config,
            model=TINY,
            data=replace(config.data, max_seq_length=128),
            vocabulary=replace(config.vocabulary, size=1000),
        )
    return config


def types_of(device: torch.device) -> list[str]:
    return ["bf16", "fp16"] if device.type == "cuda" else ["bf16"]


def possible(dtype: str, device: torch.device) -> str:
    """fp16 is for GPUs; a trial on a CPU takes bf16 in its place."""
    return dtype if dtype in types_of(device) else "bf16"
