from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.data.masking import SampleKey, mask, number_of_predictions
from biobert_scale.data.vocabulary import VocabularyTables

CLS, SEP, MASK, UNKNOWN = 2, 3, 4, 1
TOKENS = np.zeros(300, np.bool_)
CONTINUES = np.arange(300) >= 200  # entries from 200 on continue a word


def masked(
    sample: np.ndarray,
    second: int,
    count: int,
    *,
    continues: np.ndarray = TOKENS,
    index: int = 0,
    epoch: int = 0,
    seed: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    changed, positions, labels = sample.copy(), np.full(count, -1), np.full(count, -1)
    vocabulary = VocabularyTables(CLS, SEP, MASK, UNKNOWN, np.arange(5, 300), continues)
    mask(changed, second, vocabulary, SampleKey(seed, 2, epoch, index), positions, labels)
    return changed, positions, labels


def check(
    sample: np.ndarray, second: int, changed: np.ndarray, positions: np.ndarray, labels: np.ndarray
) -> None:
    assert (np.diff(positions) > 0).all() and positions[0] > 0
    assert np.array_equal(labels, sample[positions])
    assert not {0, second - 1, len(sample) - 1} & set(positions.tolist())
    untouched = np.setdiff1d(np.arange(len(sample)), positions)
    assert np.array_equal(changed[untouched], sample[untouched])


samples = st.tuples(
    st.lists(st.integers(5, 299), min_size=1, max_size=60),
    st.lists(st.integers(5, 299), min_size=1, max_size=60),
)


@settings(max_examples=150, deadline=None)
@given(samples, st.booleans(), st.integers(0, 10**12), st.integers(0, 9))
def test_masking_touches_only_what_it_says(
    segments: tuple[list[int], list[int]], whole_words: bool, index: int, epoch: int
) -> None:
    first, then = segments
    sample, second = np.array([CLS, *first, SEP, *then, SEP]), len(first) + 2
    count = int(number_of_predictions(np.array(len(sample)), 0.15))
    result = masked(
        sample, second, count, continues=CONTINUES if whole_words else TOKENS, index=index, epoch=epoch
    )
    check(sample, second, *result)


def words_of(sample: np.ndarray, second: int) -> list[list[int]]:
    """Positions by word; a segment's first token begins a word whatever it is."""
    found: list[list[int]] = []
    for position in range(1, len(sample) - 1):
        if position == second - 1:
            continue
        if CONTINUES[sample[position]] and position not in (1, second):
            found[-1].append(position)
        else:
            found.append([position])
    return found


@settings(max_examples=150, deadline=None)
@given(samples, st.integers(0, 10**6))
def test_whole_words_are_predicted_as_wholes_but_for_one(
    segments: tuple[list[int], list[int]], index: int
) -> None:
    first, then = segments
    sample, second = np.array([CLS, *first, SEP, *then, SEP]), len(first) + 2
    count = int(number_of_predictions(np.array(len(sample)), 0.15))
    _, positions, _ = masked(sample, second, count, continues=CONTINUES, index=index)
    chosen = set(positions.tolist())
    partial = [word for word in words_of(sample, second) if chosen & set(word) and not set(word) <= chosen]
    assert len(partial) <= 1


def test_a_word_is_cut_only_where_no_whole_one_is_left() -> None:
    sample = np.array([CLS, *range(5, 45), SEP, *[50, 250, 251, 252] * 10, SEP])
    for index in range(300):
        _, positions, _ = masked(sample, 42, 12, continues=CONTINUES, index=index)
        chosen = set(positions.tolist())
        assert not [
            word for word in words_of(sample, 42) if chosen & set(word) and not set(word) <= chosen
        ], "single-piece words were left"


def test_every_word_is_predicted_equally_often() -> None:
    """Words are drawn, not pieces: one of three pieces is no more likely than one of a single piece, and
    hardly less (it may not fit at the end)."""
    sample = np.array(
        [CLS, *[*range(5, 12), 50, 250, 251] * 24, SEP, *[*range(60, 67), 70, 260, 261] * 24, SEP]
    )
    counts = np.zeros(len(sample))
    for index in range(1000):
        counts[masked(sample, 242, 72, continues=CONTINUES, index=index)[1]] += 1
    words = counts[1:241].reshape(24, 10)
    assert np.array_equal(words[:, 7], words[:, 8]) and np.array_equal(words[:, 7], words[:, 9])
    assert 0.94 < words[:, 7].mean() / words[:, :7].mean() < 1.03


def test_unknown_pieces_are_predicted_only_where_nothing_else_is_left() -> None:
    sample = np.array([CLS, *[UNKNOWN, 50] * 20, SEP, *[UNKNOWN] * 10, SEP])
    for index in range(50):
        changed, positions, labels = masked(sample, 42, 8, index=index)
        check(sample, 42, changed, positions, labels)
        assert UNKNOWN not in labels
    _, positions, labels = masked(sample, 42, 25)
    assert len(set(positions.tolist())) == 25 and (labels == UNKNOWN).sum() == 5


def test_the_number_of_predictions_follows_from_the_length() -> None:
    lengths = np.arange(5, 513)
    counts = number_of_predictions(lengths, 0.15)
    assert (counts >= 1).all() and (np.diff(counts) >= 0).all()
    assert abs(counts.sum() / lengths.sum() - 0.15) < 0.001
    assert number_of_predictions(np.array([5]), 0.9).tolist() == [2]


@pytest.mark.parametrize("whole_words", [False, True])
def test_masking_is_80_10_10(whole_words: bool) -> None:
    kinds = np.zeros(3)
    sample = np.array([CLS, *[7] * 48, SEP, *[7] * 49, SEP])
    for index in range(4000):
        changed, positions, _ = masked(
            sample, 50, 15, continues=CONTINUES if whole_words else TOKENS, index=index
        )
        values = changed[positions]
        kinds += [(values == MASK).sum(), (values != MASK).sum() - (values == 7).sum(), (values == 7).sum()]
    kinds /= kinds.sum()  # 60,000 predictions: five standard deviations are 0.0082
    assert abs(kinds[0] - 0.8) < 0.0082
    # One replacement in 295 is the token itself.
    assert abs(kinds[1] - 0.1 * 294 / 295) < 0.0062 and abs(kinds[2] - 0.1 - 0.1 / 295) < 0.0062


def test_every_position_is_predicted_equally_often() -> None:
    counts = np.zeros(100)
    sample = np.array([CLS, *range(5, 53), SEP, *range(60, 109), SEP])
    for index in range(8000):
        counts[masked(sample, 50, 15, index=index)[1]] += 1
    inside = np.delete(counts, [0, 49, 99])
    expected = 8000 * 15 / 97
    assert ((inside - expected) ** 2 / (expected * (1 - 15 / 97))).sum() < 96 + 5 * np.sqrt(2 * 96)


def test_masks_differ_by_seed_epoch_and_sample() -> None:
    sample = np.array([CLS, *range(5, 105), SEP, *range(105, 205), SEP])
    draws = [
        masked(sample, 102, 30, **change)[1].tolist()  # type: ignore[arg-type]
        for change in ({}, {"index": 1}, {"index": 2**33}, {"epoch": 1}, {"seed": 2})
    ]  # type: ignore[arg-type]
    assert len({tuple(draw) for draw in draws}) == 5
    assert draws[0] == masked(sample, 102, 30)[1].tolist()


@pytest.mark.parametrize(
    ("whole_words", "expected"), [(False, "925dc1ab3d8e6116"), (True, "6b10bff4832106af")]
)
def test_the_masks_are_pinned(whole_words: bool, expected: str) -> None:
    """A changed hash is a changed stream: runs could not be resumed with it. Made at commit e5b75fd."""
    state = hashlib.sha256()
    for index in range(400):
        length = 2 + 37 * index % 120
        entries = 1 + (7919 * np.arange(length) * (index + 1) + 31 * np.arange(length) ** 2) % 299
        entries[(entries == CLS) | (entries == SEP) | (entries == MASK)] = UNKNOWN
        second = 3 + 11 * index % (length - 1)
        sample = np.array([CLS, *entries[: second - 2], SEP, *entries[second - 2 :], SEP])
        count = int(number_of_predictions(np.array(len(sample)), (0.02, 0.15, 0.9)[index % 3]))
        for part in masked(
            sample,
            second,
            count,
            continues=CONTINUES if whole_words else TOKENS,
            index=index * 10**7,
            epoch=index % 5,
            seed=index % 7 * 10**10,
        ):
            state.update(part.tobytes())
    assert state.hexdigest()[:16] == expected
