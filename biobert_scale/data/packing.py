"""Packing: which two stretches of text make an NSP sample.

Devlin et al. 2019, appendix A.1: sentences of a document are packed up to the target length (10% of the time
a shorter one, drawn uniformly) and cut at random into A and B; half the time B is text of another document
instead, and the sentences that A did not use are given back.

Two things differ from the original code. Nothing is truncated away: packing stops before the target is
exceeded, so that every token of every document is in a sample. And lengths do not reveal the label: a B from
another document is made of whole sentences by the same rule as the B that it replaces, and does not begin
with a title either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.config import DataConfig
from biobert_scale.data.addresses import StoreTables, int64_at, store_tables, view
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE
from biobert_scale.data.pairs import MAX_CORPUS_TOKENS, MAX_SAMPLE_TOKENS, Pair, pack_row
from biobert_scale.data.philox import PURPOSE_PAIRS, draw_below, philox
from biobert_scale.data.segments import TRIES, PackingRules, WantedLength, other_segment, piece_tokens
from biobert_scale.tokens.shards import TokenStore

_PROBABILITY_SCALE = 1 << 32


@njit(nogil=True)
def _split_long(lengths: np.ndarray, start: int, max_piece: int, pieces: np.ndarray) -> int:
    """One document's sentences, those above `max_piece` tokens in pieces; returns how many there are."""
    filled = 0
    for length in lengths:
        rest: Any = np.int64(length)
        while rest > 0:
            pieces[filled] = piece_tokens(rest, start, max_piece)
            rest -= pieces[filled]
            start += pieces[filled]
            filled += 1
    return filled


@njit(nogil=True)
def _fill_target(pieces: np.ndarray, first: int, target: int, max_tokens: int) -> tuple[int, int]:
    """The end of the pieces that a pair is made of, and their tokens: as many as `target` has room for."""
    end, total = first, 0
    # Two at least where there are two: a lone one cannot be followed by its own next.
    while end < len(pieces) and (
        total + pieces[end] <= target or (end - first < 2 and total + pieces[end] <= max_tokens)
    ):
        total += pieces[end]
        end += 1
    return end, total


@njit(nogil=True)
def _pack_document(
    store: StoreTables,
    rules: PackingRules,
    document: int,
    start: int,
    pieces: np.ndarray,
    rows: np.ndarray,
) -> int:
    """Pack one document into `rows`; returns how many were filled.

    Args:
        document: its number in the store.
        start: address of its first token.
        pieces: (pieces,) int64 tokens of its sentences, long ones divided.
    """
    max_tokens, first, last, filled = rules.max_tokens, 0, len(pieces), 0
    while first < last:
        counter = filled * (1 + TRIES)
        block = philox(rules.seed, counter, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS)
        is_short = block[0] < rules.short_threshold
        target = 2 + draw_below(max_tokens - 1, block[1]) if is_short else max_tokens
        end, total = _fill_target(pieces, first, target, max_tokens)
        room, is_full = max(target, total), end < last
        if last - end == 1 and end - first > 2:
            # A last sentence left alone could only get a random next one, and would tip the balance of the
            # two kinds.
            end -= 1
            total -= pieces[end]
            is_full = False
        count = end - first
        threshold = rules.random_thresholds[last - first - 1 if count == 2 and last - first <= 3 else 0]
        is_random = count == 1 or block[2] < threshold
        # Nor is just the last sentence given back; it does not make a true B alone either, or a short B
        # would be a true one.
        choices = count - 2 if end == last and count > 2 else max(count - 1, 1)
        a_end = first + 1 + draw_below(choices, block[3])
        a_length = pieces[first:a_end].sum()
        b_start, b_length, used = start + a_length, total - a_length, total
        if is_random:
            replaced = b_length if count > 1 else min(a_length, max_tokens - a_length)
            wanted = WantedLength(replaced, replaced, max_tokens - a_length)
            if is_full and room > a_length:  # B would have had as many sentences as fit
                wanted = WantedLength(replaced, room - a_length, room - a_length)
            b_start, b_length = other_segment(store, rules, document, counter + 1, wanted)
            end, used = a_end, a_length
        pair = Pair(start, a_length, b_start, b_length, is_random, is_short)  # type: ignore[arg-type]
        pack_row(rows, filled, pair)
        filled += 1
        first = end
        start += used
    return filled


@njit(nogil=True)
def _pack_shard(store: StoreTables, rules: PackingRules, shard: int, rows: np.ndarray) -> int:
    """Pack all documents of a shard into `rows`, (at least samples, 2) uint64; returns how many were
    filled."""
    held, first = store.shards[shard], store.shards[shard].document_start
    count = store.shards[shard + 1].document_start - first
    sentences = view(held.sentence_offsets, count + 1, np.int32)
    tokens = view(held.token_offsets, count + 1, np.int32)
    lengths = view(held.sentence_lengths, int64_at(sentences, count), np.uint32)
    shortest_piece = rules.max_piece - rules.max_piece // 2
    pieces = np.empty(len(lengths) + int64_at(tokens, count) // shortest_piece + 1, np.int64)
    filled = 0
    for local in range(count):
        start = held.token_start + int64_at(tokens, local)
        own = lengths[sentences[local] : sentences[local + 1]]
        split = pieces[: _split_long(own, start, rules.max_piece, pieces)]
        filled += _pack_document(store, rules, first + local, start, split, rows[filled:])
    return filled


class PairBuilder:
    """Packs the shards of a store, one at a time and in any order; a shard's pairs depend on nothing but the
    store and the seed."""

    def __init__(self, store: TokenStore, config: DataConfig, *, seed: int) -> None:
        assert (
            store.documents >= 2
            and store.tokens <= MAX_CORPUS_TOKENS
            and config.max_seq_length <= MAX_SAMPLE_TOKENS
        )
        self.store = store
        max_tokens = config.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE
        shares = _random_shares(config.random_next_probability)
        self.rules = PackingRules(
            max_tokens=max_tokens,
            max_piece=max_tokens // 2,
            short_threshold=round(config.short_sequence_probability * _PROBABILITY_SCALE),
            random_thresholds=tuple(round(share * _PROBABILITY_SCALE) for share in shares),
            seed=seed,
        )
        self.tables = store_tables(store)

    def pack(self, shard: int) -> np.ndarray:
        """(samples, 2) uint64 rows of the index: the samples that begin in this shard's documents, in their
        order."""
        held = self.store.shards[shard]
        most = len(held.sentence_lengths) + len(held.tokens) // (self.rules.max_tokens // 4) + 1
        rows = np.empty((most, 2), np.uint64)
        return rows[: _pack_shard(self.tables, self.rules, shard, rows)]


def _random_shares(wanted: float) -> tuple[float, float, float]:
    """How often B is random where there is a choice, such that `wanted` comes out over all samples.

    A lone last sentence always gets a random B. Of two last sentences, the first one's random B makes the
    second one lone: two random samples against a true one, so it is chosen less often. Where three are left
    of which two fit, the true pair leaves a lone one anyway.
    """
    return wanted, wanted / (2 - wanted), max(0.0, 2 - 1 / wanted) if wanted else 0.0
