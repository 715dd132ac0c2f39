"""Layers laid out for computing alone give what the trained ones give."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BertConfig

from biobert_scale.modeling.inference import FrozenEncoder, Precision, quantised
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.modeling.model import Encoder
from tests.factories import packed_batch

LARGEST: dict[Precision, float] = {"fp32": 1e-5, "bf16": 0.05, "int8": 0.05}
"""Difference of a last hidden state, whose deviation is 1."""


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("precision", LARGEST)
def test_states_are_those_of_the_plain_encoder(precision: Precision, activation: str) -> None:
    if precision == "bf16" and not multiplies_natively(torch.empty(0, dtype=torch.bfloat16)):
        pytest.skip("this CPU has no bf16")
    batch = packed_batch(5, 5, 12, 1)
    config = BertConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        hidden_act=activation,
    )
    plain = Encoder(config, pooler=False).eval()
    frozen = FrozenEncoder(copy.deepcopy(plain), precision)
    chosen = torch.tensor([0, 7, 22])
    with torch.inference_mode():
        expected = plain(batch)
    given, some = frozen(batch, torch.arange(23)), frozen(batch, chosen)
    difference = (given - expected).abs()
    assert difference.max() < 4 * LARGEST[precision] and difference.mean() < LARGEST[precision]
    assert torch.allclose(some, given[chosen], atol=LARGEST[precision])


@pytest.mark.parametrize("states", [[0.0], [3.0, 1.0], [-1.0, -2.5], [-0.1, 0.0, 7.3], [-128.0, 127.0]])
def test_states_are_quantised_to_the_nearest_step_and_zero_is_itself(states: list[float]) -> None:
    given = torch.tensor(states)
    numbers, scale, zero = quantised(given)
    back = (numbers.float() - zero) * scale
    assert (back - given).abs().max() <= scale / 2 * (1 + 1e-5)
    assert 0 <= zero <= 255 and numbers.dtype == torch.uint8
