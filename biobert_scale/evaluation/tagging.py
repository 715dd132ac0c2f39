"""From annotated documents to tagged sentences, and from tags back to spans of the document."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.scores import Repair, entity_spans
from biobert_scale.tokens.sentences import split_sentences

# Letters and digits run together, every other sign stands alone: where BERT's own splitter cuts, so that a
# word's first piece is the one that pre-training saw.
WORD_PATTERN = re.compile(r"[^\W_]+|[^\w\s]|_")

_COUNTED = (
    "sentences",
    "words",
    "mentions",
    "composite_mentions",
    "overlapping_mentions",
    "mentions_inside_words",
    "mentions_across_sentences",
    "mentions_lost_by_tagging",
)


def tag_document(
    document: AnnotatedDocument, mentions: Sequence[Mention]
) -> tuple[list[TaggedSentence], Counter[str]]:
    """Split a document into sentences and words, and give the words tags.

    Where mentions overlap the first and longest is tagged; one that a sentence break cuts is tagged in parts;
    one that begins or ends inside a word is tagged by whole words.

    Returns:
        The sentences, and the counts named in `_COUNTED`; `mentions_lost_by_tagging` are those that even
        perfect tags do not give back (they stay in the gold).
    """
    text, offset = document.text, len(document.title) + 1
    bounds = split_sentences(document.title) + [
        (start + offset, end + offset) for start, end in split_sentences(document.abstract)
    ]
    words = [
        [(m.start() + start, m.end() + start) for m in WORD_PATTERN.finditer(text[start:end])]
        for start, end in bounds
    ]
    flat = [(number, start, end) for number, sentence in enumerate(words) for start, end in sentence]
    starts, ends, tags = [start for _, start, _ in flat], [end for _, _, end in flat], ["O"] * len(flat)
    counts = Counter(dict.fromkeys(_COUNTED, 0))
    counts.update(sentences=len(words), words=len(flat), mentions=len(mentions))
    last_end = 0
    for mention in sorted(mentions, key=lambda mention: (mention.start, -mention.end)):
        counts["composite_mentions"] += mention.composite
        if mention.start < last_end:
            counts["overlapping_mentions"] += 1
            continue
        last_end = mention.end
        first, last = (
            bisect_right(ends, mention.start),
            bisect_left(starts, mention.end),
        )  # the words that it touches
        if first == last or (starts[first], ends[last - 1]) != (mention.start, mention.end):
            counts["mentions_inside_words"] += 1
        counts["mentions_across_sentences"] += first < last and flat[first][0] != flat[last - 1][0]
        for position in range(first, last):
            begins = position == first or flat[position - 1][0] != flat[position][0]
            tags[position] = "B" if begins else "I"
    sentences, position = [], 0
    for number, sentence in enumerate(words):
        if sentence:
            sentences.append(
                _sentence(document.pmid, number, text, sentence, tags[position : position + len(sentence)])
            )
        position += len(sentence)
    recovered = {span for sentence in sentences for span in document_spans(sentence, sentence.tags)}
    counts["mentions_lost_by_tagging"] = len({(m.start, m.end) for m in mentions} - recovered)
    return sentences, counts


def _sentence(
    pmid: str, number: int, text: str, words: list[tuple[int, int]], tags: list[str]
) -> TaggedSentence:
    tokens = [text[start:end] for start, end in words]
    return TaggedSentence(
        pmid=pmid,
        sentence=number,
        tokens=tokens,
        starts=[s for s, _ in words],
        ends=[e for _, e in words],
        tags=tags,
    )


def document_spans(
    sentence: TaggedSentence, tags: Sequence[str], repair: Repair = "conlleval"
) -> set[tuple[int, int]]:
    """The entities that tags describe, as spans of document characters."""
    return {
        (sentence.starts[first], sentence.ends[last - 1]) for _, first, last in entity_spans(tags, repair)
    }
