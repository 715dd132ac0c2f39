"""BERT on packed rows, written out: no padding, and heads where something is predicted.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
Parameters have the names, the order and the initial values of transformers' `BertForPreTraining`, so that
weights go either way; how they are computed with is chosen here from a `ComputeConfig`, and changes nothing
but the rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig
from transformers.activations import ACT2FN

from biobert_scale.config import ComputeConfig, ModelConfig
from biobert_scale.modeling.attention import packed_attention, padded_attention
from biobert_scale.modeling.batch import PackedBatch, PackedSequences
from biobert_scale.modeling.dropout import QuickDropout, applied, drawn_ahead
from biobert_scale.modeling.linear import Linear, linear
from biobert_scale.modeling.loss import cross_entropy

Attend = Callable[..., Tensor]
"""(query, key, value, dropout=...) -> context, each (rows, tokens, heads, head size)."""


def bert_config(model: ModelConfig, *, vocabulary_size: int, pad_token_id: int) -> BertConfig:
    """The shape in transformers' terms; GELU and epsilon 1e-12 as in the original code."""
    return BertConfig(
        vocab_size=vocabulary_size,
        pad_token_id=pad_token_id,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
        **asdict(model),
    )


def build_model(
    config: BertConfig, compute: ComputeConfig = ComputeConfig(), *, seed: int, partitioned: bool = False
) -> PackedBertForPreTraining:
    """A model with random fp32 weights, the same for the same seed on every rank."""
    torch.manual_seed(seed)
    return PackedBertForPreTraining(config, compute, partitioned=partitioned)


class PackedBertForPreTraining(nn.Module):
    """Encoder and the two heads of pre-training.

    Args:
        partitioned: the engine gathers a module's weights when the module is called, so that no other code
            can reach them (ZeRO stage 3): nothing is fused across modules then.
    """

    def __init__(
        self, config: BertConfig, compute: ComputeConfig = ComputeConfig(), *, partitioned: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.masked_positions_only = compute.head_on_masked_positions_only
        only_read = self.masked_positions_only and compute.last_layer_on_masked_positions_only
        self.last_layer_too = only_read and compute.unpadded
        self.bert = Encoder(config, compute, partitioned=partitioned)
        predictions = PredictionHead(config, rows=compute.head_rows * self.masked_positions_only)
        relation = Linear(config.hidden_size, 2)
        self.cls = nn.ModuleDict({"predictions": predictions, "seq_relationship": relation})
        _draw_weights(self.cls, config.initializer_range)
        predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        """Sums over one micro-batch, to be divided by global counts, never by local ones.

        Returns:
            fp32 scalars: `mlm_loss`, `nsp_loss` (summed cross-entropies, in nats), `mlm_correct`,
                `nsp_correct`.
        """
        masked, first = batch.mlm_positions, batch.cu_seqlens[: len(batch.nsp_labels)].long()
        if self.last_layer_too:
            hidden = self.bert(batch, positions=torch.cat([masked, first]))
            predicted, first_states, chosen = hidden[: len(masked)], hidden[len(masked) :], None
        else:
            hidden = self.bert(batch)
            predicted, chosen = (hidden[masked], None) if self.masked_positions_only else (hidden, masked)
            first_states = hidden[first]
        pooled = self.bert.pooler(first_states)
        relation_scores = self.cls["seq_relationship"](pooled).float()  # (sequences, 2)
        mlm_loss, mlm_correct = self.cls["predictions"](predicted, batch.mlm_labels, chosen)
        return {
            "mlm_loss": mlm_loss,
            "mlm_correct": mlm_correct,
            "nsp_loss": nn.functional.cross_entropy(relation_scores, batch.nsp_labels, reduction="sum"),
            "nsp_correct": (relation_scores.argmax(-1) == batch.nsp_labels).sum().float(),
        }


class Encoder(nn.Module):
    """transformers' `BertModel`: embeddings, layers, and the pooler of each sequence's [CLS]."""

    def __init__(
        self,
        config: BertConfig,
        compute: ComputeConfig = ComputeConfig(),
        *,
        pooler: bool = True,
        partitioned: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.unpadded, self.backend = config, compute.unpadded, compute.attention
        self.activation_checkpointing = compute.activation_checkpointing
        self.embeddings = Embeddings(config, compute)
        layers = [Layer(config, compute, partitioned=partitioned) for _ in range(config.num_hidden_layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        if pooler:
            self.pooler = Pooler(config)
        _draw_weights(self, config.initializer_range)

    def forward(self, row: PackedSequences, positions: Tensor | None = None) -> Tensor:
        """Last hidden states.

        Args:
            positions: (positions,) int64, indices into the row, of which alone they are wanted: the last
                layer, whose outputs no other attends to, is then computed on these behind its attention.

        Returns:
            (tokens, hidden), or (positions, hidden).
        """
        inputs = (row.input_ids, row.token_type_ids, row.position_ids)
        *layers, last = cast(nn.ModuleList, self.encoder["layer"])
        if self.unpadded:
            # One row, not two dimensions: for those ZeRO stage 3 has a product that rounds once less.
            hidden = self.embeddings(*(states[None] for states in inputs))
            attend = partial(
                _attend_packed,
                cu_seqlens=row.cu_seqlens,
                sequence_lengths=row.sequence_lengths,
                max_seqlen=self.config.max_position_embeddings,
                backend=self.backend,
            )
        else:
            cells, mask = _padded_cells(row)
            hidden = self.embeddings(*(_padded(states, cells, mask) for states in inputs))
            attend = partial(padded_attention, mask=mask)
        run: Callable[..., Tensor] = nn.Module.__call__
        if self.activation_checkpointing and torch.is_grad_enabled():
            run = partial(checkpoint, use_reentrant=False)
        for layer in layers:
            hidden = run(layer, hidden, attend)
        hidden = run(last, hidden, attend, positions)
        return hidden[0] if self.unpadded else hidden.flatten(0, 1)[cells]


def _attend_packed(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    return packed_attention(query[0], key[0], value[0], **options)[None]


def _padded_cells(row: PackedSequences) -> tuple[Tensor, Tensor]:
    """Where a row's tokens are among rows padded to the longest sequence: (tokens,) indices into their cells,
    and (rows, longest) true where there is a token."""
    device, rows, longest = row.input_ids.device, len(row.sequence_lengths), max(row.sequence_lengths)
    lengths = torch.tensor(row.sequence_lengths, device=device)
    number = torch.arange(rows, device=device).repeat_interleave(lengths, output_size=len(row.input_ids))
    return row.position_ids + longest * number, torch.arange(longest, device=device) < lengths[:, None]


def _padded(states: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
    """(tokens,) -> (rows, longest), zeros in between."""
    return states.new_zeros(mask.numel()).index_copy(0, cells, states).view(mask.shape)


class Embeddings(nn.Module):
    """Sum of word, type and position, normalised."""

    def __init__(self, config: BertConfig, compute: ComputeConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = _dropout(config, compute)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor) -> Tensor:
        """(rows, tokens) each -> (rows, tokens, hidden)."""
        states = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        states = states + self.position_embeddings(position_ids)
        return cast(Tensor, self.dropout(self.LayerNorm(states)))


class Layer(nn.Module):
    """Attention, and what is behind it: the second may be compiled, or run on chosen positions alone."""

    def __init__(self, config: BertConfig, compute: ComputeConfig, *, partitioned: bool) -> None:
        super().__init__()
        attention = SelfAttention(config, fused=compute.fused_qkv and not partitioned)
        output = ResidualOutput(config.hidden_size, config, compute)
        self.attention = nn.ModuleDict({"self": attention, "output": output})
        self.intermediate = Intermediate(config)
        self.output = ResidualOutput(config.intermediate_size, config, compute)
        self.compiled = compute.compile and not partitioned

    def forward(self, hidden: Tensor, attend: Attend, positions: Tensor | None = None) -> Tensor:
        """(rows, tokens, hidden) -> the same shape, or (1, positions, hidden) where they are given."""
        context = self.attention["self"](hidden, attend)
        if positions is not None:
            context, hidden = context.index_select(1, positions), hidden.index_select(1, positions)
        inner, outer = cast(ResidualOutput, self.attention["output"]), self.output
        if not self.compiled:
            return _behind_attention(inner, self.intermediate, outer, context, hidden, (None, None))
        masks = tuple(drawn_ahead(part.dropout, hidden) for part in (inner, outer))
        return cast(Tensor, _compiled()(inner, self.intermediate, outer, context, hidden, masks))


def _behind_attention(
    inner: ResidualOutput,
    intermediate: Intermediate,
    outer: ResidualOutput,
    context: Tensor,
    hidden: Tensor,
    masks: tuple[tuple[Tensor, float] | None, ...],
) -> Tensor:
    hidden = inner(context, hidden, masks[0])
    return cast(Tensor, outer(intermediate(hidden), hidden, masks[1]))


@functools.cache
def _compiled() -> Any:
    """One function for all layers and lengths: compiled once for training and once for scoring."""
    return torch.compile(_behind_attention, dynamic=True)


class SelfAttention(nn.Module):
    """Multi-head attention without its output product.

    Args:
        fused: queries, keys and values by one product with the three weights side by side; the parameters
            stay three.
    """

    def __init__(self, config: BertConfig, *, fused: bool) -> None:
        super().__init__()
        size = config.hidden_size
        self.head_size = size // config.num_attention_heads
        self.query, self.key, self.value = Linear(size, size), Linear(size, size), Linear(size, size)
        self.fused, self.probability = fused, config.attention_probs_dropout_prob

    def forward(self, hidden: Tensor, attend: Attend) -> Tensor:
        """(rows, tokens, hidden) -> the same shape."""
        parts = (self.query, self.key, self.value)
        if self.fused:
            weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
            mixed = torch.unflatten(linear(hidden, weight, bias), -1, (3, -1, self.head_size))
            # `unbind` has one copy for its gradient; taking the three out one by one has three, mostly zeros,
            # and their sum.
            query, key, value = mixed.unbind(-3)
        else:
            query, key, value = (part(hidden).unflatten(-1, (-1, self.head_size)) for part in parts)
        dropout = self.probability if self.training else 0.0
        return attend(query, key, value, dropout=dropout).flatten(-2)


class Intermediate(nn.Module):
    """The wide half of the feed-forward network."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, states: Tensor) -> Tensor:
        """(..., hidden) -> (..., intermediate)."""
        return cast(Tensor, self.activation(self.dense(states)))


class ResidualOutput(nn.Module):
    """A product, dropout, the residual, LayerNorm."""

    def __init__(self, inputs: int, config: BertConfig, compute: ComputeConfig) -> None:
        super().__init__()
        self.dense = Linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = _dropout(config, compute)

    def forward(self, states: Tensor, residual: Tensor, mask: tuple[Tensor, float] | None = None) -> Tensor:
        """(..., inputs), (..., hidden) -> (..., hidden); dropout by `mask` where it has been drawn."""
        states = self.dense(states)
        states = self.dropout(states) if mask is None else applied(states, *mask)
        return cast(Tensor, self.LayerNorm(states + residual))


class Pooler(nn.Module):
    """What the head on sentence pairs reads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        """(sequences, hidden) hidden states of each [CLS] -> the same shape."""
        return cast(Tensor, self.dense(first).tanh())


class PredictionHead(nn.Module):
    """The masked-LM head; its output weights are the word embeddings.

    Args:
        rows: see `Decoder`.
    """

    def __init__(self, config: BertConfig, *, rows: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.transform = Transform(config)
        self.decoder = Decoder(config.hidden_size, config.vocab_size, rows=rows)
        self.decoder.bias = self.bias

    def forward(self, hidden: Tensor, labels: Tensor, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Decoder`."""
        return cast(tuple[Tensor, Tensor], self.decoder(self.transform(hidden), labels, chosen))


class Transform(nn.Module):
    """The masked-LM head's own layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states: Tensor) -> Tensor:
        """(..., hidden) -> the same shape."""
        return cast(Tensor, self.LayerNorm(self.activation(self.dense(states))))


class Decoder(Linear):
    """The product with the vocabulary and the loss in one call of the module: what gathers a module's weights
    when it is called (ZeRO stage 3) does so for both.

    Args:
        rows: predictions whose logits are in fp32 at a time (see `cross_entropy`); 0 for all, by autograd.
    """

    def __init__(self, inputs: int, outputs: int, *, rows: int) -> None:
        super().__init__(inputs, outputs)
        self.rows = rows

    def forward(  # type: ignore[override]
        self, hidden: Tensor, labels: Tensor, chosen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(positions, hidden), (predictions,) labels, and which positions are predicted where not all are ->
        the summed cross-entropy and the number of correct predictions, fp32 scalars."""
        if self.rows:
            return cross_entropy(hidden, self.weight, self.bias, labels, rows=self.rows)
        scores = super().forward(hidden)
        scores = (scores if chosen is None else scores[chosen]).float()  # (predictions, vocabulary)
        loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
        return loss, (scores.argmax(-1) == labels).sum().float()


def _dropout(config: BertConfig, compute: ComputeConfig) -> nn.Dropout:
    return (QuickDropout if compute.quick_dropout else nn.Dropout)(config.hidden_dropout_prob)


@torch.no_grad()
def _draw_weights(module: nn.Module, deviation: float) -> None:
    """Normal weights, biases of zero, and none for [PAD], as in the original code."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.normal_(0.0, deviation)
        if isinstance(part, nn.Linear):
            part.bias.zero_()
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            part.weight[part.padding_idx] = 0
