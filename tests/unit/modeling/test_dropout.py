"""Dropout's masks on a CPU, and attention with them, against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biobert_scale.modeling import cpu_attention, dropout
from biobert_scale.modeling.cpu_attention import attention_with_dropout
from biobert_scale.modeling.dropout import QuickDropout, drawn_ahead, keep_mask


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (
            1234567,
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423,
                4593380528125082431,
                16408922859458223821,
            ],
        ),
    ],
)
def test_the_generator_gives_the_published_numbers(seed: int, expected: list[int]) -> None:
    numbers = np.empty(len(expected), np.uint64)
    dropout._fill(np.uint64(seed), numbers)
    assert numbers.tolist() == expected


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.003])
def test_as_many_are_dropped_as_asked_everywhere_alike(probability: float) -> None:
    torch.manual_seed(0)
    masks = torch.stack([keep_mask(torch.Size([50, 1001]), probability)[0] for _ in range(40)]).double()
    scale = keep_mask(torch.Size([2]), probability)[1]
    assert scale == pytest.approx(1 / (1 - probability), rel=1e-4)
    cells, sd = 50 * 1001 * 40, (probability * (1 - probability)) ** 0.5
    assert abs(float(masks.mean()) - (1 - probability)) < 5 * sd / cells**0.5 + 2**-17
    for kept, of in (
        (masks.mean((0, 1)), 40 * 50),
        (masks.mean((0, 2)), 40 * 1001),
        (masks.mean((1, 2)), 50 * 1001),
    ):
        assert float((kept - (1 - probability)).abs().max()) < 5.5 * sd / of**0.5, (
            "a column, a row or a call differs from the others"
        )
    for lag in (1, 2, 3, 4, 8):  # 4 masks come from one 64-bit number
        flat = masks.flatten() - (1 - probability)
        assert abs(float((flat[lag:] * flat[:-lag]).mean())) < 5 * sd**2 / cells**0.5, (
            f"neighbours at {lag} go together"
        )


def test_the_library_s_generator_decides_every_mask() -> None:
    torch.manual_seed(5)
    first = keep_mask(torch.Size([1000]), 0.5)[0]
    state = torch.get_rng_state()
    second = keep_mask(torch.Size([1000]), 0.5)[0]
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(keep_mask(torch.Size([1000]), 0.5)[0], second)


def test_a_layer_drops_scales_and_lets_the_gradient_through_what_stays() -> None:
    layer = QuickDropout(0.25)
    states = torch.randn(30, 40, dtype=torch.double, requires_grad=True)
    torch.manual_seed(1)
    mask, scale = keep_mask(states.shape, 0.25)
    torch.manual_seed(1)
    dropped = layer(states)
    assert torch.equal(dropped, states * mask * scale)
    assert torch.equal(torch.autograd.grad(dropped.sum(), states)[0], mask * torch.full_like(states, scale))
    torch.manual_seed(1)
    ahead = drawn_ahead(layer, states)
    assert ahead is not None and torch.equal(ahead[0], mask) and ahead[1] == scale
    layer.eval()
    assert layer(states) is states and drawn_ahead(layer, states) is None
    assert drawn_ahead(nn.Dropout(0.5), states) is None


def rows() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    query, key, value = (torch.randn(2, 9, 4, dtype=torch.double, requires_grad=True) for _ in range(3))
    return query, key, value


def test_attention_s_gradients_are_its_own() -> None:
    def attend(*states: Tensor) -> Tensor:
        torch.manual_seed(3)  # one mask for every evaluation
        return attention_with_dropout(*states, [5, 1, 3], dropout=0.3, scaling=0.5)  # type: ignore[misc,arg-type]

    assert torch.autograd.gradcheck(attend, rows())


def test_attention_is_softmax_masked_scaled_and_never_across_sequences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[Tensor, float]] = []

    def remembered(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
        drawn.append(keep_mask(shape, probability))
        return drawn[-1]

    monkeypatch.setattr(cpu_attention, "keep_mask", remembered)
    query, key, value = rows()
    output = attention_with_dropout(query, key, value, [5, 4], dropout=0.4, scaling=0.7)
    parts = []
    for (mask, scale), place in zip(drawn, (slice(0, 5), slice(5, 9)), strict=True):
        weights = torch.softmax(0.7 * query[:, place] @ key[:, place].transpose(1, 2), -1) * mask * scale
        parts.append(weights @ value[:, place])
    torch.testing.assert_close(output, torch.cat(parts, 1))
    assert 0 < float(drawn[0][0].float().mean()) < 1
