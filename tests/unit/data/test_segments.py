from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from biobert_scale.data.addresses import store_tables
from biobert_scale.data.segments import TRIES, PackingRules, WantedLength, other_segment, piece_tokens
from tests.factories import token_store

RULES = PackingRules(max_tokens=100, max_piece=50, short_threshold=0, random_thresholds=(0, 0, 0), seed=1)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(WantedLength(enough=1, nearest=30, most=30), 30, id="as many as fit, exactly"),
        pytest.param(WantedLength(enough=1, nearest=39, most=39), 30, id="as many as fit"),
        pytest.param(WantedLength(enough=1, nearest=34, most=100), 30, id="nearest is below"),
        pytest.param(WantedLength(enough=1, nearest=36, most=100), 40, id="nearest is above"),
        pytest.param(WantedLength(enough=1, nearest=36, most=39), 30, id="nearest is too much"),
        pytest.param(WantedLength(enough=1, nearest=7, most=7), 7, id="the first sentence is cut"),
        pytest.param(WantedLength(enough=1, nearest=7, most=100), 10, id="the first sentence is whole"),
        pytest.param(WantedLength(enough=1, nearest=5000, most=5000), None, id="the document ends"),
    ],
)
def test_a_segment_is_as_long_as_wanted(wanted: WantedLength, expected: int | None) -> None:
    """Sentences of ten tokens; document 1 is the only other one."""
    store = token_store([[10] * 9, [10] * 300])
    tables = store_tables(store)
    for counter in range(0, 40 * (1 + TRIES), 1 + TRIES):
        start, length = other_segment(tables, RULES, 0, counter, wanted)
        assert start % 10 == 0 and 100 <= start < 90 + 3000, "a title, or the document itself"
        left = 90 + 3000 - start
        assert length == (left if expected is None or left < expected else expected)


def test_a_document_with_text_enough_is_preferred() -> None:
    """Three short documents for each long one: after four tries hardly a short one is left."""
    store = token_store([[5, 5]] * 75 + [[5] * 400] * 25)
    tables = store_tables(store)
    wanted = WantedLength(enough=60, nearest=60, most=60)
    lengths = [other_segment(tables, RULES, 0, 5 * counter, wanted)[1] for counter in range(400)]
    assert 0.6 < sum(length == 60 for length in lengths) / 400 < 0.76, "1 - 0.75 ** 4 = 0.68"


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 2000), st.integers(0, 2**40), st.integers(1, 200))
def test_pieces_are_all_of_a_sentence(tokens: int, address: int, max_piece: int) -> None:
    rest = tokens
    while rest:
        piece = piece_tokens(rest, address, max_piece)
        assert 0 < piece <= max_piece and (piece == rest or piece > max_piece // 2)
        rest -= piece
        address += piece
