"""From annotated documents to tagged sentences, and from tags back to spans of the document."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

from biobert_scale.evaluation.metrics.entities import Span, span_of
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.scores import Repair, entity_spans
from biobert_scale.tokens.sentences import split_sentences

# Letters and digits run together, every other sign is a word: where BERT's own splitter cuts, so that a
# word's first piece is the one that pre-training saw.
WORD_PATTERN = re.compile(r"[^\W_]+|[^\w\s]|_")
_UNDECODED = "\ufffd"
_DROPPED = frozenset({"Cc", "Cf", "Co"})
"""Unicode categories of the characters that BERT's tokenizers drop before they cut words, U+FFFD besides:
`clean_text` of `tokenizers.normalizers.BertNormalizer`."""


def words_by_sentence(text: str) -> list[list[tuple[int, int]]]:
    """The words of each sentence, as spans of characters; a sentence may have none.

    Soft hyphens, zero-width characters, byte order marks and their like cut neither words nor sentences,
    since the tokenizer does not see them: a word holds those inside it. Line breaks, form feeds and other
    white space cut words, though the tokenizer drops some of them.
    """
    plain = text.isprintable() and _UNDECODED not in text  # most texts: looking at every character costs time
    dropped = set() if plain else set(filter(_is_dropped, set(text)))
    if not dropped:
        return [_words(text, start, end) for start, end in split_sentences(text)]
    places = [place for place, character in enumerate(text) if character not in dropped]
    seen = "".join(text[place] for place in places)
    return [
        [(places[first], places[last - 1] + 1) for first, last in _words(seen, start, end)]
        for start, end in split_sentences(seen)
    ]


def _is_dropped(character: str) -> bool:
    return character == "\ufffd" or (unicodedata.category(character) in _DROPPED and not character.isspace())


def count_dropped(text: str) -> int:
    """Characters that BERT's tokenizers drop: soft hyphens, zero-width characters and their like."""
    if text.isprintable() and _UNDECODED not in text:
        return 0
    return sum(text.count(character) for character in filter(_is_dropped, set(text)))


def _words(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [match.span() for match in WORD_PATTERN.finditer(text, start, end)]


def tag_document(
    document: AnnotatedDocument, mentions: Sequence[Mention], *, typed: bool = False
) -> tuple[list[TaggedSentence], Counter[str]]:
    """Split a document into sentences and words, and give the words tags, `typed` with the mentions' kinds
    (`B-Gene`).

    Where mentions overlap the first and longest is tagged; one that a sentence break cuts is tagged in parts;
    one that begins or ends inside a word is tagged by whole words.

    Returns:
        The sentences, and counts of them, of words and of mentions; `mentions_lost_by_tagging` are those that
        even perfect tags do not give back (they stay in the gold).
    """
    text, offset = document.text, len(document.title) + 1
    words = words_by_sentence(document.title) + [
        [(start + offset, end + offset) for start, end in sentence]
        for sentence in words_by_sentence(document.abstract)
    ]
    flat = [(number, start, end) for number, sentence in enumerate(words) for start, end in sentence]
    starts, ends, tags = [start for _, start, _ in flat], [end for _, _, end in flat], ["O"] * len(flat)
    counts = Counter(sentences=len(words), words=len(flat), mentions=len(mentions), composite_mentions=0)
    counts.update(overlapping_mentions=0, mentions_inside_words=0, mentions_across_sentences=0)
    last_end = 0
    for mention in sorted(mentions, key=lambda mention: (mention.start, -mention.end)):
        counts["composite_mentions"] += mention.composite
        if mention.start < last_end:
            counts["overlapping_mentions"] += 1
            continue
        last_end = mention.end
        # The words that it touches.
        first, last = bisect_right(ends, mention.start), bisect_left(starts, mention.end)
        if first == last or (starts[first], ends[last - 1]) != (mention.start, mention.end):
            counts["mentions_inside_words"] += 1
        counts["mentions_across_sentences"] += first < last and flat[first][0] != flat[last - 1][0]
        for position in range(first, last):
            begins = position == first or flat[position - 1][0] != flat[position][0]
            tags[position] = ("B" if begins else "I") + (f"-{mention.kind}" if typed else "")
    sentences, position = [], 0
    for number, sentence in enumerate(words):
        own, position = tags[position : position + len(sentence)], position + len(sentence)
        if sentence:
            sentences.append(_sentence(document.pmid, number, text, sentence, own))
    recovered = {
        (kind, sentence.starts[first], sentence.ends[last - 1])
        for sentence in sentences
        for kind, first, last in entity_spans(sentence.tags)
    }
    due = {(mention.kind if typed else "", mention.start, mention.end) for mention in mentions}
    counts["mentions_lost_by_tagging"] = len(due - recovered)
    return sentences, counts


def _sentence(
    pmid: str, number: int, text: str, words: list[tuple[int, int]], tags: list[str]
) -> TaggedSentence:
    tokens, starts, ends = zip(*((text[start:end], start, end) for start, end in words), strict=True)
    return TaggedSentence(
        pmid=pmid, sentence=number, tokens=list(tokens), starts=list(starts), ends=list(ends), tags=tags
    )


def document_spans(
    sentence: TaggedSentence, tags: Sequence[str], repair: Repair = "conlleval", *, typed: bool = False
) -> set[Span]:
    """The entities that tags describe, as spans of document characters; `typed`: with their types."""
    return {
        span_of(sentence.starts[first], sentence.ends[last - 1], kind if typed else "")
        for kind, first, last in entity_spans(tags, repair)
    }
