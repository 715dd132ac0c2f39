"""A checkpoint of any ZeRO stage in; a Hugging Face model directory out: fp32 safetensors, configuration, tokenizer, card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
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
from biobert_scale.training.checkpoint import CONFIG, newest_intact, problem

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
    weights = fp32_weights(checkpoint)
    vocabulary = tokens_manifest.counts["vocabulary"]
    rows = weights["bert.embeddings.word_embeddings.weight"].shape[0]
    if rows != vocabulary:
        raise UserError(f"the checkpoint has {rows} embeddings, the tokenizer {vocabulary} entries", where=tokens, remedy="give the token shards that the run was trained on")
    model = BertForPreTraining(bert_config(config.model, vocabulary_size=vocabulary, pad_token_id=special_ids(tokens / "tokenizer")["[PAD]"]))
    _load(model, weights, checkpoint)
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


def find_checkpoint(source: Path) -> Path:
    """The newest intact checkpoint of a run, or the checkpoint itself once its checksums hold."""
    if (source / MANIFEST).is_file() and (source / CONFIG).is_file():
        if trouble := problem(source):
            raise UserError(f"the checkpoint is broken: {trouble}", where=source, remedy="export another one")
        return source
    checkpoint = newest_intact(source)
    if checkpoint is None:
        raise UserError("no intact checkpoint", where=source, remedy="give the --output of `biobert-scale train`, or one of its checkpoints")
    return checkpoint


def fp32_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The full-precision weights of a verified checkpoint, gathered from the engine's shards, on the CPU."""
    manifest = read_json(checkpoint / MANIFEST)
    if manifest["engine"] == "ddp":
        return load_file(checkpoint / "model.safetensors")
    if manifest["zero_stage"] == 0:
        # Pickled by the engine; the caller has verified its checksum.
        saved: dict[str, Any] = torch.load(checkpoint / "pytorch_model" / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=False)
        return {name: tensor.float() for name, tensor in saved["module"].items()}
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    gathered: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag="pytorch_model")
    return gathered


def _load(model: BertForPreTraining, weights: dict[str, Tensor], checkpoint: Path) -> None:
    # The decoder shares the embeddings' weight and the heads share one bias: either name may be absent.
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.bias"}
    if set(missing) - tied or unexpected:
        raise UserError(f"the weights do not fit the model ({', '.join([*missing, *unexpected][:3])} ...)", where=checkpoint, remedy="export with the version that trained it")
    model.tie_weights()
