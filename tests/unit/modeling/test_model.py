"""Parity with transformers on padded batches, and no leak across the sequences of a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForPreTraining

from biobert_scale.config import ComputeConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.data.layouts import fill_bucket
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config, build_model
from tests.factories import SMALL_BERT, packed_batch

LENGTHS = (7, 12, 5)
SHAPE = replace(SMALL_BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture
def model() -> PackedBertForPreTraining:
    return build_model(bert_config(SHAPE, vocabulary_size=100, pad_token_id=0), seed=3)


@pytest.fixture
def batch() -> PackedBatch:
    chosen: dict[str, Any] = {
        "mlm_positions": torch.tensor([3, 9, 18, 19]),
        "mlm_labels": torch.tensor([9, 4, 8, 7]),
    }
    return replace(packed_batch(*LENGTHS), **chosen)


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
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("rows", [0, 3])
def test_a_filled_bucket_gives_the_same_sums_and_gradients(
    model: PackedBertForPreTraining, batch: PackedBatch, rows: int
) -> None:
    arrays = {
        name: getattr(batch, name).numpy() for name in MicroBatch.__dataclass_fields__ if hasattr(batch, name)
    }
    plain = MicroBatch(**arrays, epochs=np.zeros(3, np.int64), indices=np.arange(3))
    found = []
    by_rows = build_model(model.config, ComputeConfig(head_rows=rows), seed=3)
    by_rows.load_state_dict(model.state_dict())
    model = by_rows.eval()  # dropout would draw other numbers for more tokens
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
                [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None],
            )
        )
    expected = {name: value.item() for name, value in model(batch).items()}
    for sums, gradients in found:
        assert sums == pytest.approx(expected, rel=1e-5)
        for ours, first in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(ours, first, rtol=1e-4, atol=1e-6)


def test_a_sequence_does_not_see_its_neighbours(model: PackedBertForPreTraining, batch: PackedBatch) -> None:
    model.eval()
    changed_ids = batch.input_ids.clone()
    changed_ids[:7] = 50
    sums, changed = model(batch), model(replace(batch, input_ids=changed_ids))
    for positions in ([9, 18, 19],):
        kept = replace(batch, mlm_positions=torch.tensor(positions), mlm_labels=batch.mlm_labels[1:])
        kept_changed = replace(kept, input_ids=changed_ids)
        assert torch.equal(model(kept)["mlm_loss"], model(kept_changed)["mlm_loss"]), (
            "attention crossed a boundary"
        )
    assert not torch.equal(sums["mlm_loss"], changed["mlm_loss"]), (
        "the change should be seen where it was made"
    )


def test_heads_share_the_embeddings(model: Any) -> None:
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_flops_equal_what_the_profiler_counts(model: PackedBertForPreTraining, batch: PackedBatch) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter does not know the CPU's fused attention; as plain products it is counted.
    model = build_model(model.config, ComputeConfig(quick_dropout=False, head_rows=0), seed=3)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch)
    forward = training_flops(model.config, np.array(LENGTHS), 4) / 3
    assert abs(counter.get_total_flops() / forward - 1) < 0.01


def test_a_model_is_constructed_and_not_changed_afterwards() -> None:
    for compute in (ComputeConfig(), ComputeConfig(unpadded=False, head_rows=0, compile=True)):
        model = build_model(bert_config(SHAPE, vocabulary_size=100, pad_token_id=0), compute, seed=1)
        assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
