"""A fine-tuned encoder with its head, in the classes that transformers' pipelines load.

All heads of this package are a linear layer on last hidden states: of every word's first piece for entities,
of [CLS] for whole texts. The first is what `BertForTokenClassification` computes.
`BertForSequenceClassification` puts a pooler in between, tanh(Wx + b); it gets W = eI, b = 0 with a small
power of two e, and the linear layer is multiplied by 1/e: tanh is the identity to rounding there, so that the
class gives the same scores as the head that was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
)

from biobert_scale.modeling.model import Encoder
from biobert_scale.modeling.weights import read_model_config
from biobert_scale.release.tokenizers import copy_tokenizer
from biobert_scale.release.weights import save_weights

MODEL = "model"
"""Where a fine-tuning run keeps its model, below its own directory."""
DETAILS = "biobert_scale"
"""Key of `config.json` under which a fine-tuned model says what it was trained for, and in what windows."""


Problem = Literal[
    "token_classification", "single_label_classification", "multi_label_classification", "regression"
]


class Details(TypedDict, total=False):
    """What a fine-tuned model was trained for."""

    task: str
    max_seq_length: int
    unit: str
    """Where a text has any number of labels: what one input is."""


_POOLER_SCALE = 2.0**-12
"""e: hidden states of 20 are bent by less than one part in 100,000, those of 1 by less than one in 10
million; in fp16 e and weight / e are in range."""


def save_head(
    directory: Path,
    encoder: Encoder,
    classifier: nn.Linear,
    *,
    labels: Sequence[str],
    problem: Problem,
    source: Path,
    details: Details,
) -> list[Path]:
    """Write a model directory in fp32 with the tokenizer.

    Args:
        encoder: without a pooler.
        classifier: (labels, hidden) on last hidden states.
        labels: names in the order of its rows.
        problem: entities (softmax over the labels at every word's first piece), or transformers' name for
            what is computed at [CLS]: a softmax over the labels, a sigmoid for each, or a number.
        source: the model directory that the encoder came from: its shape and its tokenizer are copied.
        details: what `config.json` says under `biobert_scale`.

    Returns:
        The files.
    """
    shape, numbers = _shape(read_model_config(source)), {label: place for place, label in enumerate(labels)}
    config = BertConfig(**shape, id2label=dict(enumerate(labels)), label2id=numbers)
    setattr(config, DETAILS, details)
    model: PreTrainedModel
    if problem == "token_classification":
        model = BertForTokenClassification(config)
    else:
        config.problem_type = problem
        model = BertForSequenceClassification(config)
    scale = head_scale(of_words=problem == "token_classification")
    _fill(model, encoder, classifier, scale=scale)
    save_weights(model, directory, "fp32")
    copy_tokenizer(source, directory)
    return sorted(path for path in directory.iterdir() if path.is_file())


def head_scale(*, of_words: bool) -> float:
    """What a written head's weights are divided by; a power of two, so that nothing of them is lost."""
    return 1.0 if of_words else _POOLER_SCALE


def _shape(config: BertConfig) -> dict[str, Any]:
    """The encoder's own settings, without what belongs to another head or to the way it was computed."""
    settings = config.to_dict()
    of_heads = {"architectures", "id2label", "label2id", "problem_type", DETAILS}
    of_files = {"dtype", "torch_dtype", "transformers_version"}
    kept = settings.keys() - of_heads - of_files
    return {name: value for name, value in settings.items() if name in kept and not name.startswith("_")}


@torch.no_grad()
def _fill(model: PreTrainedModel, encoder: Encoder, classifier: nn.Linear, *, scale: float) -> None:
    body: Any = model.bert
    found = body.load_state_dict(
        {name: weights.detach().float().cpu() for name, weights in encoder.state_dict().items()}, strict=False
    )
    assert not found.unexpected_keys and all(name.startswith("pooler.") for name in found.missing_keys), found
    head: Any = model.classifier
    head.weight.copy_(classifier.weight.detach().float().cpu() / scale)
    head.bias.copy_(classifier.bias.detach().float().cpu())
    if body.pooler is not None:
        body.pooler.dense.weight.copy_(scale * torch.eye(encoder.config.hidden_size))
        body.pooler.dense.bias.zero_()
