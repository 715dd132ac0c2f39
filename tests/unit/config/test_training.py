from __future__ import annotations

import pytest

from biobert_scale.config import TrainingConfig, gradient_accumulation_steps
from biobert_scale.errors import UserError


def test_a_batch_that_does_not_divide_names_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match="252 or 258"):
        gradient_accumulation_steps(TrainingConfig(global_batch_size=256, micro_batch_size=2), 3)
