"""bf16 on a CPU, with and without the instruction for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from biobert_scale.modeling import linear
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.linear import Linear
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config, build_model
from tests.factories import SMALL_BERT, packed_batch

SHAPE = replace(SMALL_BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture
def model() -> PackedBertForPreTraining:
    return build_model(bert_config(SHAPE, vocabulary_size=100, pad_token_id=0), seed=3)


@pytest.fixture
def batch() -> PackedBatch:
    return packed_batch(7, 12, 5)


def test_bf16_on_a_cpu_is_the_rounded_fp32_product() -> None:
    layer = Linear(64, 128).to(torch.bfloat16)
    inputs = torch.randn(50, 64).to(torch.bfloat16)
    exact = torch.nn.functional.linear(inputs.double(), layer.weight.double(), layer.bias.double())
    assert layer(inputs).dtype == torch.bfloat16
    assert (layer(inputs).double() - exact).abs().max() <= exact.abs().max() * 2**-8


def test_bf16_on_a_cpu_keeps_no_fp32_copy_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_CPU_MULTIPLIES_BF16", False)
    layer = Linear(64, 128).to(torch.bfloat16)
    inputs = torch.randn(5, 10, 64).to(torch.bfloat16).requires_grad_()
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(inputs)
    assert kept and {tensor.dtype for tensor in kept} == {torch.bfloat16}
    output.backward(gradient := torch.randn_like(output))
    exact = [tensor.detach().double().requires_grad_() for tensor in (inputs, layer.weight, layer.bias)]
    torch.nn.functional.linear(*exact).backward(gradient.double())
    for ours, theirs in zip((inputs, layer.weight, layer.bias), exact, strict=True):
        assert ours.grad is not None and ours.grad.dtype == torch.bfloat16 and theirs.grad is not None
        assert (ours.grad.double() - theirs.grad).abs().max() <= theirs.grad.abs().max() * 2**-8


@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_no_product_is_in_bf16_where_the_cpu_has_no_instruction_for_it(
    model: PackedBertForPreTraining,
    batch: PackedBatch,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype | None,
) -> None:
    """Neither with weights in bf16, as DeepSpeed has them, nor under autocast, which rounds fp32 copies again
    wherever it can."""
    monkeypatch.setattr(linear, "_CPU_MULTIPLIES_BF16", False)
    model.train().to(dtype or torch.float32)
    with _Products() as products:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is None):
            sums = model(batch)
        (sums["mlm_loss"] + sums["nsp_loss"]).backward()
    assert {"addmm", "mm"} <= products.types.keys() and any("attention" in name for name in products.types)
    assert {kind for kinds in products.types.values() for kind in kinds} == {torch.float32}
    assert all(
        parameter.grad is not None and parameter.grad.dtype == parameter.dtype
        for parameter in model.parameters()
        if parameter.requires_grad
    )


def test_autocast_leaves_attention_in_fp32_on_a_cpu(
    model: PackedBertForPreTraining, batch: PackedBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        linear, "_CPU_MULTIPLIES_BF16", True
    )  # the library emulates the instruction where it is missing
    with _Products() as products, torch.autocast("cpu", torch.bfloat16):
        model(batch)
    assert {kind for name, kinds in products.types.items() if "attention" in name for kind in kinds} == {
        torch.float32
    }
    assert torch.bfloat16 in {
        kind for name, kinds in products.types.items() if "attention" not in name for kind in kinds
    }


class _Products(TorchDispatchMode):
    """The types that matrix products and attention were computed in, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.types: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in {"mm", "addmm", "bmm", "baddbmm"} or "attention" in name:
            self.types.setdefault(name, set()).update(
                each.dtype
                for each in arguments
                if isinstance(each, torch.Tensor) and each.is_floating_point()
            )
        return function(*arguments, **(keywords or {}))
