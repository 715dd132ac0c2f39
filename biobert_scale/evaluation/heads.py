"""A fine-tuned model on disk: the encoder with its new layer, in transformers' names, and the tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn
from transformers import PreTrainedTokenizerBase

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.hoc import DocumentClassifier, HallmarkTask
from biobert_scale.evaluation.ner import TAGS, EntityTask, Tagger
from biobert_scale.evaluation.prepared import ENTITY_TYPES, HALLMARK_TASKS
from biobert_scale.evaluation.readers import HALLMARKS
from biobert_scale.files import write_atomically
from biobert_scale.modeling.bert import load_encoder

WEIGHTS = "model.safetensors"
Head = Tagger | DocumentClassifier
"""A fine-tuned model."""


def save_head(directory: Path, model: Head, tokenizer: PreTrainedTokenizerBase, task: str) -> list[Path]:
    """Write a fine-tuned model.

    An entity tagger is what `AutoModelForTokenClassification` opens. HoC's classifier reads [CLS] without BERT's pooler, which
    is no class of transformers: its encoder opens with `AutoModel`, the whole with `load_head`.

    Returns:
        The files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = model.bert.config.to_dict()
    if task in HALLMARK_TASKS:
        labels, config["architectures"], config["problem_type"] = list(HALLMARKS), ["BertModel"], "multi_label_classification"
    else:
        labels, config["architectures"] = [tag if tag == "O" else f"{tag}-{ENTITY_TYPES[task]}" for tag in TAGS], ["BertForTokenClassification"]
    saved = type(model.bert.config).from_dict(config)
    saved.id2label, saved.label2id = dict(enumerate(labels)), {label: number for number, label in enumerate(labels)}
    saved._attn_implementation = None
    saved.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    write_weights(directory / WEIGHTS, model)
    return sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(path, save(state, metadata={"format": "pt"}))


def read_weights(path: Path, model: nn.Module) -> None:
    """Load what `write_weights` wrote."""
    model.load_state_dict(load_file(path))


def load_head(directory: Path, benchmark: EntityTask | HallmarkTask, config: FinetuneConfig) -> Head:
    """Open a fine-tuned model, ready to predict.

    Raises:
        UserError: there is none, or one of another task.
    """
    if not (directory / WEIGHTS).is_file():
        raise UserError("no fine-tuned weights", where=directory, remedy="fine-tune with --keep-weights")
    with torch.random.fork_rng():
        model = benchmark.model(load_encoder(directory, random_weights=True), config.dropout)
    try:
        read_weights(directory / WEIGHTS, model)
    except RuntimeError as error:
        raise UserError("the weights are another task's", where=directory / WEIGHTS, remedy=str(error).splitlines()[-1].strip()) from None
    return model.eval()
