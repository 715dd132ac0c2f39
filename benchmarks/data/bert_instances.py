"""BERT's way to samples, in plain Python, as a peer: what many pre-training programs run ahead of time or in
their workers.

Devlin et al. 2019, section 3.1 and appendix A.1, and the published program's behaviour: sentences are packed
until the target length is reached or exceeded; a random B runs on from a random sentence of another document
until it is as long as what A leaves; then the longer segment loses tokens at its front or its back until both
fit.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from biobert_scale.data.layouts import IGNORED
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE
from biobert_scale.data.vocabulary import VocabularyTables
from biobert_scale.tokens.shards import TokenStore

Document = list[list[int]]
"""Sentences of token ids."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A finished sample: ids with special tokens and masks, segment of each, predicted positions and their
    tokens."""

    input_ids: list[int]
    token_type_ids: list[int]
    positions: list[int]
    labels: list[int]
    is_random: bool


def read_documents(store: TokenStore, vocabulary: int) -> list[Document]:
    """All documents of a split as lists; equal ids are one object, so that a token takes eight bytes."""
    ids = list(range(vocabulary))
    documents = []
    for shard in store.shards:
        for (first, last), (begin, end) in zip(
            itertools.pairwise(shard.sentence_offsets), itertools.pairwise(shard.token_offsets), strict=True
        ):
            tokens = iter([ids[token] for token in shard.tokens[begin:end].tolist()])
            documents.append(
                [
                    list(itertools.islice(tokens, length))
                    for length in shard.sentence_lengths[first:last].tolist()
                ]
            )
    return documents


def pairs(
    documents: list[Document], number: int, *, maximum: int, rng: random.Random
) -> Iterator[tuple[list[int], list[int], bool]]:
    """A, B and whether B is random, for all samples that begin in document `number`.

    Args:
        maximum: tokens that A and B have together at most.
    """
    document = documents[number]
    target = rng.randint(2, maximum) if rng.random() < 0.1 else maximum
    chunk: list[list[int]] = []
    length = i = 0
    while i < len(document):
        chunk.append(document[i])
        length += len(document[i])
        if i == len(document) - 1 or length >= target:
            a_end = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            a = list(itertools.chain.from_iterable(chunk[:a_end]))
            is_random = len(chunk) == 1 or rng.random() < 0.5
            if is_random:
                b = _random_segment(documents, number, target - len(a), rng)
                i -= len(chunk) - a_end  # the sentences that were not used are put back
            else:
                b = list(itertools.chain.from_iterable(chunk[a_end:]))
            _truncate(a, b, maximum, rng)
            yield a, b, is_random
            chunk, length = [], 0
        i += 1


def _random_segment(documents: list[Document], number: int, wanted: int, rng: random.Random) -> list[int]:
    other = rng.randrange(len(documents) - 1)
    document = documents[other + 1 if other >= number else other]
    segment: list[int] = []
    for sentence in document[rng.randrange(len(document)) :]:
        segment.extend(sentence)
        if len(segment) >= wanted:
            break
    return segment


def _truncate(a: list[int], b: list[int], maximum: int, rng: random.Random) -> None:
    while len(a) + len(b) > maximum:
        longer = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def instance(
    a: list[int],
    b: list[int],
    *,
    is_random: bool,
    tables: VocabularyTables,
    vocabulary: int,
    mlm_probability: float,
    rng: random.Random,
) -> Instance:
    """Add the special tokens, and mask: 80% [MASK], 10% the token itself, 10% a random entry."""
    input_ids = [tables.cls, *a, tables.sep, *b, tables.sep]
    candidates = [
        position for position, token in enumerate(input_ids) if token not in (tables.cls, tables.sep)
    ]
    rng.shuffle(candidates)
    positions = sorted(candidates[: max(1, round(len(input_ids) * mlm_probability))])
    labels = [input_ids[position] for position in positions]
    for position in positions:
        if rng.random() < 0.8:
            input_ids[position] = tables.mask
        elif rng.random() < 0.5:
            input_ids[position] = rng.randrange(vocabulary)
    token_type_ids = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    return Instance(
        input_ids=input_ids,
        token_type_ids=token_type_ids,
        positions=positions,
        labels=labels,
        is_random=is_random,
    )


def batches(
    documents: list[Document],
    *,
    size: int,
    max_seq_length: int,
    tables: VocabularyTables,
    vocabulary: int,
    mlm_probability: float,
    seed: int,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Endless padded batches, the documents in a random order each time."""
    rng = random.Random(seed)
    order = list(range(len(documents)))
    held: list[Instance] = []
    while True:
        rng.shuffle(order)
        for number in order:
            for a, b, is_random in pairs(
                documents, number, maximum=max_seq_length - SPECIAL_TOKENS_PER_SAMPLE, rng=rng
            ):
                held.append(
                    instance(
                        a,
                        b,
                        is_random=is_random,
                        tables=tables,
                        vocabulary=vocabulary,
                        mlm_probability=mlm_probability,
                        rng=rng,
                    )
                )
                if len(held) == size:
                    yield collate(held, max_seq_length)
                    held = []


def collate(instances: list[Instance], max_seq_length: int) -> dict[str, np.ndarray]:
    """`input_ids`, `token_type_ids`, `attention_mask`, `labels` (instances, max_seq_length) and
    `next_sentence_label` (instances,), int64."""
    shape = (len(instances), max_seq_length)
    found = {name: np.zeros(shape, np.int64) for name in ("input_ids", "token_type_ids", "attention_mask")}
    labels = np.full(shape, IGNORED, np.int64)
    for row, made in enumerate(instances):
        length = len(made.input_ids)
        found["input_ids"][row, :length] = made.input_ids
        found["token_type_ids"][row, :length] = made.token_type_ids
        found["attention_mask"][row, :length] = 1
        labels[row, made.positions] = made.labels
    return {
        **found,
        "labels": labels,
        "next_sentence_label": np.array([made.is_random for made in instances], np.int64),
    }
