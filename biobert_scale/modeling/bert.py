"""BERT on packed rows: transformers' encoder and parameter names, no padding, heads where something is
predicted.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining, BertModel

from biobert_scale.config import ComputeConfig, ModelConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.errors import UserError
from biobert_scale.files import read_json
from biobert_scale.modeling import attention
from biobert_scale.modeling.dropout import draw_quickly
from biobert_scale.modeling.emulation import emulate_in_fp32
from biobert_scale.modeling.quiet import quietly


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """Sequences concatenated into one row, on one device; last ones that `nsp_labels` does not count are
    padding.

    Shapes: `input_ids`, `token_type_ids`, `position_ids` (tokens,) int64; `cu_seqlens` (sequences + 1,)
    int32; `mlm_positions` (predictions,) int64, indices into the row; `mlm_labels` (predictions,) int64;
    `nsp_labels` (sequences,) int64, 0 where the second segment follows the first, 1 where it is a random one.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    position_ids: Tensor
    cu_seqlens: Tensor
    sequence_lengths: tuple[int, ...]
    mlm_positions: Tensor
    mlm_labels: Tensor
    nsp_labels: Tensor

    @classmethod
    def of(cls, batch: MicroBatch, *, pin: bool = False) -> PackedBatch:
        """Tensors in host memory that share the arrays' bytes, or where `pin` in page-locked memory."""

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).pin_memory() if pin else torch.from_numpy(array)

        return cls(
            **{name: tensor(getattr(batch, name)) for name in _TENSORS},
            sequence_lengths=tuple(np.diff(batch.cu_seqlens).tolist()),
        )

    def to(self, device: torch.device) -> PackedBatch:
        """The batch on a device; from page-locked memory the copy goes on beside what the device computes."""
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in _TENSORS})


_TENSORS = (
    "input_ids",
    "token_type_ids",
    "position_ids",
    "cu_seqlens",
    "mlm_positions",
    "mlm_labels",
    "nsp_labels",
)


class PackedBertForPreTraining(BertForPreTraining):
    """`transformers.BertForPreTraining` with another forward: the same modules, parameters and state
    dictionary."""

    compute = ComputeConfig(sparse_last_layer=False, quick_dropout=False, head_rows=0, fused_qkv=False)
    """How it is computed; set by `switch_on`."""

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Sums over one micro-batch, to be divided by global counts, never by local ones.

        Returns:
            fp32 scalars: `mlm_loss`, `nsp_loss` (summed cross-entropies, in nats), `mlm_correct`,
                `nsp_correct`.
        """
        predicted, first = self._read(batch)
        # The pooler reads the first position of each row it is given: give it each sequence's own [CLS].
        relation_scores = self.cls.seq_relationship(
            self.bert.pooler(first.unsqueeze(1))
        ).float()  # (sequences, 2)
        return {
            **self._predict(predicted, batch),
            "nsp_loss": nn.functional.cross_entropy(relation_scores, batch.nsp_labels, reduction="sum"),
            "nsp_correct": (relation_scores.argmax(-1) == batch.nsp_labels).sum().float(),
        }

    def _read(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Hidden states for the two heads: of predicted positions (of all tokens without `sparse_head`), and
        of each sequence's [CLS]."""
        packed = (batch.input_ids, batch.token_type_ids, batch.position_ids, batch.cu_seqlens)
        first = batch.cu_seqlens[: len(batch.nsp_labels)].long()
        if not self.compute.unpadded:
            hidden = encode_padded(self.bert, *packed, sequence_lengths=batch.sequence_lengths)
        elif self.compute.sparse_head and self.compute.sparse_last_layer:
            hidden = encode_packed(
                self.bert,
                *packed,
                sequence_lengths=batch.sequence_lengths,
                read=torch.cat([batch.mlm_positions, first]),
            )
            return hidden[: len(batch.mlm_positions)], hidden[len(batch.mlm_positions) :]
        else:
            hidden = encode_packed(self.bert, *packed, sequence_lengths=batch.sequence_lengths)
        return hidden[batch.mlm_positions] if self.compute.sparse_head else hidden, hidden[first]

    def _predict(self, hidden: Tensor, batch: PackedBatch) -> dict[str, Tensor]:
        head = self.cls.predictions
        if self.compute.sparse_head and self.compute.head_rows:
            loss, correct = head.decoder(head.transform(hidden), batch.mlm_labels)
            return {"mlm_loss": loss, "mlm_correct": correct}
        scores = head(hidden) if self.compute.sparse_head else head(hidden)[batch.mlm_positions]
        scores = scores.float()  # (predictions, vocabulary)
        return {
            "mlm_loss": nn.functional.cross_entropy(scores, batch.mlm_labels, reduction="sum"),
            "mlm_correct": (scores.argmax(-1) == batch.mlm_labels).sum().float(),
        }


def encode_packed(
    encoder: BertModel,
    input_ids: Tensor,
    token_type_ids: Tensor,
    position_ids: Tensor,
    cu_seqlens: Tensor,
    *,
    sequence_lengths: tuple[int, ...] | None = None,
    read: Tensor | None = None,
) -> Tensor:
    """Run the encoder over one packed row.

    Args:
        encoder: a model built with `attn_implementation="packed"` (see `load_encoder`).
        input_ids, token_type_ids, position_ids: (tokens,) int64; positions restart at 0 in every sequence.
        cu_seqlens: (sequences + 1,) int32.
        sequence_lengths: the boundaries as host integers; computed from `cu_seqlens` (which waits for the
            device) where absent.
        read: (positions,) int64, indices into the row, of which alone the last hidden states are wanted; for
            a model with `sparse_last_layer` switched on.

    Returns:
        (tokens, hidden) last hidden states, or (positions, hidden) in the order of `read`.
    """
    if sequence_lengths is None:
        sequence_lengths = tuple(cu_seqlens.diff().tolist())
    hidden = encoder.embeddings(input_ids[None], token_type_ids[None], position_ids[None])
    output = encoder.encoder(
        hidden,
        attention_mask=None,
        cu_seqlens=cu_seqlens,
        sequence_lengths=torch.tensor(sequence_lengths),
        longest=encoder.config.max_position_embeddings,
        read=read,
    )
    return cast(Tensor, output.last_hidden_state[0])


def encode_padded(
    encoder: BertModel,
    input_ids: Tensor,
    token_type_ids: Tensor,
    position_ids: Tensor,
    cu_seqlens: Tensor,
    *,
    sequence_lengths: tuple[int, ...],
) -> Tensor:
    """As `encode_packed`, by way of rows padded to the longest sequence: what packing is compared with."""
    rows, longest = len(sequence_lengths), max(sequence_lengths)
    lengths = torch.tensor(sequence_lengths, device=input_ids.device)
    cells = position_ids + longest * torch.arange(rows, device=input_ids.device).repeat_interleave(
        lengths, output_size=len(input_ids)
    )
    padded = [
        states.new_zeros(rows * longest).index_copy(0, cells, states).view(rows, longest)
        for states in (input_ids, token_type_ids, position_ids)
    ]
    mask = torch.arange(longest, device=input_ids.device) < lengths[:, None]  # (rows, longest)
    output = encoder.encoder(encoder.embeddings(*padded), attention_mask=mask[:, None, None])
    return cast(Tensor, output.last_hidden_state.flatten(0, 1)[cells])


def bert_config(model: ModelConfig, *, vocabulary_size: int, pad_token_id: int) -> BertConfig:
    """The shape in transformers' terms; GELU and epsilon 1e-12 as in the original code."""
    return BertConfig(
        vocab_size=vocabulary_size,
        pad_token_id=pad_token_id,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size,
        max_position_embeddings=model.max_position_embeddings,
        hidden_dropout_prob=model.hidden_dropout_prob,
        attention_probs_dropout_prob=model.attention_probs_dropout_prob,
        initializer_range=model.initializer_range,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
    )


def build_model(config: BertConfig, *, seed: int) -> PackedBertForPreTraining:
    """A model with random fp32 weights, the same for the same seed on every rank."""
    attention.register()
    config._attn_implementation = attention.PACKED_ATTENTION
    torch.manual_seed(seed)
    model = cast(PackedBertForPreTraining, PackedBertForPreTraining._from_config(config, dtype=torch.float32))
    emulate_in_fp32(model)
    return model


def load_encoder(directory: Path, *, random_weights: bool = False, seed: int = 0) -> BertModel:
    """The encoder of an exported model, in fp32, without pooler, ready for `encode_packed`.

    Args:
        directory: a Hugging Face model directory.
        random_weights: build the same shape with fresh weights from `seed` instead of loading them.

    Raises:
        UserError: the directory holds no BERT model, or not all of its weights.
    """
    config = read_model_config(directory)
    if random_weights:
        attention.register()
        config._attn_implementation = attention.PACKED_ATTENTION
        torch.manual_seed(seed)
        encoder = BertModel(config, add_pooling_layer=False)
    else:
        encoder = read_model(BertModel, directory, config, add_pooling_layer=False)
    draw_quickly(encoder)
    return encoder


def read_model_config(directory: Path) -> BertConfig:
    """A model directory's `config.json`.

    Raises:
        UserError: there is none, it cannot be read, or it is no BERT's.
    """
    if not (directory / "config.json").is_file():
        remedy = (
            "name a directory that `biobert-scale export` wrote; a model of a hub is fetched with `hf"
            " download OWNER/NAME --local-dir DIR`"
        )
        raise UserError("no model (config.json is missing)", where=directory, remedy=remedy)
    path = directory / "config.json"
    settings = read_json(path)
    if not isinstance(settings, dict) or settings.get("model_type", "bert") != "bert":
        raise UserError(
            "not a BERT model" + (f" ({settings['model_type']})" if isinstance(settings, dict) else ""),
            where=path,
            remedy="name a directory with a BERT model",
        )
    try:
        return BertConfig.from_pretrained(directory)
    except (OSError, TypeError, ValueError, StrictDataclassError) as error:
        raise UserError(
            f"not a model's settings ({_first_line(error)})", where=path, remedy="export the model again"
        ) from None


def read_model(kind: Any, directory: Path, config: BertConfig, **options: Any) -> Any:
    """A model of one of transformers' classes, in fp32, with attention over packed rows.

    Raises:
        UserError: weights that cannot be read, or that are not all there: the library would draw them at
            random.
    """
    attention.register()
    config._attn_implementation = attention.PACKED_ATTENTION
    try:
        with quietly():
            model, report = kind.from_pretrained(
                directory, config=config, dtype=torch.float32, output_loading_info=True, **options
            )
    except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise UserError(
            f"the model's weights cannot be read ({_first_line(error)})",
            where=directory,
            remedy="export it again",
        ) from None
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"the model lacks {len(missing)} of a BERT's weights ({missing[0]})",
            where=directory,
            remedy="name a whole BERT model, or export it again",
        )
    return model


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
