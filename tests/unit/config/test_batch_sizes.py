from __future__ import annotations

import itertools
from typing import Any

import pytest

from biobert_scale.config import BatchSizes, Config, gradient_accumulation_steps, phases_of
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
        steps: list[int] = []
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


def phased(*phases: dict[str, int], **training: Any) -> Config:
    schedule = {"warmup_steps": 0, "total_steps": 100}
    settings = {"global_batch_size": 64, "micro_batch_size": 2, "schedule": schedule, **training}
    raw = {"name": "a", "data": {"max_seq_length": 128}, "training": {**settings, "phases": phases}}
    return structure_config(raw, where="a test")


def test_phases_follow_each_other_and_have_their_own_batches() -> None:
    first = {"steps": 60, "max_seq_length": 32, "global_batch_size": 96, "micro_batch_size": 16}
    config = phased(first, {}, batch_warmup_start=32, batch_warmup_steps=60)
    sizes = BatchSizes.of(config)
    consumed = tokens = 0
    for step in range(110):
        size, length = (32 * (1 + step * 2 // 60), 32) if step < 60 else (64, 128)
        assert sizes.samples_before(step) == consumed and sizes.tokens_before(step) == tokens
        for place in (consumed, consumed + size - 1):
            found = sizes.at(place)
            assert (found.global_batch_size, found.max_seq_length) == (size, length)
            assert found.phase == (step >= 60) and sizes.step_at(place) == step
        consumed, tokens = consumed + size, tokens + size * length
    assert sizes.first_sample(0) == 0 and sizes.first_sample(1) == sizes.samples_before(60)
    short, rest = phases_of(config)
    assert (short.first_step, short.steps, rest.first_step, rest.steps) == (0, 60, 60, 40)
    assert short.config.data.max_seq_length == 32 and rest.config.data.max_seq_length == 128
    assert (short.config.training.micro_batch_size, rest.config.training.micro_batch_size) == (16, 2)
    assert not rest.config.training.batch_warmup_steps and not rest.config.training.phases


@pytest.mark.parametrize(
    ("phases", "training", "message"),
    [
        ([{"steps": 60}, {"steps": 30}], {}, "or give it 40"),
        ([{"steps": 100}, {}], {}, "shorten the phases"),
        ([{}, {"steps": 10}], {}, "no steps"),
        ([{"steps": 10, "max_seq_length": 256}, {}], {}, "exceeds data.max_seq_length 128"),
        ([{"steps": 10, "global_batch_size": 63}, {}], {}, "not a multiple of micro_batch_size"),
        ([{"steps": 10}, {}], {"batch_warmup_start": 2, "batch_warmup_steps": 11}, "the first phase's 10"),
    ],
)
def test_impossible_phases_are_refused(
    phases: list[dict[str, int]], training: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        phased(*phases, **training)
    assert message in refused.value.what + refused.value.remedy


def test_ranks_must_divide_every_phase_s_batch() -> None:
    config = phased({"steps": 10, "micro_batch_size": 16}, {})
    assert gradient_accumulation_steps(config.training, 4) == 8
    with pytest.raises(UserError, match="8 ranks x micro_batch_size 16"):
        gradient_accumulation_steps(config.training, 8)
