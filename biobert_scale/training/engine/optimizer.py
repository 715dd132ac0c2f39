"""AdamW with BERT's grouping: weight decay on matrices and embeddings, none on biases and LayerNorm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn

from biobert_scale.config import OptimizerConfig


class Group(TypedDict):
    """Parameters with settings of their own."""

    params: list[nn.Parameter]
    weight_decay: float
    scale: NotRequired[float]
    """What a caller multiplies their learning rate with; the optimizer does not."""
    encoder: NotRequired[bool]
    """Whether they wait while the encoder is frozen."""


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[Group]:
    """The parameters with weight decay, and those without."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    matrices, others = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def encoder_apart(model: nn.Module, weight_decay: float) -> list[Group]:
    """`parameter_groups` of a pre-training model's heads, and of its embeddings and layers, which can wait.

    The pooler is a part of the head on sentence pairs; the output layer's weights are the word embeddings.
    """
    parts: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        parts[name.startswith(("bert.embeddings.", "bert.encoder."))].append(parameter)
    return [
        {**group, "encoder": encoder}
        for encoder, parameters in parts.items()
        for group in parameter_groups(parameters, weight_decay)
    ]


def set_rates(groups: Iterable[dict[str, Any]], learning_rate: float, *, frozen_encoder: bool) -> None:
    """Set the rate of the step that follows; of a frozen encoder 0, at which AdamW changes no weight, while
    its moments follow the gradients."""
    for group in groups:
        group["lr"] = 0.0 if frozen_encoder and group.get("encoder") else learning_rate


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, fused: bool = False, groups: list[Group] | None = None
) -> torch.optim.AdamW:
    """The optimizer over a model's parameters; the learning rate is set anew before every step.

    Args:
        fused: update all weights in one pass, by torch's own kernel.
        groups: the parameters, where they are grouped otherwise than by `parameter_groups`.
    """
    groups = groups or parameter_groups(model.parameters(), config.weight_decay)
    return torch.optim.AdamW(
        [dict(group) for group in groups],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.epsilon,
        fused=fused,
    )
