from __future__ import annotations

import pytest

from biobert_scale.config import ScheduleConfig
from biobert_scale.training.schedule import learning_rate


def test_the_schedule_is_the_recipe_s() -> None:
    schedule = ScheduleConfig(warmup_steps=10_000, total_steps=150_000)
    rate = [
        learning_rate(step, peak=5e-5, schedule=schedule)
        for step in (0, 4_999, 9_999, 10_000, 80_000, 149_999, 150_000)
    ]
    assert rate == pytest.approx([5e-9, 2.5e-5, 5e-5, 5e-5, 2.5e-5, 5e-5 / 140_000, 0.0])
