"""Parity with transformers on padded batches, and no leak across the sequences of a row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForMaskedLM, BertForPreTraining

from biobert_scale.config import ComputeConfig, ModelConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.data.layouts import fill_bucket
from biobert_scale.errors import UserError
from biobert_scale.modeling import emulation
from biobert_scale.modeling.bert import (
    PackedBatch,
    PackedBertForPreTraining,
    bert_config,
    build_model,
    load_encoder,
)
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.switches import switch_on

LENGTHS = (7, 12, 5)
SHAPE = ModelConfig(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


@pytest.fixture
def model() -> PackedBertForPreTraining:
    return build_model(bert_config(SHAPE, vocabulary_size=100, pad_token_id=0), seed=3)


@pytest.fixture
def batch() -> PackedBatch:
    torch.manual_seed(1)
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0)
    return PackedBatch(
        input_ids=torch.randint(5, 100, (24,)),
        token_type_ids=torch.cat([(torch.arange(length) > length // 2).long() for length in LENGTHS]),
        position_ids=torch.cat([torch.arange(length) for length in LENGTHS]),
        cu_seqlens=bounds.to(torch.int32),
        sequence_lengths=LENGTHS,
        mlm_positions=torch.tensor([3, 9, 18, 19]),
        mlm_labels=torch.tensor([9, 4, 8, 7]),
        nsp_labels=torch.tensor([0, 1, 0]),
    )


def padded(batch: PackedBatch) -> dict[str, torch.Tensor]:
    shape = (len(LENGTHS), max(LENGTHS))
    rows = {
        name: torch.zeros(shape, dtype=torch.long)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    labels = torch.full((24,), -100)
    labels[batch.mlm_positions] = batch.mlm_labels
    rows["labels"] = torch.full(shape, -100)
    for k, length in enumerate(LENGTHS):
        begin = int(batch.cu_seqlens[k])
        rows["input_ids"][k, :length] = batch.input_ids[begin : begin + length]
        rows["token_type_ids"][k, :length] = batch.token_type_ids[begin : begin + length]
        rows["attention_mask"][k, :length] = 1
        rows["labels"][k, :length] = labels[begin : begin + length]
    return rows


def test_losses_and_gradients_equal_the_padded_library_model(
    model: PackedBertForPreTraining, batch: PackedBatch
) -> None:
    config = model.config.__class__(**{**model.config.to_dict()})
    config._attn_implementation = "eager"
    reference = BertForPreTraining(config)
    reference.load_state_dict(model.state_dict())
    expected = reference(**padded(batch), next_sentence_label=batch.nsp_labels).loss
    sums = model(batch)
    loss = sums["mlm_loss"] / 4 + sums["nsp_loss"] / 3
    assert torch.allclose(loss, expected, rtol=1e-5)
    loss.backward()
    expected.backward()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("rows", [0, 3])
def test_a_filled_bucket_gives_the_same_sums_and_gradients(
    model: PackedBertForPreTraining, batch: PackedBatch, rows: int
) -> None:
    arrays = {
        name: getattr(batch, name).numpy() for name in MicroBatch.__dataclass_fields__ if hasattr(batch, name)
    }
    plain = MicroBatch(**arrays, epochs=np.zeros(3, np.int64), indices=np.arange(3))
    model.eval()  # dropout would draw other numbers for more tokens
    found = []
    switch_on(model, ComputeConfig(head_rows=rows))
    for bucket, padding in ((1, [0]), (24, [0, 0]), (32, [8, 0]), (100, [16, 16, 16, 16, 12, 0, 0])):
        filled = PackedBatch.of(
            fill_bucket(plain, bucket=bucket, max_seq_length=16, mlm_probability=0.15, pad_token_id=0)
        )
        assert filled.cu_seqlens.diff().tolist()[3:] == padding, "no sequence is longer than kernels are told"
        model.zero_grad()
        sums = model(filled)
        (sums["mlm_loss"] + sums["nsp_loss"]).backward()
        found.append(
            (
                {name: value.item() for name, value in sums.items()},
                [parameter.grad.clone() for parameter in model.parameters()],
            )
        )
    expected = {name: value.item() for name, value in model(batch).items()}
    for sums, gradients in found:
        assert sums == pytest.approx(expected, rel=1e-5)
        for ours, first in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(ours, first, rtol=1e-4, atol=1e-6)


def test_a_sequence_does_not_see_its_neighbours(model: PackedBertForPreTraining, batch: PackedBatch) -> None:
    model.eval()
    whole = model.bert.embeddings(batch.input_ids[None], batch.token_type_ids[None], batch.position_ids[None])
    changed_ids = batch.input_ids.clone()
    changed_ids[:7] = 50
    sums, changed = model(batch), model(replace(batch, input_ids=changed_ids))
    assert whole.shape == (1, 24, 64)
    for positions in ([9, 18, 19],):
        kept = replace(batch, mlm_positions=torch.tensor(positions), mlm_labels=batch.mlm_labels[1:])
        kept_changed = replace(kept, input_ids=changed_ids)
        assert torch.equal(model(kept)["mlm_loss"], model(kept_changed)["mlm_loss"]), (
            "attention crossed a boundary"
        )
    assert not torch.equal(sums["mlm_loss"], changed["mlm_loss"]), (
        "the change should be seen where it was made"
    )


def test_bf16_on_a_cpu_is_the_rounded_fp32_product(model: PackedBertForPreTraining) -> None:
    linear = model.bert.encoder.layer[0].intermediate.dense.to(torch.bfloat16)
    inputs = torch.randn(50, 64).to(torch.bfloat16)
    exact = torch.nn.functional.linear(inputs.double(), linear.weight.double(), linear.bias.double())
    assert linear(inputs).dtype == torch.bfloat16
    assert (linear(inputs).double() - exact).abs().max() <= exact.abs().max() * 2**-8


def test_bf16_on_a_cpu_keeps_no_fp32_copy_for_the_backward_pass(
    model: PackedBertForPreTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulation, "_CPU_MULTIPLIES_BF16", False)
    linear = model.bert.encoder.layer[0].intermediate.dense.to(torch.bfloat16)
    inputs = torch.randn(5, 10, 64).to(torch.bfloat16).requires_grad_()
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        output = linear(inputs)
    assert kept and {tensor.dtype for tensor in kept} == {torch.bfloat16}
    output.backward(gradient := torch.randn_like(output))
    exact = [tensor.detach().double().requires_grad_() for tensor in (inputs, linear.weight, linear.bias)]
    torch.nn.functional.linear(*exact).backward(gradient.double())
    for ours, theirs in zip((inputs, linear.weight, linear.bias), exact, strict=True):
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
    monkeypatch.setattr(emulation, "_CPU_MULTIPLIES_BF16", False)
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
        emulation, "_CPU_MULTIPLIES_BF16", True
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


def test_heads_share_the_embeddings(model: PackedBertForPreTraining) -> None:
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_saved_weights_open_with_the_auto_classes(model: PackedBertForPreTraining, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    opened = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(
        opened.cls.predictions.transform.dense.weight, model.cls.predictions.transform.dense.weight
    )
    encoder = load_encoder(tmp_path)
    assert torch.equal(
        encoder.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight
    )
    fresh = load_encoder(tmp_path, random_weights=True, seed=5)
    assert not torch.equal(fresh.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight)
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder(tmp_path / "missing")


def test_flops_equal_what_the_profiler_counts(model: PackedBertForPreTraining, batch: PackedBatch) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention; as plain products it is counted.
    switch_on(model, ComputeConfig(quick_dropout=False, head_rows=0))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)
    forward = training_flops(model.config, np.array(LENGTHS), 4) / 3
    assert abs(counter.get_total_flops() / forward - 1) < 0.01
