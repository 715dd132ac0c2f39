from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from biobert_scale.config import ComputeConfig, ModelConfig
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.plan.memory import (
    RankMemory,
    Sharding,
    activation_bytes,
    communication,
    rank_memory,
)

GROUPS = [[600, 300, 100], [20, 12]]
"""Two groups, as the optimizer has them: 1,000 and 32 elements."""


def memory(stage: int | None, *, world_size: int = 4, p: int = 2, **options: Any) -> RankMemory:
    return rank_memory(
        GROUPS, Sharding(stage=stage, bucket=50, **options), world_size=world_size, bytes_a_weight=p
    )


def test_without_sharding_every_rank_holds_sixteen_bytes_a_parameter() -> None:
    for stage, p in ((None, 2), (None, 4), (0, 2), (0, 4)):
        device = memory(stage, p=p).device
        assert device.states == 16 * 1032, (stage, p)
        assert (device.fp32_weights > 0) == (stage == 0 and p == 2)


def test_stage_1_shares_out_the_optimizer_and_nothing_else() -> None:
    device = memory(1).device
    assert (device.weights, device.gradients) == (2 * 1032, 2 * 1032)
    assert (device.fp32_weights, device.moments) == (4 * 258, 8 * 258)


def test_stage_2_keeps_the_gradients_of_the_tensors_that_a_share_touches() -> None:
    # Shares of 250 and 8: [0, 250) and [250, 500) touch the tensor of 600; [500, 750) those of 600 and 300,
    # which is the most. Of the second group [16, 24) touches both tensors, on that same rank.
    assert memory(2).device.gradients == 2 * (600 + 300 + 20 + 12)


def test_shares_are_padded_to_an_even_number_of_elements_a_rank() -> None:
    device = rank_memory([[10], [3]], Sharding(stage=1, bucket=1), world_size=4, bytes_a_weight=2).device
    assert device.weights == 2 * (16 + 8) and device.moments == 8 * (4 + 2)


def test_stage_3_cuts_every_tensor_and_keeps_small_ones_whole() -> None:
    device = memory(3, persistence_threshold=100).device
    share = 150 + 75 + 25 + 5 + 3
    assert (
        device.weights == 2 * (share + 132)
        and device.gradients == 2 * share
        and device.fp32_weights == 4 * share
    )
    assert memory(3, p=4, persistence_threshold=0).device.fp32_weights == 0, (
        "in fp32 the optimizer works on the weights themselves"
    )


def test_gathered_weights_are_bounded_by_what_is_used_again_soon() -> None:
    assert memory(3, persistence_threshold=0).device.copies == 2 * 1032
    assert memory(3, persistence_threshold=0, reuse_distance=100, prefetch=30).device.copies == 2 * 130


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_offloaded_optimizer_lies_on_the_host(stage: int) -> None:
    here, there = (
        memory(stage, persistence_threshold=0),
        memory(stage, persistence_threshold=0, offload_optimizer=True),
    )
    assert here.host.states == 0
    assert there.device.moments == there.device.fp32_weights == there.device.optimizer_step == 0
    assert (there.host.moments, there.host.fp32_weights) == (here.device.moments, here.device.fp32_weights)
    assert there.device.weights == here.device.weights and there.device.gradients == (
        2 * 1032 if stage == 1 else 0
    )


def test_offloaded_weights_leave_the_device() -> None:
    both = memory(3, persistence_threshold=0, offload_optimizer=True, offload_weights=True)
    assert both.device.states == 0 and both.host.weights == 2 * 258


def test_a_pass_and_the_optimizer_s_step_do_not_happen_at_once() -> None:
    device = rank_memory(
        GROUPS, Sharding(stage=1, bucket=50), world_size=1, bytes_a_weight=2, activations=7
    ).device
    assert device.peak == device.states + max(device.communication + 7, 8 * 1032)
    assert device.optimizer_step == 8 * 1032


def test_what_is_sent_in_a_step() -> None:
    def sent(stage: int | None, **options: Any) -> int:
        sharding = Sharding(stage=stage, **options)
        return sum(communication(1600, sharding, world_size=16, bytes_a_weight=2, micro_steps=8))

    unit = 1500 * 2  # of 1,600 weights of 2 bytes, a sixteenth stays
    assert sent(None) == 2 * 1500 * 4, "without an engine gradients are fp32"
    assert [sent(0), sent(1), sent(2)] == [2 * unit, 3 * unit, 17 * unit]
    assert sent(3) == 16 * unit and sent(3, reuse_distance=100) == 24 * unit
    assert sum(communication(1600, Sharding(stage=1), world_size=1, bytes_a_weight=2, micro_steps=8)) == 0


def test_the_estimate_of_activations_is_what_a_real_pass_keeps() -> None:
    """In fp32 without dropout, on one sequence; this path joins the sequences' outputs, which keeps `hidden`
    more a token and layer."""
    shape = ModelConfig(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    length, predictions, vocabulary = 256, 38, 500
    plain = ComputeConfig(last_layer_on_masked_positions_only=False, head_rows=0, fused_qkv=False)
    model = build_model(bert_config(shape, vocabulary_size=vocabulary, pad_token_id=0), plain, seed=1)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = PackedBatch(
        input_ids=torch.randint(5, vocabulary, (length,)),
        token_type_ids=torch.zeros(length, dtype=torch.long),
        position_ids=torch.arange(length),
        cu_seqlens=torch.tensor([0, length], dtype=torch.int32),
        sequence_lengths=(length,),
        mlm_positions=torch.arange(predictions),
        mlm_labels=torch.zeros(predictions, dtype=torch.long),
        nsp_labels=torch.tensor([0]),
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(batch)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert losses["mlm_loss"].requires_grad
    estimate = activation_bytes(
        shape,
        sequences=1,
        length=length,
        predictions=predictions,
        vocabulary_size=vocabulary,
        bytes_a_weight=4,
    )
    joined = 4 * length * shape.hidden_size * shape.num_hidden_layers
    backward = (
        2 * 4 * predictions * vocabulary
    )  # two of the three rows of scores appear only in the backward pass
    assert measured == pytest.approx(estimate + joined - backward, rel=0.02)


def test_dropout_keeps_a_byte_a_number_and_half_precision_half_of_the_rest() -> None:
    shape, dry = ModelConfig(), replace(ModelConfig(), hidden_dropout_prob=0.0)

    def of(model: ModelConfig, p: int) -> int:
        return activation_bytes(
            model, sequences=2, length=512, predictions=0, vocabulary_size=0, bytes_a_weight=p
        )

    assert of(shape, 2) - of(dry, 2) == 1024 * (24 * 2 + 1) * 1024
    # Computed again: two bytes a number of a layer's input, and all of one layer.
    again = partial(activation_bytes, shape, sequences=2, length=512, predictions=0, vocabulary_size=0)
    assert again(bytes_a_weight=2, checkpointing=True) == pytest.approx((24 * 2 + 34 + 5) * 1024**2, rel=0.02)
    # Korthikanti et al. 2022: 34 bytes a hidden number and layer, without the attention matrices.
    assert of(shape, 2) == pytest.approx(34 * 1024 * 1024 * 24, rel=0.02)
