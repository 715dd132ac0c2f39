from __future__ import annotations

import numpy as np
import pytest

from biobert_scale.tune.made_up import made_up_steps


@pytest.mark.parametrize("lengths", ["full", "abstracts"])
def test_made_up_steps_are_like_real_ones(lengths: str) -> None:
    steps = made_up_steps(
        20,
        sequences=32,
        micro_batch_size=8,
        max_seq_length=512,
        mlm_probability=0.15,
        vocabulary_size=1000,
        lengths=lengths,
    )
    sizes = np.concatenate([np.diff(batch.cu_seqlens) for step in steps for batch in step.micro_batches])
    assert len(sizes) == 20 * 32 and sizes.max() <= 512
    assert sizes.mean() == 512 if lengths == "full" else 270 < sizes.mean() < 310
    for step in steps:
        assert len(step.micro_batches) == 4 and step.global_tokens == sum(
            len(batch.input_ids) for batch in step.micro_batches
        )
        assert 0.14 < step.global_predictions / step.global_tokens < 0.16
        for batch in step.micro_batches:
            assert np.array_equal(batch.input_ids[batch.mlm_positions], batch.mlm_labels) and len(
                np.unique(batch.mlm_positions)
            ) == len(batch.mlm_positions)
            assert np.array_equal(batch.position_ids[batch.cu_seqlens[:-1]], np.zeros(8))
