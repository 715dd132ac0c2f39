"""AdamW with BERT's grouping: weight decay on matrices and embeddings, none on biases and LayerNorm."""

from __future__ import annotations

import torch
from torch import nn

from biobert_scale.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool = False) -> torch.optim.AdamW:
    """The optimizer over a model's parameters; the learning rate is set anew before every step.

    Args:
        fused: update all weights in one pass, by torch's own kernel.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices, others = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    decayed = {"params": matrices, "weight_decay": config.weight_decay}
    groups = [decayed, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=config.betas, eps=config.epsilon, fused=fused
    )
