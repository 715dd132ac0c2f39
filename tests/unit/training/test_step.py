"""The whole step without a GPU: on the `meta` device, where tensors have shapes and types and no values.

A wrong signature, shape or type fails here, and so does whatever would make the host wait for the device: a
tensor without values has none to read. What the operators let through there is checked by `Watched`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from biobert_scale.config import ComputeConfig, OptimizerConfig
from biobert_scale.modeling import attention, model
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config, build_model
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.engine.optimizer import build_optimizer, encoder_apart
from biobert_scale.training.step import HostStep, StepResult, train_step
from biobert_scale.tune.made_up import made_up_steps
from tests.factories import SMALL_BERT

META = torch.device("meta")
SHAPE = replace(SMALL_BERT, max_position_embeddings=64)
WAYS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "compiled": {"compile": True},
    "padded rows": {"unpadded": False},
    "all positions": {"head_on_masked_positions_only": False},
    "last layer on all positions": {"last_layer_on_masked_positions_only": False},
    "fp32 logits": {"head_rows": 0},
    "PyTorch's attention and dropout": {"attention": "sdpa", "quick_dropout": False},
    "the package flash-attn": {"attention": "flash-attn"},
    "three products": {"fused_qkv": False},
    "layers computed again": {"activation_checkpointing": True},
}


class Watched(TorchDispatchMode):
    """Every operand is on the device, and attention's operands are what its kernel on a GPU takes."""

    def __init__(self) -> None:
        super().__init__()
        self.attentions = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((arguments, keywords)) if isinstance(leaf, Tensor)]
        if name not in ("_to_copy", "copy_") and any(tensor.is_meta for tensor in tensors):
            # A scalar of the host goes along with a kernel's arguments; anything else does not.
            strays = [tensor.shape for tensor in tensors if not tensor.is_meta and tensor.dim()]
            assert not strays, f"{name} is given {strays} on the host"
        if name == "_flash_attention_forward":
            self.attentions += 1
            query, key, value, begins, ends, longest, _, dropout, causal, mask = arguments
            assert {query.dtype, key.dtype, value.dtype} <= {torch.float16, torch.bfloat16}, "not in 16 bits"
            assert begins.dtype == ends.dtype == torch.int32, "cumulative lengths are not int32"
            assert type(longest) is int and type(dropout) is float
            assert 0 < dropout < 1, "dropout is no probability"
            assert causal is False and mask is False, "attention is causal"
        return function(*arguments, **keywords)


def host_step(micro_batches: int = 2) -> HostStep:
    (step,) = made_up_steps(
        1,
        sequences=2 * micro_batches,
        micro_batch_size=2,
        max_seq_length=32,
        mlm_probability=0.15,
        vocabulary_size=1000,
        lengths="abstracts",
    )
    return HostStep.of(step)


def engine_on(
    device: torch.device, dtype: torch.dtype, *, fused: bool = False, micro_steps: int = 2, **changes: Any
) -> DdpEngine:
    with device:
        module = build_model(
            bert_config(SHAPE, vocabulary_size=1000, pad_token_id=0), ComputeConfig(**changes), seed=1
        ).to(dtype)
    optimizer = build_optimizer(module, OptimizerConfig(learning_rate=1e-2), fused=fused)
    return DdpEngine(module, optimizer, device=device, micro_steps=micro_steps, max_grad_norm=1.0)


def meta_step(dtype: torch.dtype, **changes: Any) -> tuple[StepResult, Watched]:
    engine = engine_on(META, dtype, **changes)
    with Watched() as watched, torch.compiler.set_stance("force_eager"):
        result = train_step(engine, host_step(), 1e-2)
    return result, watched


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """The package's signature over PyTorch's operator, which has the same kernels."""
    bounds = (cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    operator = torch.ops.aten._flash_attention_forward
    return operator(q, k, v, *bounds, dropout_p, causal, False, scale=softmax_scale)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", WAYS)
def test_the_step_runs_without_values(way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_flash_attn", lambda: flash_attn_varlen_func)
    result, watched = meta_step(dtype, **WAYS[way])
    flash = way not in ("padded rows", "PyTorch's attention and dropout")
    passes = 4 if way == "layers computed again" else 2 if flash else 0
    assert watched.attentions == passes * SHAPE.num_hidden_layers, "one a layer and micro-batch"
    assert {tensor.device.type for tensor in vars(result).values()} == {"meta"}
    assert result.sums.shape == (4,) and result.grad_norm.shape == result.skipped.shape == ()


def read_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    original = PackedBertForPreTraining.forward

    def forward(module: Any, batch: Any) -> Any:
        sums = original(module, batch)
        sums["mlm_loss"].item()
        return sums

    monkeypatch.setattr(PackedBertForPreTraining, "forward", forward)


def index_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    original = model.Encoder.forward

    def forward(module: Any, row: Any, positions: Any = None) -> Any:
        return original(module, row)[torch.arange(len(positions))]

    monkeypatch.setattr(model.Encoder, "forward", forward)


def lengths_in_int64(monkeypatch: pytest.MonkeyPatch) -> None:
    original = model.packed_attention

    def packed_attention(*states: Tensor, cu_seqlens: Tensor, **options: Any) -> Tensor:
        return original(*states, cu_seqlens=cu_seqlens.long(), **options)  # type: ignore[misc,arg-type]

    monkeypatch.setattr(model, "packed_attention", packed_attention)


def dropout_and_causal_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed_attention(
        query: Tensor, key: Tensor, value: Tensor, *, cu_seqlens: Tensor, max_seqlen: int, **options: Any
    ) -> Tensor:
        bounds = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
        operator = torch.ops.aten._flash_attention_forward
        return operator(query, key, value, *bounds, False, options["dropout"], False)[0]

    monkeypatch.setattr(model, "packed_attention", packed_attention)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (read_in_between, "meta tensors"),
        (index_on_the_host, "on the host"),
        (lengths_in_int64, "int32"),
        (dropout_and_causal_swapped, "no probability"),
    ],
)
def test_a_fault_that_only_a_gpu_would_show_fails_here(
    fault: Callable[[pytest.MonkeyPatch], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError), match=says):
        meta_step(torch.bfloat16)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_that_are_no_numbers_leave_everything_as_it_was(fused: bool) -> None:
    engine = engine_on(torch.device("cpu"), torch.float32, fused=fused)
    first = train_step(engine, host_step(), 1e-2)
    assert not first.skipped and torch.isfinite(first.grad_norm)
    before = [
        {kind: tensor.clone() for kind, tensor in fragment.tensors.items()}
        for fragment in engine.local_fragments(steps_taken=1)
    ]
    batch = host_step()
    spoilt = train_step(
        engine,
        replace(batch, step=replace(batch.step, global_predictions=float("nan"))),  # type: ignore[arg-type]
        1e-2,
    )
    assert spoilt.skipped and not torch.isfinite(spoilt.grad_norm)
    for fragment, kept in zip(engine.local_fragments(steps_taken=1), before, strict=True):
        assert all(torch.equal(fragment.tensors[kind], tensor) for kind, tensor in kept.items()), (
            fragment.name
        )
    assert {float(state["step"]) for state in engine.optimizer.state.values()} == {1.0}
    assert not train_step(engine, host_step(), 1e-2).skipped


@pytest.mark.parametrize("fused", [False, True])
def test_a_frozen_encoder_waits_while_the_heads_learn(fused: bool) -> None:
    module = build_model(bert_config(SHAPE, vocabulary_size=1000, pad_token_id=0), seed=1)
    groups = encoder_apart(module, 0.1)
    optimizer = build_optimizer(module, OptimizerConfig(), fused=fused, groups=groups)
    engine = DdpEngine(module, optimizer, device=torch.device("cpu"), micro_steps=2, max_grad_norm=1.0)

    def moved(frozen: bool) -> set[str]:
        before = {name: weight.clone() for name, weight in module.named_parameters()}
        train_step(engine, host_step(), 1e-2, frozen_encoder=frozen)
        return {name for name, weight in module.named_parameters() if not weight.equal(before[name])}

    heads = {name for name, _ in module.named_parameters() if name.startswith(("cls.", "bert.pooler."))}
    assert moved(True) == heads and len(heads) == 9
    assert moved(False) == {name for name, _ in module.named_parameters()}
    assert all(group["lr"] == 1e-2 for group in optimizer.param_groups)
