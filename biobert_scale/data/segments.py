"""Segments of other documents: what an NSP sample has for its B where it is not the text that follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from biobert_scale.compiled import njit
from biobert_scale.data.addresses import StoreTables, int64_at, last_not_above, view
from biobert_scale.data.pairs import MAX_CORPUS_TOKENS
from biobert_scale.data.philox import PURPOSE_PAIRS, draw_below, philox
from biobert_scale.splitmix import GOLDEN, mixed

TRIES = 4
"""Other documents drawn until one has text enough for B; after these the one with the most."""


class PackingRules(NamedTuple):
    """How documents are packed.

    Attributes:
        max_tokens: of A and B together, special tokens not counted.
        max_piece: tokens of a sentence that are kept together; longer ones are divided.
        short_threshold: of a draw below 2^32, under which the target is a shorter one.
        random_thresholds: three, of a draw below 2^32, under which B is random; by what is left of the
            document: anything, two sentences, three of which only two fit.
        seed: 64 bits.
    """

    max_tokens: int
    max_piece: int
    short_threshold: int
    random_thresholds: tuple[int, ...]
    seed: int


class Place(NamedTuple):
    """Where a segment can begin: at a sentence, or at a piece of a long one.

    Attributes:
        address: of the first token.
        shard, sentence: the sentence, by its position among the shard's.
        sentence_tokens: of the sentence, from `address` on.
        sentence_end: position behind the document's last sentence.
        document_tokens: of the document, from `address` on.
    """

    address: int
    shard: int
    sentence: int
    sentence_tokens: int
    sentence_end: int
    document_tokens: int


class WantedLength(NamedTuple):
    """Tokens that a segment of another document should have.

    Attributes:
        enough: a place with so many up to its document's end is taken at once.
        nearest: what the whole sentences should come nearest to.
        most: what they may have at most; where it equals `nearest`, as many sentences are taken as fit.
    """

    enough: int
    nearest: int
    most: int


@njit(nogil=True)
def piece_tokens(rest: int, address: int, max_piece: int) -> int:
    """How much of what is left of a sentence is kept together: all of it, or where it is longer than
    `max_piece`, a part of random size.

    Equal parts would betray by their lengths that they belong together. The size follows from the address
    (SplitMix64).
    """
    if rest <= max_piece:
        return rest
    word = mixed(np.uint64(address) * GOLDEN)
    return max_piece - draw_below(max_piece // 2, word >> np.uint64(32))


@njit(nogil=True)
def _draw_place(store: StoreTables, rules: PackingRules, document: int, counter: int) -> Place:
    """A random place of a document that is not number `document`."""
    block = philox(rules.seed, counter, document & 0xFFFFFFFF, document >> 32, PURPOSE_PAIRS)
    shards = store.shards
    other = draw_below(shards[-1].document_start - 1, block[0])
    if other >= document:
        other += 1
    k = last_not_above(shards["document_start"], other)
    shard, local = shards[k], other - shards[k].document_start
    sentences = view(shard.sentence_offsets, local + 2, np.int32)
    tokens = view(shard.token_offsets, local + 2, np.int32)
    begin, sentence_end = int64_at(sentences, local), int64_at(sentences, local + 1)
    count = sentence_end - begin
    # A true B never begins with its document's first sentence.
    sentence = begin + (1 + draw_below(count - 1, block[1]) if count > 1 else 0)
    lengths = view(shard.sentence_lengths, sentence + 1, np.uint32)
    address = shard.token_start + int64_at(tokens, local)
    document_end = shard.token_start + int64_at(tokens, local + 1)
    for skipped in range(begin, sentence):
        address += lengths[skipped]
    sentence_tokens = int64_at(lengths, sentence)
    for _ in range(draw_below(-(-sentence_tokens // rules.max_piece), block[2])):
        piece = piece_tokens(sentence_tokens, address, rules.max_piece)
        if piece < sentence_tokens:
            sentence_tokens -= piece
            address += piece
    return Place(address, k, sentence, sentence_tokens, sentence_end, document_end - address)


@njit(nogil=True)
def _take_sentences(store: StoreTables, place: Place, max_piece: int, wanted: WantedLength) -> int:
    """Tokens of the sentences from a place on that come nearest to `wanted`, one piece at least."""
    lengths = view(store.shards[place.shard].sentence_lengths, place.sentence_end, np.uint32)
    taken, sentence, rest = 0, place.sentence, place.sentence_tokens
    while True:
        piece = piece_tokens(rest, place.address + taken, max_piece)
        if taken == 0:
            piece = min(piece, wanted.most)
        elif taken + piece > wanted.most or 2 * taken + piece >= 2 * wanted.nearest:
            return taken
        taken += piece
        rest -= piece
        if rest == 0:
            sentence += 1
            if sentence == place.sentence_end:
                return taken
            rest = int64_at(lengths, sentence)


@njit(nogil=True)
def _score(place: Place, rules: PackingRules, wanted: WantedLength) -> int:
    """Tokens that a place offers; negative where even its first piece is longer than wanted."""
    piece = piece_tokens(place.sentence_tokens, place.address, rules.max_piece)
    return place.document_tokens if piece <= wanted.nearest else place.document_tokens - MAX_CORPUS_TOKENS


@njit(nogil=True)
def other_segment(
    store: StoreTables, rules: PackingRules, document: int, counter: int, wanted: WantedLength
) -> tuple[int, int]:
    """Address and tokens of a segment of another document than number `document`."""
    best = _draw_place(store, rules, document, counter)
    best_score = _score(best, rules, wanted)
    for trial in range(1, TRIES):
        if best_score >= wanted.enough:
            break
        place = _draw_place(store, rules, document, counter + trial)
        score = _score(place, rules, wanted)
        if score > best_score:
            best, best_score = place, score
    return best.address, _take_sentences(store, best, rules.max_piece, wanted)
