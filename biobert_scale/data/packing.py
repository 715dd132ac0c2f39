"""Packing: which two stretches of text make an NSP sample.

Devlin et al. 2019, appendix A.1: sentences of a document are packed up to the target length (10% of the time
a shorter one, drawn uniformly) and cut at random into A and B; half the time B is text of another document
instead, and the sentences that A did not use are given back.

Two things differ from the original code. Nothing is truncated away: packing stops before the target is
exceeded, so that every token of every document stands in a sample. And lengths tell nothing of the label: a B
from another document is made of whole sentences by the same rule as the B that it replaces, and does not
begin with a title either.
"""

from __future__ import annotations

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.config import DataConfig
from biobert_scale.data.addresses import addresses, last_not_above, view
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE
from biobert_scale.data.pairs import LARGEST_CORPUS, LONGEST_SAMPLE, pack_row
from biobert_scale.data.philox import PURPOSE_PAIRS, draw_below, philox
from biobert_scale.tokens.shards import TokenStore

_PROBABILITY_SCALE = 1 << 32
_TRIES = 4
"""Other documents drawn until one has text enough for B; after these the one with the most."""


@njit(nogil=True)
def _piece(rest: int, address: int, longest: int) -> int:
    """How much of what is left of a sentence stands together: all of it, or where it is longer than
    `longest`, a part of random size.

    Equal parts would betray by their lengths that they belong together. The size follows from the address
    (splitmix64's finaliser).
    """
    if rest <= longest:
        return rest
    word = np.uint64(address) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return longest - draw_below(longest // 2, word >> np.uint64(32))


@njit(nogil=True)
def _split_long(lengths: np.ndarray, start: int, longest: int, pieces: np.ndarray) -> int:
    """One document's sentences, those above `longest` tokens in pieces; returns how many there are."""
    filled = 0
    for length in lengths:
        rest = np.int64(length)
        while rest > 0:
            pieces[filled] = _piece(rest, start, longest)
            rest -= pieces[filled]
            start += pieces[filled]
            filled += 1
    return filled


@njit(nogil=True)
def _other_segment(
    document: int,
    wanted: int,
    limit: int,
    room: int,
    longest: int,
    seed: int,
    counter: int,
    lengths_at: np.ndarray,
    sentences_at: np.ndarray,
    tokens_at: np.ndarray,
    token_starts: np.ndarray,
    document_starts: np.ndarray,
) -> tuple[int, int]:
    """Address and length of a segment of another document, whole sentences from a random one on.

    Args:
        wanted: tokens that the segment should come nearest to; where `limit` is positive it holds as many
            sentences as stay within `limit` instead.
        room: tokens that it may have at most.
    """
    like_offset, like_length = np.empty(0, np.int32), np.empty(0, np.uint32)
    block = np.empty(4, np.uint32)
    most = limit if limit > 0 else wanted
    best_rest, best_offset, best_sentence, best_in_sentence, best_shard, best_local = (
        -2 * LARGEST_CORPUS,
        0,
        0,
        0,
        0,
        0,
    )
    for trial in range(_TRIES):
        philox(seed, counter + trial, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS, block)
        other = draw_below(document_starts[-1] - 1, block[0])
        if other >= document:
            other += 1
        shard = last_not_above(document_starts, other)
        local = other - document_starts[shard]
        count = document_starts[shard + 1] - document_starts[shard] + 1
        sentences, tokens = (
            view(sentences_at[shard], count, like_offset),
            view(tokens_at[shard], count, like_offset),
        )
        begin, many = np.int64(sentences[local]), np.int64(sentences[local + 1]) - np.int64(sentences[local])
        # A true B never begins with its document's first sentence.
        sentence = begin + (1 + draw_below(many - 1, block[1]) if many > 1 else 0)
        offset = np.int64(tokens[local])
        lengths = view(lengths_at[shard], sentence + 1, like_length)
        for k in range(begin, sentence):
            offset += lengths[k]
        in_sentence = np.int64(lengths[sentence])
        skipped = draw_below(-(-in_sentence // longest), block[2])
        for _ in range(skipped):
            piece = _piece(in_sentence, token_starts[shard] + offset, longest)
            if piece < in_sentence:
                in_sentence -= piece
                offset += piece
        rest = np.int64(tokens[local + 1]) - offset
        fits = _piece(in_sentence, token_starts[shard] + offset, longest) <= most
        if not fits:
            rest -= LARGEST_CORPUS  # the worst choice
        if rest > best_rest:
            best_rest, best_offset, best_sentence, best_in_sentence, best_shard, best_local = (
                rest,
                offset,
                sentence,
                in_sentence,
                shard,
                local,
            )
        if rest >= wanted:
            break
    count = document_starts[best_shard + 1] - document_starts[best_shard] + 1
    last = np.int64(view(sentences_at[best_shard], count, like_offset)[best_local + 1])
    lengths = view(lengths_at[best_shard], last, like_length)
    start, taken = token_starts[best_shard] + best_offset, 0
    sentence, in_sentence = best_sentence, best_in_sentence
    while True:
        piece = _piece(in_sentence, start + taken, longest)
        if taken == 0:
            piece = min(piece, limit if limit > 0 else room)
        elif taken + piece > (limit if limit > 0 else room) or (
            limit <= 0 and 2 * taken + piece >= 2 * wanted
        ):
            break
        taken += piece
        in_sentence -= piece
        if in_sentence == 0:
            sentence += 1
            if sentence == last:
                break
            in_sentence = np.int64(lengths[sentence])
    return start, taken


@njit(nogil=True)
def _pack_shard(
    shard: int,
    lengths_at: np.ndarray,
    sentences_at: np.ndarray,
    tokens_at: np.ndarray,
    token_starts: np.ndarray,
    document_starts: np.ndarray,
    maximum: int,
    short_threshold: int,
    random_thresholds: np.ndarray,
    seed: int,
    rows: np.ndarray,
) -> int:
    """Pack all documents of a shard into `rows`; returns how many were filled.

    Args:
        random_thresholds: of a draw below 2^32; by what is left of the document: anything, two sentences,
            three of which only two fit.
    """
    like_offset, like_length = np.empty(0, np.int32), np.empty(0, np.uint32)
    documents = document_starts[shard + 1] - document_starts[shard]
    sentences, tokens = (
        view(sentences_at[shard], documents + 1, like_offset),
        view(tokens_at[shard], documents + 1, like_offset),
    )
    all_lengths = view(lengths_at[shard], np.int64(sentences[documents]), like_length)
    longest = maximum // 2
    pieces = np.empty(
        len(all_lengths) + np.int64(tokens[documents]) // (longest - longest // 2) + 1, np.int64
    )
    block = np.empty(4, np.uint32)
    filled = 0
    for local in range(documents):
        document = document_starts[shard] + local
        start = token_starts[shard] + np.int64(tokens[local])
        last = _split_long(all_lengths[sentences[local] : sentences[local + 1]], start, longest, pieces)
        first, counter = 0, 0
        while first < last:
            philox(seed, counter, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS, block)
            is_short = block[0] < short_threshold
            target = 2 + draw_below(maximum - 1, block[1]) if is_short else maximum
            # Two sentences at least where there are two: a lone one cannot be followed by its own next.
            end, total = first, 0
            while end < last and (
                total + pieces[end] <= target or (end - first < 2 and total + pieces[end] <= maximum)
            ):
                total += pieces[end]
                end += 1
            limit = max(target, total) if end < last else 0
            if last - end == 1 and end - first > 2:
                # A last sentence left alone could only get a random next one, and would tip the balance of
                # the two kinds.
                end -= 1
                total -= pieces[end]
                limit = 0
            count = end - first
            threshold = random_thresholds[0]
            if count == 2 and last - first <= 3:
                threshold = random_thresholds[last - first - 1]
            is_random = count == 1 or block[2] < threshold
            # Nor is just the last sentence given back; it does not make a true B alone either, or a short B
            # would tell.
            choices = count - 2 if end == last and count > 2 else max(count - 1, 1)
            a_end = first + 1 + draw_below(choices, block[3])
            a_length = 0
            for k in range(first, a_end):
                a_length += pieces[k]
            if is_random:
                wanted = min(a_length, maximum - a_length) if count == 1 else total - a_length
                b_start, b_length = _other_segment(
                    document, wanted, limit - a_length, maximum - a_length, longest, seed, counter + 1,
                    lengths_at, sentences_at, tokens_at, token_starts, document_starts,
                )  # fmt: skip
                used = a_length
                first = a_end
            else:
                b_start, b_length = start + a_length, total - a_length
                used = total
                first = end
            pack_row(rows, filled, start, a_length, b_start, b_length, is_random, is_short)
            filled += 1
            start += used
            counter += 1 + _TRIES
    return filled


class PairBuilder:
    """Packs the shards of a store, one at a time and in any order; a shard's pairs depend on nothing but the
    store and the seed."""

    def __init__(self, store: TokenStore, config: DataConfig, *, seed: int) -> None:
        assert (
            store.documents >= 2
            and store.tokens <= LARGEST_CORPUS
            and config.max_seq_length <= LONGEST_SAMPLE
        )
        self.store, self.seed = store, seed
        self.maximum = config.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE
        self.short_threshold = round(config.short_sequence_probability * _PROBABILITY_SCALE)
        self.random_thresholds = np.array(
            [round(share * _PROBABILITY_SCALE) for share in _random_shares(config.random_next_probability)],
            np.int64,
        )
        self.tables = tuple(
            addresses([getattr(shard, name) for shard in store.shards])
            for name in ("sentence_lengths", "sentence_offsets", "token_offsets")
        )

    def pack(self, shard: int) -> np.ndarray:
        """(samples, 2) uint64 rows of the index: the samples that begin in this shard's documents, in their
        order."""
        held = self.store.shards[shard]
        rows = np.empty(
            (len(held.sentence_lengths) + len(held.tokens) // (self.maximum // 4) + 1, 2), np.uint64
        )
        filled = _pack_shard(
            shard, *self.tables, self.store.token_starts, self.store.document_starts,
            self.maximum, self.short_threshold, self.random_thresholds, self.seed, rows,
        )  # fmt: skip
        return rows[:filled]


def _random_shares(wanted: float) -> tuple[float, float, float]:
    """How often B is random where there is a choice, such that `wanted` comes out over all samples.

    A lone last sentence always gets a random B. Of two last sentences, the first one's random B makes the
    second one lone: two random samples against a true one, so it is chosen less often. Where three are left
    of which two fit, the true pair leaves a lone one anyway.
    """
    return wanted, wanted / (2 - wanted), max(0.0, 2 - 1 / wanted) if wanted else 0.0
