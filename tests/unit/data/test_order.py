from __future__ import annotations

import hashlib

import numpy as np
import pytest

from biobert_scale.data.order import permute, samples_at
from biobert_scale.data.philox import philox


def test_philox_gives_the_published_vectors() -> None:
    """Known-answer vectors of Philox4x32-10 from the Random123 distribution (Salmon et al. 2011)."""
    vectors = [
        ((0, 0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**64 - 1, *(2**32 - 1,) * 4), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x299F31D0A4093822, 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    for (key, *counters), expected in vectors:
        block = philox(np.uint64(key), *(np.int64(counter) for counter in counters))  # type: ignore[arg-type]
        assert " ".join(f"{word:08x}" for word in block) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 4096, 4097])
def test_an_epoch_is_a_permutation(size: int) -> None:
    first = permute(np.arange(size), size=size, seed=5, epoch=0)
    assert sorted(first) == list(range(size))
    if size > 100:
        assert not np.array_equal(first, permute(np.arange(size), size=size, seed=5, epoch=1))
        assert not np.array_equal(first, permute(np.arange(size), size=size, seed=6, epoch=0))


SIZE = 100_000


@pytest.fixture(scope="module")
def epochs() -> list[np.ndarray]:
    return [permute(np.arange(SIZE), size=SIZE, seed=11, epoch=epoch) for epoch in range(4)]


def test_samples_come_from_everywhere_at_every_time(epochs: list[np.ndarray]) -> None:
    """Chi squared over 20 x 20 cells of (when, which): mean 361, sd 26.9 for a random permutation; five sd
    allowed."""
    for order in epochs:
        cells = np.bincount(np.arange(SIZE) * 20 // SIZE * 20 + order * 20 // SIZE, minlength=400)
        statistic = ((cells - SIZE / 400) ** 2 / (SIZE / 400)).sum()
        assert abs(statistic - 361) < 5 * 26.9


def test_neighbours_in_the_corpus_are_no_neighbours_in_time(epochs: list[np.ndarray]) -> None:
    """Of two consecutive samples the distance is below 1% of the corpus about 2% of the time: sd 44 of
    1,990."""
    for order in epochs:
        for step in (1, 2, 256):
            close = (np.abs(order[step:] - order[:-step]) < SIZE // 100).sum()
            assert abs(close - 1990) < 5 * 44.2
        assert abs((np.diff(order) > 0).mean() - 0.5) < 5 * np.sqrt(1 / 12 / SIZE)


def test_epochs_know_nothing_of_each_other(epochs: list[np.ndarray]) -> None:
    """Positions at which two epochs agree are Poisson of mean 1, and ranks do not correlate."""
    agreements = [int((first == second).sum()) for k, first in enumerate(epochs) for second in epochs[:k]]
    assert sum(agreements) < 6 + 5 * np.sqrt(6)
    for k, first in enumerate(epochs):
        for second in epochs[:k]:
            assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(SIZE)


def test_low_bits_are_as_random_as_high_ones(epochs: list[np.ndarray]) -> None:
    for order in epochs:
        for bit in range(10):
            ones = order >> bit & 1
            changes = (ones[1:] != ones[:-1]).mean()
            assert abs(changes - 0.5) < 5 * 0.5 / np.sqrt(SIZE), bit


def test_a_step_of_a_huge_epoch_is_drawn_alone() -> None:
    size = 150_000_000
    whole = [samples_at(100_000 * 256 + first, 64, size=size, seed=1)[1] for first in range(0, 256, 64)]
    _, step = samples_at(100_000 * 256, 256, size=size, seed=1)
    assert (
        np.array_equal(np.concatenate(whole), step) and len(set(step.tolist())) == 256 and step.max() < size
    )


def test_epochs_follow_each_other_without_a_gap() -> None:
    epochs, _indices = samples_at(95, 10, size=100, seed=1)
    assert epochs.tolist() == [0] * 5 + [1] * 5
    whole = [samples_at(start, 7, size=100, seed=1) for start in range(0, 700, 7)]
    seen = list(
        zip(
            np.concatenate([e for e, _ in whole]).tolist(),
            np.concatenate([i for _, i in whole]).tolist(),
            strict=True,
        )
    )
    assert len(set(seen)) == 700 and set(seen) == {
        (epoch, index) for epoch in range(7) for index in range(100)
    }


def test_the_order_is_pinned() -> None:
    """A changed hash is another order: runs could not be resumed with it. Made at commit e5b75fd."""
    state = hashlib.sha256()
    for size in (1, 2, 5, 1000, 4097, 150_000_000):
        for seed, first in ((1, 0), (2**40 + 17, 3 * size - 1)):
            for part in samples_at(first, 64, size=size, seed=seed):
                state.update(part.tobytes())
    assert state.hexdigest()[:16] == "c0abd58a982eb30c"
