from __future__ import annotations

import pytest

from biobert_scale.config import (
    EngineConfig,
    GuardsConfig,
    ScheduleConfig,
    TrainingConfig,
    gradient_accumulation_steps,
)
from biobert_scale.errors import UserError


def test_a_batch_that_does_not_divide_names_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match="252 or 258"):
        gradient_accumulation_steps(TrainingConfig(global_batch_size=256, micro_batch_size=2), 3)


def test_a_batch_of_no_whole_micro_batches_is_refused_where_it_is_made() -> None:
    with pytest.raises(UserError, match="use 254 or 256") as refused:
        TrainingConfig(global_batch_size=255, micro_batch_size=2)
    assert refused.value.where == "training.global_batch_size"


def test_a_stall_is_reported_before_the_ranks_give_up() -> None:
    with pytest.raises(UserError, match="communication_timeout_seconds 60") as refused:
        TrainingConfig(
            guards=GuardsConfig(stall_seconds=60.0), engine=EngineConfig(communication_timeout_seconds=60)
        )
    assert refused.value.where == "training.guards.stall_seconds"


def test_an_encoder_that_would_never_move_is_refused() -> None:
    schedule = ScheduleConfig(warmup_steps=1, total_steps=10)
    with pytest.raises(UserError, match="is not below") as refused:
        TrainingConfig(schedule=schedule, frozen_encoder_steps=10)
    assert refused.value.where == "training.frozen_encoder_steps"
