"""A checkpoint of any ZeRO stage in; a Hugging Face model directory out: fp32 safetensors, configuration, tokenizer, card."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import BertForPreTraining

from biobert_scale.errors import UserError
from biobert_scale.files import (
    MANIFEST,
    Manifest,
    begin_stage,
    describe_inputs,
    finish_stage,
    read_json,
    read_manifest,
    stage_key,
    write_atomically,
)
from biobert_scale.modeling.bert import bert_config
from biobert_scale.recipes import structure_config
from biobert_scale.release.card import model_card
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training.checkpoint import CONFIG
from biobert_scale.training.retention import find_checkpoint, read_record
from biobert_scale.training.shards import Shards

STAGE = "export"


def export_model(source: Path, tokens: Path, output: Path, *, overwrite: bool = False) -> Manifest:
    """Write the model that `transformers.AutoModelForPreTraining` and its siblings open.

    Args:
        source: a run directory (its newest intact checkpoint is taken) or a checkpoint directory.
        tokens: the token shards it was trained on, for the tokenizer and the card's figures.

    Raises:
        UserError: no intact checkpoint, or token shards of another vocabulary.
    """
    checkpoint = find_checkpoint(source)
    tokens_manifest = read_manifest(tokens, TOKENS_STAGE)
    inputs = describe_inputs([checkpoint, tokens])
    key = stage_key(STAGE, inputs, {})
    if manifest := begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return manifest
    config = structure_config(read_json(checkpoint / CONFIG), where=str(checkpoint / CONFIG))
    vocabulary = tokens_manifest.counts["vocabulary"]
    model = BertForPreTraining(bert_config(config.model, vocabulary_size=vocabulary, pad_token_id=special_ids(tokens / "tokenizer")["[PAD]"]))
    _load(model, checkpoint)
    model.save_pretrained(output, safe_serialization=True)
    for path in sorted((tokens / "tokenizer").iterdir()):
        shutil.copy2(path, output / path.name)
    state = read_json(checkpoint / MANIFEST)
    write_atomically(output / "README.md", model_card(config, state, tokens_manifest, sum(parameter.numel() for parameter in model.parameters())))
    return finish_stage(
        output, stage=STAGE, key=key, inputs=inputs, config={}, libraries=["torch", "transformers", "safetensors"],
        counts={"parameters": sum(parameter.numel() for parameter in model.parameters()), "global_step": state["global_step"]},
        outputs=[path for path in output.iterdir() if path.is_file() and not path.name.startswith(".")],
    )  # fmt: skip


def _load(model: BertForPreTraining, checkpoint: Path) -> None:
    """Read the full-precision weights of a verified checkpoint into a model, a parameter at a time.

    Raises:
        UserError: the checkpoint lacks a parameter, holds another one, or one of another shape.
    """
    with Shards(checkpoint, read_record(checkpoint)["shards"]) as shards:
        parameters = dict(model.named_parameters())  # the decoder shares the embeddings' weight, the heads one bias: each is here once
        if strange := parameters.keys() ^ set(shards.names()):
            raise UserError(f"the weights do not fit the model ({', '.join(sorted(strange)[:3])} ...)", where=checkpoint, remedy="export with the version that trained it")
        for name, weights in shards.weights():
            if weights.numel() != parameters[name].numel():
                what = f"{name} has {weights.numel()} elements, the model's has {parameters[name].numel()}"
                raise UserError(what, where=checkpoint, remedy="give the token shards that the run was trained on")
            parameters[name].data.copy_(weights.view_as(parameters[name]))
