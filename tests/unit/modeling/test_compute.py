"""Every switch of `compute` against the plain way beside it: the same losses and gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biobert_scale.config import ComputeConfig, OptimizerConfig
from biobert_scale.errors import UserError
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config, build_model
from biobert_scale.training.engine.optimizer import build_optimizer
from tests.factories import SMALL_BERT, packed_batch

SHAPE = replace(SMALL_BERT, max_position_embeddings=64)
PLAIN = ComputeConfig(
    unpadded=False,
    attention="sdpa",
    quick_dropout=False,
    head_on_masked_positions_only=False,
    last_layer_on_masked_positions_only=False,
    head_rows=0,
    fused_qkv=False,
    fused_optimizer=False,
)


def build(
    compute: ComputeConfig, *, dropout: float = 0.0, partitioned: bool = False, layers: int = 2
) -> PackedBertForPreTraining:
    shape = replace(
        SHAPE, num_hidden_layers=layers, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    config = bert_config(shape, vocabulary_size=100, pad_token_id=0)
    return build_model(config, compute, seed=3, partitioned=partitioned)


def assert_same(
    ours: PackedBertForPreTraining,
    plain: PackedBertForPreTraining,
    batch: PackedBatch,
    *,
    autocast: bool = False,
    rtol: float = 1e-4,
) -> None:
    found: list[tuple[dict[str, float], dict[str, Any]]] = []
    for model in (ours, plain):
        torch.manual_seed(4)  # of dropout
        model.train()
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            sums = model(batch)
            loss = sums["mlm_loss"] / len(batch.mlm_labels) + sums["nsp_loss"] / len(batch.nsp_labels)
        loss.backward()
        found.append(
            (
                {name: value.item() for name, value in sums.items()},
                {name: parameter.grad for name, parameter in model.named_parameters()},
            )
        )
    (sums, gradients), (plain_sums, plain_gradients) = found
    assert sums == pytest.approx(plain_sums, rel=rtol)
    assert gradients.keys() == plain_gradients.keys(), "a switch renames no parameter"
    for name, gradient in gradients.items():
        assert gradient is not None and plain_gradients[name] is not None, name
        # A key's bias moves all of a row's scores alike, so that its gradient is nothing but rounding.
        bound = 1e-6 if "key.bias" in name else 0.0
        assert (
            float((gradient - plain_gradients[name]).norm())
            <= rtol * float(plain_gradients[name].norm()) + bound
        ), name


SWITCHES: dict[str, dict[str, Any]] = {
    "unpadded": {"unpadded": True},
    "head_on_masked_positions_only": {"head_on_masked_positions_only": True},
    "head_rows": {"head_on_masked_positions_only": True, "head_rows": 3},
    "last_layer_on_masked_positions_only": {
        "unpadded": True,
        "head_on_masked_positions_only": True,
        "last_layer_on_masked_positions_only": True,
    },
    "last_layer_on_masked_positions_only, without what it asks for": {
        "last_layer_on_masked_positions_only": True
    },
    "fused_qkv": {"fused_qkv": True},
    "all": {
        "unpadded": True,
        "attention": "auto",
        "quick_dropout": True,
        "head_on_masked_positions_only": True,
        "last_layer_on_masked_positions_only": True,
        "head_rows": 4,
        "fused_qkv": True,
    },
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_no_loss_and_no_gradient(name: str) -> None:
    assert_same(build(replace(PLAIN, **SWITCHES[name])), build(PLAIN), packed_batch(7, 12, 5))


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_rounding_alone_under_autocast(name: str) -> None:
    assert_same(
        build(replace(PLAIN, **SWITCHES[name])),
        build(PLAIN),
        packed_batch(7, 12, 5),
        autocast=True,
        rtol=0.03,
    )


@pytest.mark.parametrize("switches", [PLAIN, ComputeConfig()])
@pytest.mark.parametrize("autocast", [False, True])
def test_layers_that_are_computed_again_drop_the_same_and_give_the_same_bits(
    switches: ComputeConfig, autocast: bool
) -> None:
    again = build(replace(switches, activation_checkpointing=True), dropout=0.2)
    assert_same(again, build(switches, dropout=0.2), packed_batch(7, 12, 5), autocast=autocast, rtol=0.0)


@pytest.mark.slow
def test_compiled_layers_change_no_loss_and_no_gradient_at_any_shape() -> None:
    # More layers than compilations that dynamo allows before it gives a function up.
    layers = torch._dynamo.config.recompile_limit + 2
    compiled, plain = (
        build(replace(PLAIN, **SWITCHES["all"], compile=True), layers=layers),
        build(PLAIN, layers=layers),
    )
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for lengths in ((7, 12, 5), (9, 9), (30, 3, 3, 8), (7, 12, 6)):
        assert_same(compiled, plain, packed_batch(*lengths))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, (
        "other lengths or another layer compile again"
    )
    compiled.eval()
    assert torch.isfinite(compiled(packed_batch(7, 12, 5))["mlm_loss"])


@pytest.mark.slow
def test_a_layer_is_one_graph_in_bf16_as_well() -> None:
    switches = replace(PLAIN, **SWITCHES["all"])
    compiled, eager = build(replace(switches, compile=True)), build(switches)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for lengths in ((7, 12, 5), (9, 9)):
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = (model(packed_batch(*lengths))["mlm_loss"].item() for model in (compiled, eager))
        assert ours == pytest.approx(theirs, rel=1e-2)
    assert (
        torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
        and not torch._dynamo.utils.counters["graph_break"]
    )


@pytest.mark.slow
def test_compiled_layers_drop_what_the_others_drop() -> None:
    switches = replace(PLAIN, **SWITCHES["all"])
    compiled, eager = build(replace(switches, compile=True), dropout=0.2), build(switches, dropout=0.2)
    torch._dynamo.reset()
    for lengths in ((7, 12, 5), (9, 9)):
        assert_same(compiled, eager, packed_batch(*lengths))


@pytest.mark.parametrize("autocast", [False, True])
def test_dropout_is_drawn_with_every_switch_on(autocast: bool) -> None:
    model = build(replace(PLAIN, **SWITCHES["all"]), dropout=0.5)
    model.train()

    def loss(batch: PackedBatch) -> float:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            summed = model(batch)["mlm_loss"]
        summed.backward()
        assert all(
            torch.isfinite(parameter.grad).all()
            for parameter in model.parameters()
            if parameter.grad is not None
        )
        return summed.item()

    first, second = (loss(packed_batch(7, 12, 5)) for _ in range(2))
    torch.manual_seed(1)
    third = loss(packed_batch(7, 12, 5))
    assert first == second == third, "packed_batch seeds the generator, and dropout draws from it"
    batch = packed_batch(7, 12, 5)
    assert len({loss(batch) for _ in range(3)}) == 3


def test_weights_out_of_reach_are_left_to_their_modules() -> None:
    parts = ("query", "key", "value")
    model: Any = build(replace(PLAIN, fused_qkv=True), partitioned=True)
    called = []
    for part in parts:
        getattr(model.bert.encoder["layer"][0].attention["self"], part).register_forward_hook(
            lambda *_, part=part: called.append(part)
        )
    model(packed_batch(4, 4))
    assert called == list(parts)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="flash-attn is not installed"):
        build(replace(PLAIN, unpadded=True, attention="flash-attn"))(packed_batch(4, 4))


def test_the_fused_optimizer_takes_the_same_step() -> None:
    models = []
    for fused in (False, True):
        model = build(PLAIN)
        optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-2), fused=fused)
        for _ in range(3):
            sums = model(packed_batch(7, 12, 5))
            (sums["mlm_loss"] / 5 + sums["nsp_loss"] / 3).backward()
            optimizer.step()
            optimizer.zero_grad()
        models.append(model)
    for ours, theirs in zip(models[1].parameters(), models[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
