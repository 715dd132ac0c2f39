"""Checkpoints of the original BERT code (github.com/google-research/bert), transformers' names."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from biobert_scale.errors import UserError
from biobert_scale.modeling.bundle import Bundle

_RENAMED = dict.fromkeys(("kernel", "gamma", "output_weights"), "weight")
_RENAMED |= dict.fromkeys(("beta", "output_bias"), "bias")


def tensorflow_weights(prefix: Path) -> dict[str, Tensor]:
    """The model's weights, in fp32; the optimizer's variables and the step counter are left out.

    Args:
        prefix: the checkpoint's path without `.index`, for example `bert_model.ckpt`.

    Returns:
        Tensors by transformers' names, in transformers' layout.

    Raises:
        UserError: no such checkpoint, a damaged one, or one of another model.
    """
    bundle = Bundle(prefix)
    if "bert/embeddings/word_embeddings" not in bundle.variables:
        what = "a TensorFlow checkpoint without bert/embeddings/word_embeddings"
        remedy = "give a checkpoint of the original BERT code, or the model in Hugging Face's format"
        raise UserError(what, where=prefix, remedy=remedy)
    weights = {}
    for name, variable in bundle.variables.items():
        # An optimizer names what it keeps for a variable beneath that variable:
        # bert/pooler/dense/bias/adam_m.
        if not variable.floating or name.rpartition("/")[0] in bundle.variables:
            continue
        tensor = torch.from_numpy(bundle.read(name))
        # A dense layer's matrix is (inputs, outputs) there, and (outputs, inputs) here.
        weights[parameter_name(name)] = tensor.T.contiguous() if name.endswith("/kernel") else tensor
    return weights


def parameter_name(variable: str) -> str:
    """transformers' name of a variable: `bert/encoder/layer_0/output/dense/kernel` is
    `bert.encoder.layer.0.output.dense.weight`."""
    *scopes, last = variable.split("/")
    if last.endswith("_embeddings"):
        scopes, last = [*scopes, last], "weight"
    scopes = [re.sub(r"^layer_(\d+)$", r"layer.\1", scope) for scope in scopes]
    return ".".join([*scopes, _RENAMED.get(last, last)])
