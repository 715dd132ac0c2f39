from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from biobert_scale.config import ScheduleConfig
from biobert_scale.errors import UserError


def test_a_warm_up_ends_before_the_run() -> None:
    with pytest.raises(UserError, match="warmup_steps 10 is not below total_steps 10"):
        ScheduleConfig(warmup_steps=10, total_steps=10)
    ScheduleConfig(warmup_steps=9, total_steps=10)


def test_every_schedule_has_words_for_people() -> None:
    decays = get_args(get_type_hints(ScheduleConfig)["decay"])
    words = {str(ScheduleConfig(decay=decay)) for decay in decays}
    assert len(words) == len(decays) > 3 and all(words)
