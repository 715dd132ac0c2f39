"""The model card that goes with exported weights: what it is, what it was trained on, how far."""

from __future__ import annotations

from typing import Any

from biobert_scale.config import Config
from biobert_scale.files import Manifest


def model_card(config: Config, checkpoint: dict[str, Any], tokens: Manifest, parameters: int) -> str:
    """Markdown with the metadata block that model hubs read.

    Args:
        checkpoint: a checkpoint's manifest.
        tokens: the manifest of the token shards.
        parameters: weights in the model, tied ones counted once.
    """
    training, model = config.training, config.model
    case = "uncased" if config.vocabulary.lowercase else "cased"
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [bert, biomedical, masked-lm, next-sentence-prediction]
---

# {config.name}

{config.description}

A BERT encoder ({model.num_hidden_layers} layers, hidden {model.hidden_size}, {model.num_attention_heads} heads, {parameters:,} parameters,
{tokens.counts["vocabulary"]:,} {case} word pieces) pre-trained with masked language modelling and next sentence prediction
by biobert_scale {checkpoint["versions"]["biobert_scale"]}.

| | |
|---|---|
| documents | {tokens.counts["train"]["documents"]:,} for training, {tokens.counts["validation"]["documents"]:,} held out |
| tokens in the corpus | {tokens.counts["train"]["tokens"]:,} |
| optimizer steps | {checkpoint["global_step"]:,} of {training.schedule.total_steps:,} |
| sequences seen | {checkpoint["consumed_samples"]:,}, {training.global_batch_size} a step, {config.data.max_seq_length} tokens at most |
| tokens seen | {checkpoint["consumed_tokens"]:,} |
| optimizer | AdamW, peak learning rate {training.optimizer.learning_rate}, {training.schedule.warmup_steps:,} steps of warm-up, linear decay |
| precision | {training.precision.dtype} |
| trained on | {checkpoint["world_size"]} ranks, {checkpoint["engine"]}{f", ZeRO stage {checkpoint['zero_stage']}" if checkpoint["zero_stage"] is not None else ""} |

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")
model = AutoModelForMaskedLM.from_pretrained("path/to/this/directory")
```

The weights come with no warranty and are not meant for clinical decisions.
"""
