"""Existing weights by transformers' names: of a Hugging Face directory or a TensorFlow checkpoint."""

from __future__ import annotations

import glob
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig

from biobert_scale.config import ComputeConfig
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint, read_json, sha256_file
from biobert_scale.modeling.model import Encoder
from biobert_scale.modeling.tensorflow import tensorflow_weights

_CONFIGS = ("config.json", "bert_config.json")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_RESTORE = "restore the file from where it came from"
_REMEDY = (
    "give a Hugging Face model directory (with model.safetensors and vocab.txt) or a TensorFlow checkpoint"
    " (such as bert_model.ckpt)"
)
FINE_TUNING = ComputeConfig(fused_qkv=False)
"""How fine-tuning and tagging compute. Another product would round otherwise, and scores with it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Existing weights by transformers' names, and where their configuration and vocabulary are."""

    directory: Path
    config: BertConfig
    tensors: dict[str, Tensor]


def read_source(path: Path) -> Source:
    """Find out of which kind the weights are, and read them.

    Raises:
        UserError: no weights there, or unreadable ones.
    """
    files = _source_files(path)
    if files[0].suffix != ".index":
        tensors = {name: tensor for file in files for name, tensor in _read_file(file).items()}
        return Source(directory=path, config=read_model_config(path), tensors=_current_names(tensors))
    prefix = files[0].with_suffix("")
    return Source(
        directory=prefix.parent, config=read_model_config(prefix.parent), tensors=tensorflow_weights(prefix)
    )


def weights_fingerprint(path: Path) -> str:
    """What the weights are, wherever they are: SHA-256 over their files' contents, as 64 hexadecimal digits.

    Raises:
        UserError: no weights there.
    """
    return fingerprint(sorted(sha256_file(file) for file in _source_files(path)))


def _source_files(path: Path) -> list[Path]:
    """The files that hold the weights; of a TensorFlow checkpoint the index first, then its data.

    Raises:
        UserError: no weights there, or more than one checkpoint's.
    """
    if path.is_dir() and (files := _weight_files(path)):
        return files
    indexes = sorted(path.glob("*.index")) if path.is_dir() else [path.with_name(f"{path.name}.index")]
    if len(indexes) > 1:
        names = ", ".join(index.stem for index in indexes)
        remedy = "name one of them, without .index"
        raise UserError(f"several TensorFlow checkpoints ({names})", where=path, remedy=remedy)
    if not indexes or not indexes[0].is_file():
        what = "no weights to start from" if path.exists() else "no such directory or checkpoint"
        raise UserError(what, where=path, remedy=_REMEDY)
    data = sorted(indexes[0].parent.glob(f"{glob.escape(indexes[0].stem)}.data-*"))
    return [indexes[0], *data]


def read_model_config(directory: Path) -> BertConfig:
    """A model's shape, from its `config.json` or the original code's `bert_config.json`.

    Raises:
        UserError: there is none, it cannot be read, or it is no BERT's.
    """
    path = next((directory / name for name in _CONFIGS if (directory / name).is_file()), None)
    if path is None:
        raise UserError(
            f"no model ({' or '.join(_CONFIGS)} is missing)",
            where=directory,
            remedy="name a directory that `biobert-scale export` wrote; a model of a hub is fetched with `hf"
            " download OWNER/NAME --local-dir DIR`",
        )
    settings = read_json(path)
    kind = settings.get("model_type", "bert") if isinstance(settings, dict) else "no object"
    if kind != "bert":
        raise UserError(f"not a BERT model ({kind})", where=path, remedy=_REMEDY)
    try:
        return BertConfig.from_dict(settings)
    except (TypeError, ValueError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"not a model's settings ({reason})", where=path, remedy="correct the file") from None


def load_encoder(
    directory: Path,
    *,
    dropout: float | None = None,
    random_weights: bool = False,
    fresh_layers: int = 0,
    seed: int = 0,
) -> Encoder:
    """The encoder of an existing model in fp32, without pooler.

    Args:
        directory: of `read_source`.
        dropout: probability of every dropout, attention's included; None for the model's own.
        random_weights: build the same shape with fresh weights from `seed` instead of loading them.
        fresh_layers: so many of the last layers have such weights.

    Raises:
        UserError: the directory holds no BERT model, or not all of its weights.
    """
    if random_weights:
        torch.manual_seed(seed)
        return _build(read_model_config(directory), dropout)
    encoder = encoder_of(read_source(directory), dropout=dropout)
    if fresh_layers:
        torch.manual_seed(seed)
        layers, fresh = (
            cast(nn.ModuleList, e.encoder["layer"]) for e in (encoder, _build(encoder.config, None))
        )
        for layer, other in zip(layers[-fresh_layers:], fresh[-fresh_layers:], strict=True):
            layer.load_state_dict(other.state_dict())
    return encoder


def encoder_of(source: Source, *, dropout: float | None = None) -> Encoder:
    """See `load_encoder`."""
    with torch.device("meta"):
        encoder = _build(source.config, dropout)
    fill(encoder, source, "bert.")
    return encoder


def fill(module: nn.Module, source: Source, prefix: str) -> None:
    """Give a module copies of the weights that have its parameters' names behind a prefix.

    Raises:
        UserError: one is missing, or of another shape or type.
    """
    parameters = dict(module.named_parameters())
    if missing := [name for name in parameters if prefix + name not in source.tensors]:
        what = f"the model lacks {len(missing)} of its weights ({prefix}{missing[0]})"
        raise UserError(what, where=source.directory, remedy="name a whole BERT model, or export it again")
    found = {name: source.tensors[prefix + name] for name in parameters}
    for name, tensor in found.items():
        if tensor.shape != parameters[name].shape or tensor.dtype != torch.float32:
            shape = tuple(parameters[name].shape)
            raise UserError(
                f"{prefix}{name} is {tuple(tensor.shape)} in {tensor.dtype}, where config.json says {shape}",
                where=source.directory,
                remedy="restore its config.json, or export it again",
            )
    module.load_state_dict({name: tensor.clone() for name, tensor in found.items()}, assign=True)


def _build(config: BertConfig, dropout: float | None) -> Encoder:
    if dropout is not None:
        changes = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        config = BertConfig.from_dict(config.to_dict() | changes)
    return Encoder(config, FINE_TUNING, pooler=False)


def _weight_files(directory: Path) -> list[Path]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            try:
                files = [directory / part for part in sorted(set(read_json(index)["weight_map"].values()))]
            except (KeyError, TypeError, AttributeError):
                what = "no weight_map in the index of the weights"
                raise UserError(what, where=index, remedy=_RESTORE) from None
            for file in files:
                if not file.is_file():
                    raise UserError("a file of the weights is missing", where=file, remedy=_RESTORE)
            return files
    return []


def _read_file(path: Path) -> dict[str, Tensor]:
    """A file's tensors, those of a known floating-point type in fp32."""
    try:
        # Pickles hold tensors only, or are not opened: anything else in them could run code.
        safe = path.suffix == ".safetensors"
        content: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        what = f"the weights cannot be read ({str(error).splitlines()[0]})"
        raise UserError(what, where=path, remedy=_RESTORE) from None
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise UserError("the file is no state dictionary", where=path, remedy=_REMEDY)
    return {name: tensor.float() if tensor.dtype in _FLOATS else tensor for name, tensor in content.items()}


def _current_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Today's names: LayerNorm's were TensorFlow's once; an encoder saved alone lacks `bert.` in front."""
    bare = not any(name.startswith("bert.") for name in tensors)
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        inside = bare and name.startswith(("embeddings.", "encoder.", "pooler."))
        renamed[f"bert.{name}" if inside else name] = tensor
    return renamed
