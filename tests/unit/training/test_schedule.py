from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import optimization

from biobert_scale.config import ScheduleConfig
from biobert_scale.errors import UserError
from biobert_scale.training.schedule import learning_rate

STEPS, WARMUP, COOLDOWN, PEAK = 1000, 100, 200, 5e-5


def test_the_schedule_is_the_recipe_s() -> None:
    schedule = ScheduleConfig(warmup_steps=10_000, total_steps=150_000)
    rate = [
        learning_rate(step, peak=5e-5, schedule=schedule)
        for step in (0, 4_999, 9_999, 10_000, 80_000, 149_999, 150_000)
    ]
    assert rate == pytest.approx([5e-9, 2.5e-5, 5e-5, 5e-5, 2.5e-5, 5e-5 / 140_000, 0.0])


def rates_of(make: Any, **settings: int) -> list[float]:
    """What a scheduler of transformers gives each step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler: LRScheduler = make(optimizer, num_warmup_steps=WARMUP, **settings)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("decay", "cooldown", "make", "settings"),
    [
        ("linear", 0, optimization.get_linear_schedule_with_warmup, {"num_training_steps": STEPS}),
        ("cosine", 0, optimization.get_cosine_schedule_with_warmup, {"num_training_steps": STEPS}),
        ("constant", 0, optimization.get_constant_schedule_with_warmup, {}),
        (
            *("constant", COOLDOWN, optimization.get_wsd_schedule),
            {"num_decay_steps": COOLDOWN, "num_training_steps": STEPS, "decay_type": "linear"},
        ),
        ("inverse_square_root", 0, optimization.get_inverse_sqrt_schedule, {}),
    ],
)
def test_a_thousand_steps_are_those_of_transformers(
    decay: Any, cooldown: int, make: Any, settings: dict[str, int]
) -> None:
    """But for the warm-up, whose first step has a rate of zero there and of one step here."""
    schedule = ScheduleConfig(decay=decay, warmup_steps=WARMUP, total_steps=STEPS, cooldown_steps=cooldown)
    ours = [learning_rate(step, peak=PEAK, schedule=schedule) for step in range(STEPS)]
    theirs = rates_of(make, **settings)
    assert ours[WARMUP:] == pytest.approx(theirs[WARMUP:], rel=1e-12, abs=1e-20)
    assert ours[: WARMUP - 1] == pytest.approx(theirs[1:WARMUP], rel=1e-12)
    assert ours[WARMUP - 1] == PEAK


def test_an_inverse_square_root_is_cooled_down_to_zero_without_a_jump() -> None:
    schedule = ScheduleConfig(
        decay="inverse_square_root", warmup_steps=WARMUP, total_steps=STEPS, cooldown_steps=COOLDOWN
    )
    rates = [learning_rate(step, peak=PEAK, schedule=schedule) for step in range(STEPS + 1)]
    assert rates[800] == pytest.approx(PEAK * math.sqrt(WARMUP / 800))
    assert rates[900] == pytest.approx(rates[800] / 2)
    assert rates[-1] == 0
    assert all(after < before for before, after in itertools.pairwise(rates[WARMUP:]))


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"cooldown_steps": 10}, "a linear decay has no cool-down"),
        ({"decay": "cosine", "cooldown_steps": 10}, "a cosine decay has no cool-down"),
        ({"decay": "constant", "cooldown_steps": 91}, "warmup_steps 10 and cooldown_steps 91 exceed"),
        ({"decay": "inverse_square_root", "warmup_steps": 0}, "needs a warm-up"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        ScheduleConfig(**{"warmup_steps": 10, "total_steps": 100} | settings)
