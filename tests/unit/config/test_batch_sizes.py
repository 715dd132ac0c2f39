from __future__ import annotations

import itertools
from typing import Any

import pytest

from biobert_scale.config import BatchSizes, Config, gradient_accumulation_steps
from biobert_scale.errors import UserError
from biobert_scale.recipes import structure_config


def config(start: int, steps: int, *, full: int = 64, micro: int = 2, total: int = 1000) -> Config:
    training: dict[str, Any] = {
        "global_batch_size": full,
        "micro_batch_size": micro,
        "batch_warmup_start": start,
        "batch_warmup_steps": steps,
        "schedule": {"warmup_steps": 0, "total_steps": total},
    }
    settings = {"name": "a", "data": {"max_seq_length": 128}, "training": training}
    return structure_config(settings, where="a test")


def test_without_a_warm_up_every_step_is_the_whole_batch() -> None:
    sizes = BatchSizes.of(config(0, 0))
    assert sizes == BatchSizes.constant(global_batch_size=64, max_seq_length=128)
    for step in (0, 1, 7, 10**9):
        assert sizes.samples_before(step) == 64 * step and sizes.tokens_before(step) == 64 * 128 * step
        assert sizes.step_at(64 * step) == sizes.step_at(64 * step + 63) == step


@pytest.mark.parametrize(
    ("start", "steps"), [(16, 9), (16, 3), (8, 100), (2, 31), (2, 7), (2, 1), (32, 1), (32, 999)]
)
def test_the_batch_grows_in_multiples_of_the_first_and_every_sum_agrees(start: int, steps: int) -> None:
    """Against the definition: step by step, each a line from the first step's batch to the whole one."""
    sizes, consumed, tokens, seen = BatchSizes.of(config(start, steps)), 0, 0, []
    levels = 64 // start
    for step in range(steps + 5):
        size = start * (1 + step * (levels - 1) // steps) if step < steps else 64
        assert sizes.samples_before(step) == consumed and sizes.tokens_before(step) == tokens
        for place in (consumed, consumed + size - 1):
            assert sizes.at(place).global_batch_size == size and sizes.step_at(place) == step
        consumed, tokens = consumed + size, tokens + 128 * size
        seen.append(size)
    assert seen[0] == start and seen[steps] == 64 and (steps == 1 or seen[steps - 1] < 64)
    assert all(size % start == 0 for size in seen)
    assert all(first <= second for first, second in itertools.pairwise(seen))


def test_from_any_place_the_next_step_is_the_next_one() -> None:
    """A run that was continued with another batch is between two steps of its recipe."""
    sizes = BatchSizes.of(config(8, 50))
    for place in range(8):
        steps = []
        while len(steps) < 80:
            steps.append(sizes.step_at(place))
            place += sizes.at(place).global_batch_size
        assert steps == list(range(80))


@pytest.mark.parametrize(
    ("start", "steps", "message"),
    [
        (16, 0, "set both"),
        (0, 10, "set both"),
        (64, 10, "no larger multiple"),
        (24, 10, "no larger multiple"),
        (1, 10, "not a multiple of micro_batch_size 2: use 2"),
        (16, 1000, "not below training.schedule.total_steps 1000"),
    ],
)
def test_an_impossible_warm_up_is_refused(start: int, steps: int, message: str) -> None:
    with pytest.raises(UserError) as refused:
        config(start, steps)
    assert message.partition(":")[0] in refused.value.what + refused.value.remedy
    assert "training.batch_warmup" in refused.value.where


def test_ranks_that_do_not_divide_the_first_batch_are_refused() -> None:
    assert gradient_accumulation_steps(config(16, 10).training, 8) == 4
    with pytest.raises(UserError, match="batch_warmup_start 16 does not divide into 16 ranks"):
        gradient_accumulation_steps(config(16, 10).training, 16)
