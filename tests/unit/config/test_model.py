from __future__ import annotations

import pytest

from biobert_scale.config import ModelConfig
from biobert_scale.errors import UserError


def test_heads_share_the_hidden_size_evenly() -> None:
    with pytest.raises(UserError, match="hidden_size 100 is not a multiple of num_attention_heads 16"):
        ModelConfig(hidden_size=100)
