"""Scores of entities: from tags or spans to precision, recall and F1, and to where the errors lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.scores import (
    REPAIRS,
    Counts,
    Measures,
    Repair,
    count_entities,
    count_orphans,
    total,
)
from biobert_scale.evaluation.tagging import WORD_PATTERN, document_spans

Spans = dict[str, set[tuple[int, int]]]
"""PMID to entities as spans of document characters."""
_LONGEST = 4


def spans_of(
    sentences: Sequence[TaggedSentence],
    tags: Sequence[Sequence[str]],
    pmids: Iterable[str],
    repair: Repair = "conlleval",
) -> Spans:
    """The entities that tags describe, for every one of `pmids`."""
    spans: Spans = {pmid: set() for pmid in pmids}
    for sentence, sentence_tags in zip(sentences, tags, strict=True):
        spans[sentence.pmid] |= document_spans(sentence, sentence_tags, repair)
    return spans


def score_tags(sentences: Sequence[TaggedSentence], gold: Spans, tags: Sequence[Sequence[str]]) -> Scored:
    """Score predicted tags against the documents' mentions: F1 under the repair "conlleval", scores for each
    repair, and the number of I tags that continue nothing."""
    predicted = {repair: spans_of(sentences, tags, gold, repair) for repair in REPAIRS}
    return {**score_spans(gold, predicted), "orphan_inside_tags": sum(map(count_orphans, tags))}


def score_spans(gold: Spans, predicted: Mapping[Repair, Spans]) -> Scored:
    """As `score_tags`, from each repair's spans."""
    counts = {
        repair: count_entities(list(gold.values()), [spans[pmid] for pmid in gold])
        for repair, spans in predicted.items()
    }
    main = counts["conlleval"]
    return {
        "score": total(main).f1,
        "scores": {repair: total(of_repair).as_dict() for repair, of_repair in counts.items()},
        "interval_95": bootstrap_interval(main),
        "documents": dict(zip(gold, main, strict=True)),
    }


def break_down(documents: Sequence[AnnotatedDocument], predicted: Spans, known: set[str]) -> Breakdown:
    """Where the errors lie.

    Args:
        documents: with their gold mentions.
        predicted: under the repair "conlleval".
        known: names of the training set (`names_of`).

    Returns:
        `by_type`: by the corpus's kind of mention, recall alone, since predictions have no kind; `by_length`:
        by words in a mention; `by_familiarity`: of names that training showed (`seen`), capitals ignored, and
        others (`unseen`).
    """
    texts = {document.pmid: document.text for document in documents}
    gold = {document.pmid: {(m.start, m.end) for m in document.mentions} for document in documents}

    def length(pmid: str, start: int, end: int) -> str:
        words = len(WORD_PATTERN.findall(texts[pmid][start:end]))
        return f"{words}" if words < _LONGEST else f"{_LONGEST} or more"

    def familiarity(pmid: str, start: int, end: int) -> str:
        return "seen" if normalised(texts[pmid][start:end]) in known else "unseen"

    return {
        "by_type": _by_type(documents, predicted),
        "by_length": _by(length, gold, predicted),
        "by_familiarity": _by(familiarity, gold, predicted),
    }


def _by(group: Callable[[str, int, int], str], gold: Spans, predicted: Spans) -> dict[str, Measures]:
    counts: dict[str, Counts] = defaultdict(Counts)
    for pmid, spans in gold.items():
        for kind, chosen in (
            (Counts(tp=1), spans & predicted[pmid]),
            (Counts(fn=1), spans - predicted[pmid]),
            (Counts(fp=1), predicted[pmid] - spans),
        ):
            for start, end in chosen:
                counts[group(pmid, start, end)] += kind
    return {name: counts[name].as_dict() for name in sorted(counts)}


def _by_type(documents: Sequence[AnnotatedDocument], predicted: Spans) -> dict[str, Measures]:
    found: dict[str, Counts] = defaultdict(Counts)
    for document in documents:
        for mention in document.mentions:
            hit = (mention.start, mention.end) in predicted[document.pmid]
            composite = {"composite"} if mention.composite and mention.kind != "CompositeMention" else set()
            for kind in {mention.kind} | composite:
                found[kind] += Counts(tp=hit, fn=not hit)
    return {
        kind: {"recall": counts.recall, "tp": counts.tp, "fn": counts.fn}
        for kind, counts in sorted(found.items())
    }


def normalised(text: str) -> str:
    """A name's words in small letters with single blanks between them."""
    return " ".join(WORD_PATTERN.findall(text.lower()))


def names_of(documents: Iterable[AnnotatedDocument]) -> set[str]:
    """Every mention's normalised text."""
    return {
        normalised(document.text[mention.start : mention.end])
        for document in documents
        for mention in document.mentions
    }
