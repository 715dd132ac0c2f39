"""A fine-tuned model on disk: in the classes of transformers' pipelines, and back as this package trains and
predicts with it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import EntityTask, Tagger, tags_of
from biobert_scale.evaluation.sequences import SequenceClassifier, SequenceTask
from biobert_scale.evaluation.tasks.spec import Kind, Task
from biobert_scale.files import write_atomically
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.release.heads import Details, Problem, head_scale, save_head

WEIGHTS = "model.safetensors"
Head = Tagger | SequenceClassifier
"""A fine-tuned model."""
_PROBLEMS: dict[Kind, Problem] = {"entities": "token_classification", "similarity": "regression"}


def save_finetuned(
    directory: Path, model: Head, *, task: Task, source: Path, config: FinetuneConfig
) -> list[Path]:
    """Write the model that a fine-tuning run chose, for `transformers.pipeline` and `biobert-scale tag`.

    Args:
        source: the model directory that it started from; its tokenizer is taken.

    Returns:
        The files.
    """
    details: Details = {"task": task.name, "max_seq_length": config.max_seq_length}
    labels, problem = list(task.labels), _PROBLEMS.get(task.kind, "single_label_classification")
    if task.kind == "entities":
        # Pipelines join tags to entities by their prefixes: a bare B and I would be two types.
        bare = f"-{next(iter(task.types))}"
        labels = [f"{tag}{bare}" if tag in ("B", "I") else tag for tag in tags_of(task)]
    elif task.kind == "similarity":
        labels = ["similarity"]
    elif task.multi_label:
        problem, details["unit"] = "multi_label_classification", config.hallmark_unit
    return save_head(
        directory,
        model.bert,
        model.classifier,
        labels=labels,
        problem=problem,
        source=source,
        details=details,
    )


def load_head(directory: Path, benchmark: EntityTask | SequenceTask, config: FinetuneConfig) -> Head:
    """Open what `save_finetuned` wrote, ready to predict as at the end of its training, to the last bit.

    Raises:
        UserError: there is none, or one of another task.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        raise UserError("no fine-tuned weights", where=directory, remedy="fine-tune with --keep-weights")
    with torch.random.fork_rng():
        model = benchmark.model(load_encoder(directory, random_weights=True), config.dropout)
    weights = {name: value for name, value in load_file(path).items() if ".pooler." not in name}
    weights["classifier.weight"] *= head_scale(of_words=isinstance(benchmark, EntityTask))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        remedy = str(error).splitlines()[-1].strip()
        raise UserError("the weights are another task's", where=path, remedy=remedy) from None
    return model.eval()


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights as safetensors."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(path, save(state, metadata={"format": "pt"}))


def read_weights(path: Path, model: nn.Module) -> None:
    """Load what `write_weights` wrote."""
    model.load_state_dict(load_file(path))
