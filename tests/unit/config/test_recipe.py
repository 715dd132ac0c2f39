from __future__ import annotations

import pytest

from biobert_scale.config import Config, DataConfig
from biobert_scale.errors import UserError


def test_samples_are_not_longer_than_the_model_has_positions() -> None:
    with pytest.raises(UserError, match="max_seq_length 513 exceeds") as refused:
        Config(name="long", data=DataConfig(max_seq_length=513))
    assert refused.value.where == "data.max_seq_length"
