"""A fine-tuned model in the form that it is used and released in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from biobert_scale.config import FinetuneConfig
from biobert_scale.evaluation.ner import TAGS
from biobert_scale.evaluation.readers import HALLMARKS
from biobert_scale.evaluation.tasks import HALLMARK_TASK
from biobert_scale.release.heads import save_head

ENTITY_TYPES = {"BC5CDR-chem": "Chemical", "BC5CDR-disease": "Disease", "NCBI-disease": "Disease"}


def save_finetuned(directory: Path, model: nn.Module, *, task: str, source: Path, config: FinetuneConfig) -> list[Path]:
    """Write the model that a fine-tuning run chose, for `transformers.pipeline` and `biobert-scale tag`.

    Args:
        model: a `Tagger` or a `DocumentClassifier`.
        source: the model directory that it started from; its tokenizer is taken.

    Returns:
        The files.
    """
    parts: Any = model
    of_words = task != HALLMARK_TASK
    # Pipelines join tags to entities by their prefixes: a bare B and I would be two types.
    labels = [tag if tag == "O" else f"{tag}-{ENTITY_TYPES[task]}" for tag in TAGS] if of_words else list(HALLMARKS)
    details: dict[str, Any] = {"task": task, "max_seq_length": config.max_seq_length}
    if not of_words:
        details["unit"] = config.hallmark_unit
    return save_head(directory, parts.bert, parts.classifier, labels=labels, of_words=of_words, tokenizer=source, details=details)
