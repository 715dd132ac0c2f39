from __future__ import annotations

import torch

from biobert_scale.config import OptimizerConfig
from biobert_scale.training.engine.optimizer import build_optimizer


def test_no_decay_on_biases_and_layer_norms() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    decayed, others = build_optimizer(model, OptimizerConfig()).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(5, 4), (4, 4)]
    assert [tuple(p.shape) for p in others["params"]] == [(4,), (4,), (4,)]
    assert decayed["betas"] == (0.9, 0.999) and decayed["eps"] == 1e-6
