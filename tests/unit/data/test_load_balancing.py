from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.data.load_balancing import balance_by_length


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 6), st.integers(0, 100))
def test_every_sample_is_in_one_micro_batch(world_size: int, micro_steps: int, size: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 512, world_size * micro_steps * size)
    balanced = balance_by_length(lengths, micro_batch_size=size, world_size=world_size)
    assert balanced.shape == (micro_steps, world_size, size) and sorted(balanced.ravel().tolist()) == list(
        range(len(lengths))
    )
    loads = lengths[balanced].sum(-1)
    assert np.ptp(loads) <= 512


def test_ranks_carry_nearly_equal_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    """16 ranks x 8 micro-steps x 2 sequences as long as abstracts are: mean about 250 tokens, some at the
    limit of 512."""
    generator = np.random.default_rng(0)
    figures = []
    for _ in range(200):
        lengths = np.minimum(generator.lognormal(5.4, 0.55, 256), 512).astype(np.int64)
        rows = []
        for balanced in (
            balance_by_length(lengths, micro_batch_size=2, world_size=16),
            np.arange(256).reshape(8, 16, 2),
        ):
            loads = lengths[balanced].sum(-1)  # (micro-steps, ranks)
            rows.append(
                [
                    (loads.max(1) / loads.mean(1)).max(),
                    loads.sum(0).max() / loads.sum(0).mean(),
                    loads.max(1).sum() / loads.mean(1).sum(),
                ]
            )
        figures.append(rows)
    (micro_step, rank, step), random = np.mean(figures, 0)
    with capsys.disabled():
        print(
            f"\nmaximum over mean, by length / at random: micro-step {micro_step:.3f} / {random[0]:.3f}, rank"
            f" {rank:.3f} / {random[1]:.3f}, step {step:.3f} / {random[2]:.3f}"
        )
    assert micro_step < 1.05 and rank < 1.01 and step < 1.025
    assert random[0] > 1.4


def test_the_assignment_is_pinned() -> None:
    """A changed hash is another share for each rank. Made at commit e5b75fd."""
    state = hashlib.sha256()
    for micro_steps, world_size, size in ((1, 1, 1), (3, 2, 4), (8, 16, 2), (1, 4, 64)):
        lengths = 5 + 7919 * np.arange(micro_steps * world_size * size) ** 2 % 508
        state.update(balance_by_length(lengths, micro_batch_size=size, world_size=world_size).tobytes())
    assert state.hexdigest()[:16] == "5e8a2c34163ae6da"
