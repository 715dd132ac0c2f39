"""What a pre-training run starts from: random weights, a Hugging Face model, a TensorFlow checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig

from biobert_scale.config import ComputeConfig, ModelConfig
from biobert_scale.errors import UserError
from biobert_scale.modeling.carry import carry_embeddings
from biobert_scale.modeling.model import PackedBertForPreTraining, build_model
from biobert_scale.modeling.weights import Source, read_source
from biobert_scale.tokens.vocabulary_file import is_lowercase, read_entries

logger = logging.getLogger(__name__)

_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
_POSITIONS = "bert.embeddings.position_embeddings.weight"
_BIAS = "cls.predictions.bias"
_TIED = {"cls.predictions.decoder.weight": _EMBEDDINGS, "cls.predictions.decoder.bias": _BIAS}
_HEADS = ("bert.pooler.", "cls.")
"""What a model may lack: encoders come without heads, masked language models without the NSP head."""
_SHAPE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "hidden_act", "layer_norm_eps"),
)
_OTHERS = "take other weights"


def initial_model(
    config: BertConfig,
    source: str | Path | None,
    *,
    seed: int,
    tokenizer: Path,
    compute: ComputeConfig = ComputeConfig(),
    partitioned: bool = False,
) -> PackedBertForPreTraining:
    """A model to start a run with, in fp32 whatever type the weights were stored in; the same on every rank.

    Args:
        config: the run's shape and vocabulary size.
        source: a Hugging Face model directory; a TensorFlow checkpoint's path without `.index`, or its
            directory; or nothing, for random weights.
        seed: for the random weights, and for those of the heads that the source lacks.
        tokenizer: the run's tokenizer directory. Embeddings are carried over to its vocabulary, entry by
            entry.
        compute, partitioned: see `PackedBertForPreTraining`.

    Raises:
        UserError: nothing readable there, or a model of another shape.
    """
    model = build_model(config, compute, seed=seed, partitioned=partitioned)
    if not source:
        return model
    found = read_source(Path(source))
    refuse_other_shape(config, found)
    tensors = _on_vocabulary(_without_aliases(found), found, read_entries(tokenizer))
    _load(model, _with_positions(tensors, config.max_position_embeddings), found.directory)
    return model


def refuse_other_shape(config: BertConfig, source: Source) -> None:
    """Refuse weights of another shape than the run's. More positions than theirs it may have.

    Raises:
        UserError: naming the first key that differs, and both values.
    """
    for key in _SHAPE:
        ours, theirs = getattr(config, key), getattr(source.config, key)
        if ours != theirs and not (key == "max_position_embeddings" and ours > theirs):
            settable = key in ModelConfig.__dataclass_fields__
            what = f"{key} is {ours} in the recipe and {theirs} in the initial weights"
            remedy = f"set model.{key} to {theirs}, or {_OTHERS}" if settable else _OTHERS
            raise UserError(what, where=source.directory, remedy=remedy)


def _without_aliases(source: Source) -> dict[str, Tensor]:
    """Each tied weight under one name.

    Raises:
        UserError: both names are there with different values.
    """
    tensors = dict(source.tensors)
    for alias, name in _TIED.items():
        tensor = tensors.pop(alias, None)
        if tensor is not None and not torch.equal(tensors.setdefault(name, tensor), tensor):
            what = f"{alias} differs from {name}, which BERT shares"
            raise UserError(what, where=source.directory, remedy=_OTHERS)
    return tensors


def _on_vocabulary(tensors: dict[str, Tensor], source: Source, new: list[str]) -> dict[str, Tensor]:
    """The tensors with embeddings and output bias in the order of the run's vocabulary."""
    old = read_entries(source.directory)
    embeddings, bias = tensors.get(_EMBEDDINGS), tensors.get(_BIAS)
    rows, biases = (0 if tensor is None else len(tensor) for tensor in (embeddings, bias))
    if embeddings is None or rows < len(old) or (bias is not None and biases != rows):
        what = f"{rows} embeddings and {biases} output biases do not fit a vocabulary of {len(old)} entries"
        remedy = "put the vocabulary there that the weights were trained with"
        raise UserError(what, where=source.directory, remedy=remedy)
    logger.info("initial weights from %s", source.directory)
    if beyond := rows - len(old):
        logger.warning("%d embeddings beyond their vocabulary's %d entries are dropped", beyond, len(old))
    embeddings, bias, counts = carry_embeddings(
        embeddings, bias, old=old, new=new, lowercase=is_lowercase(source.directory, old)
    )
    if old != new:
        logger.info(
            "embeddings of this run's %d entries: %d copied, %d averaged over pieces of the old vocabulary,"
            " %d the mean of all its rows",
            len(new),
            counts.copied,
            counts.averaged,
            counts.unknown,
        )
    return {**tensors, _EMBEDDINGS: embeddings, **({} if bias is None else {_BIAS: bias})}


def _with_positions(tensors: dict[str, Tensor], positions: int) -> dict[str, Tensor]:
    """The tensors with theirs repeated for the positions beyond.

    A repeated row says at least where a token's neighbours are, which a random one has to learn first: 1.96
    against 10.3 bits a character in masked language modelling, before any further training, in Beltagy,
    Peters and Cohan 2020, "Longformer", table 5.
    """
    theirs = tensors.get(_POSITIONS)
    if theirs is None or not 0 < len(theirs) < positions:
        return tensors
    more = positions - len(theirs)
    logger.info("embeddings of positions: %d copied, and %d more of them repeated", len(theirs), more)
    return {**tensors, _POSITIONS: theirs[torch.arange(positions) % len(theirs)]}


def _load(model: PackedBertForPreTraining, tensors: dict[str, Tensor], where: Path) -> None:
    """Copy the tensors into the model's own parameters, which leaves shared ones shared.

    Raises:
        UserError: the encoder lacks a weight or has one too many, or a weight has another shape or no finite
            value.
    """
    parameters = dict(model.named_parameters())
    missing = [name for name in parameters if name not in tensors]
    others = [name for name in tensors if name not in parameters and name != "bert.embeddings.position_ids"]
    encoder = [name for name in missing if not name.startswith(_HEADS)]
    if encoder := encoder + [name for name in others if name.startswith("bert.")]:
        what = "lack" if encoder[0] in parameters else "have, unlike BERT,"
        raise UserError(f"the initial weights {what} {encoder[0]}", where=where, remedy=_OTHERS)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name not in tensors:
                continue
            tensor = tensors[name]
            if tensor.dtype != torch.float32:
                what = f"{name} is stored as {tensor.dtype}"
                raise UserError(what, where=where, remedy="take weights in fp32, bf16 or fp16")
            if tensor.shape != parameter.shape:
                theirs, ours = tuple(tensor.shape), tuple(parameter.shape)
                what = f"{name} has the shape {theirs} in the initial weights and {ours} in the recipe"
                raise UserError(what, where=where, remedy=_OTHERS)
            if not torch.isfinite(tensor).all():
                raise UserError(f"{name} holds values that are not finite", where=where, remedy=_OTHERS)
            parameter.copy_(tensor)
    if missing:
        logger.warning("freshly initialised, as the initial weights lack them: %s", ", ".join(missing))
    if others:
        logger.info("of the initial weights these have no place here: %s", ", ".join(others))
