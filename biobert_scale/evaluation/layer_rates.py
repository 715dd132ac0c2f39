"""Layer-wise learning rates: the nearer a layer is to the word pieces, the less it changes (Clark et al.
2020, ELECTRA)."""

from __future__ import annotations

import re
from collections import defaultdict

from torch import nn

from biobert_scale.training.engine.optimizer import Group, parameter_groups

_LAYER = re.compile(r"\.layer\.(\d+)\.")


def layer_groups(model: nn.Module, *, layers: int, layer_decay: float, weight_decay: float) -> list[Group]:
    """A model's parameters by the scale of their learning rate, which is 1 for the new layer and multiplied
    with `layer_decay` for each layer below it; the embeddings are the lowest.

    Args:
        layers: of the encoder.
    """
    by_scale: dict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        by_scale[layer_decay ** _depth(name, layers)].append(parameter)
    return [
        {**group, "scale": scale}
        for scale, parameters in by_scale.items()
        for group in parameter_groups(parameters, weight_decay)
    ]


def _depth(name: str, layers: int) -> int:
    """Layers above a parameter's, the new one included."""
    if found := _LAYER.search(name):
        return layers - int(found[1])
    return layers + 1 if ".embeddings." in name else 0
