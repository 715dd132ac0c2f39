from __future__ import annotations

import pytest

from biobert_scale.config import ScheduleConfig
from biobert_scale.errors import UserError


def test_a_warm_up_ends_before_the_run() -> None:
    with pytest.raises(UserError, match="warmup_steps 10 is not below total_steps 10"):
        ScheduleConfig(warmup_steps=10, total_steps=10)
    ScheduleConfig(warmup_steps=9, total_steps=10)
