"""The switches of `compute`, put to a model: the same parameters and names, computed in fewer passes."""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertLayer, BertSelfAttention

from biobert_scale.config import ComputeConfig
from biobert_scale.modeling import attention
from biobert_scale.modeling.bert import PackedBertForPreTraining
from biobert_scale.modeling.dropout import applied, draw_quickly, drawn_ahead
from biobert_scale.modeling.emulation import linear
from biobert_scale.modeling.head import score_by_rows


def switch_on(
    model: PackedBertForPreTraining, compute: ComputeConfig, *, partitioned: bool = False
) -> PackedBertForPreTraining:
    """Make a model, as built or loaded, compute in the way that is asked for. To be called once, before an
    engine takes it.

    Args:
        partitioned: the engine gathers a module's weights when the module is called, so that no other code
            can reach them: some switches have no effect then.
    """
    model.compute = compute
    model.config._attn_implementation = attention.implementation(compute.attention)
    if compute.quick_dropout:
        draw_quickly(model)
    if compute.head_rows:
        score_by_rows(model.cls.predictions.decoder, rows=compute.head_rows)
    layers: Any = model.bert.encoder.layer
    for layer in layers:
        if compute.fused_qkv and not partitioned:
            layer.attention.self.__class__ = FusedSelfAttention
        compile, sparse = (
            compute.compile and not partitioned,
            compute.sparse_last_layer and layer is layers[-1],
        )
        if compile or sparse:
            layer.__class__ = SwitchedLayer
            layer.compiles, layer.sparse = compile, sparse
    return model


class SwitchedLayer(BertLayer):
    """A layer in two halves, attention and what is behind it: the second compiled, or on chosen positions
    alone, or both."""

    compiles: bool
    """Fuse the element-wise operations (bias, GELU, dropout, residual, LayerNorm); attention stays the kernel
    it is."""
    sparse: bool
    """Whether `read` counts: it is meant for the last layer, whose outputs no other attends to."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *_: Any,
        read: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(rows, tokens, hidden) -> the same shape, or (1, positions, hidden) where `read` (positions,)
        counts."""
        context, _weights = self.attention.self(hidden_states, attention_mask, **kwargs)
        if self.sparse and read is not None:
            context, hidden_states = context.index_select(1, read), hidden_states.index_select(1, read)
        if not self.compiles:
            return _behind_attention(self, context, hidden_states, [None, None])
        masks = [drawn_ahead(part.dropout, hidden_states) for part in (self.attention.output, self.output)]
        return cast(Tensor, _compiled()(self, context, hidden_states, masks))


@functools.cache
def _compiled() -> Any:
    """One function for all layers and all numbers of tokens: it is compiled once for training and once for
    scoring."""
    return torch.compile(_behind_attention, dynamic=True)


def _behind_attention(
    layer: Any, context: Tensor, residual: Tensor, masks: list[tuple[Tensor, float] | None]
) -> Tensor:
    inner, outer = layer.attention.output, layer.output
    hidden = inner.LayerNorm(_drop(inner, inner.dense(context), masks[0]) + residual)
    return cast(
        Tensor, outer.LayerNorm(_drop(outer, outer.dense(layer.intermediate(hidden)), masks[1]) + hidden)
    )


def _drop(part: Any, states: Tensor, mask: tuple[Tensor, float] | None) -> Tensor:
    return cast(Tensor, part.dropout(states)) if mask is None else applied(states, *mask)


class FusedSelfAttention(BertSelfAttention):
    """Queries, keys and values by one product with the three weights side by side; the parameters stay
    three."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """(rows, tokens, hidden) -> the same shape, and None in the place of the attention weights."""
        assert past_key_values is None
        parts = (self.query, self.key, self.value)
        mixed = linear(
            hidden_states,
            torch.cat([part.weight for part in parts]),
            torch.cat([part.bias for part in parts]),
        )
        # `unbind` has one copy for its gradient; taking the three out one by one has three, mostly zeros, and
        # their sum.
        parts_by_token = mixed.unflatten(-1, (3, -1, self.attention_head_size)).unbind(
            2
        )  # (rows, tokens, heads, head size) each
        query, key, value = (part.transpose(1, 2) for part in parts_by_token)
        attend: Any = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        output, _ = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.dropout.p if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return output.flatten(-2), None
