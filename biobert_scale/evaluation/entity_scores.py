"""Scores of entities: from tags or spans to precision, recall and F1, and to where the errors lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval, score_of
from biobert_scale.evaluation.metrics.entities import Span, type_of
from biobert_scale.evaluation.metrics.matches import match_by_type, match_entities
from biobert_scale.evaluation.metrics.words import count_words, word_macro_f1, word_scores
from biobert_scale.evaluation.prepared import gold_spans, is_typed
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.scores import (
    REPAIRS,
    Counts,
    Measures,
    Repair,
    TypeCounts,
    count_entities,
    count_orphans,
    total,
)
from biobert_scale.evaluation.tagging import WORD_PATTERN, document_spans
from biobert_scale.evaluation.tasks.spec import Task

Spans = dict[str, set[Span]]
"""PMID to entities as spans of document characters."""
_LONGEST = 4


def spans_of(
    sentences: Sequence[TaggedSentence],
    tags: Sequence[Sequence[str]],
    pmids: Iterable[str],
    repair: Repair = "conlleval",
    *,
    typed: bool = False,
) -> Spans:
    """The entities that tags describe, for every one of `pmids`; `typed`: with their types."""
    spans: Spans = {pmid: set() for pmid in pmids}
    for sentence, sentence_tags in zip(sentences, tags, strict=True):
        spans[sentence.pmid] |= document_spans(sentence, sentence_tags, repair, typed=typed)
    return spans


def score_tags(
    sentences: Sequence[TaggedSentence], gold: Spans, tags: Sequence[Sequence[str]], *, typed: bool = False
) -> Scored:
    """Score predicted tags against the documents' mentions: F1 under the repair "conlleval", scores for each
    repair, and the number of I tags that continue nothing.

    Args:
        gold: with types where `typed`.
        typed: the task has several types: an entity is found where its type agrees as well.
    """
    predicted = {repair: spans_of(sentences, tags, gold, repair, typed=typed) for repair in REPAIRS}
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


def score_entities(
    task: Task,
    sentences: Sequence[TaggedSentence],
    documents: Sequence[AnnotatedDocument],
    tags: Sequence[Sequence[str]],
) -> Scored:
    """Score predicted tags by a task's metric: entities as `score_tags` does, or the words of every type,
    whatever the entities' ends; then both are in `scores`."""
    typed = is_typed(task)
    scored = score_tags(sentences, gold_spans(documents, typed=typed), tags, typed=typed)
    if task.metric == "word_macro_f1":
        counts = _words(sentences, documents, tags)
        scored |= {
            "score": score_of(list(counts.values()), "macro"),
            "scores": {"macro": word_macro_f1(list(counts.values())), **scored["scores"]},
            "interval_95": bootstrap_interval(list(counts.values()), measure="macro"),
            "documents": counts,
        }
    return scored


def _words(
    sentences: Sequence[TaggedSentence],
    documents: Sequence[AnnotatedDocument],
    tags: Sequence[Sequence[str]],
) -> dict[str, TypeCounts]:
    """What is counted of every document's words."""
    gold: dict[str, list[str]] = {document.pmid: [] for document in documents}
    found: dict[str, list[str]] = {pmid: [] for pmid in gold}
    for sentence, sentence_tags in zip(sentences, tags, strict=True):
        gold[sentence.pmid] += sentence.tags
        found[sentence.pmid] += sentence_tags
    return {pmid: count_words(gold[pmid], found[pmid]) for pmid in gold}


def break_down_tags(
    task: Task,
    sentences: Sequence[TaggedSentence],
    documents: Sequence[AnnotatedDocument],
    tags: Sequence[Sequence[str]],
    known: set[str],
) -> Breakdown:
    """As `break_down`, from tags; `by_type` is of words where the task's metric is."""
    typed, pmids = is_typed(task), [document.pmid for document in documents]
    found = break_down(documents, spans_of(sentences, tags, pmids, typed=typed), known, typed=typed)
    if task.metric == "word_macro_f1":
        found["by_type"] = word_scores(list(_words(sentences, documents, tags).values()))
    return found


def break_down(
    documents: Sequence[AnnotatedDocument], predicted: Spans, known: set[str], *, typed: bool = False
) -> Breakdown:
    """Where the errors lie.

    Args:
        documents: with their gold mentions.
        predicted: under the repair "conlleval".
        known: names of the training set (`names_of`).
        typed: the task has several types, which predictions name.

    Returns:
        `by_type`: by type; where the task has one alone, by the corpus's kind of mention, and recall alone,
        since predictions have no kind; `by_length`: by words in a mention; `by_familiarity`: of names that
        training showed (`seen`), capitals ignored, and others (`unseen`); `matches` and, where the task has
        several types, `matches_by_type`: see `match_entities`.
    """
    texts = {document.pmid: document.text for document in documents}
    gold = gold_spans(documents, typed=typed)

    def length(pmid: str, span: Span) -> str:
        words = len(WORD_PATTERN.findall(texts[pmid][span[0] : span[1]]))
        return f"{words}" if words < _LONGEST else f"{_LONGEST} or more"

    def familiarity(pmid: str, span: Span) -> str:
        return "seen" if normalised(texts[pmid][span[0] : span[1]]) in known else "unseen"

    return {
        "by_type": _by(lambda _, span: type_of(span), gold, predicted)
        if typed
        else _by_kind(documents, predicted),
        "by_length": _by(length, gold, predicted),
        "by_familiarity": _by(familiarity, gold, predicted),
        "matches": match_entities(gold, predicted),
        "matches_by_type": match_by_type(gold, predicted),
    }


def _by(group: Callable[[str, Span], str], gold: Spans, predicted: Spans) -> dict[str, Measures]:
    counts: dict[str, Counts] = defaultdict(Counts)
    for pmid, spans in gold.items():
        for kind, chosen in (
            (Counts(tp=1), spans & predicted[pmid]),
            (Counts(fn=1), spans - predicted[pmid]),
            (Counts(fp=1), predicted[pmid] - spans),
        ):
            for span in chosen:
                counts[group(pmid, span)] += kind
    return {name: counts[name].as_dict() for name in sorted(counts)}


def _by_kind(documents: Sequence[AnnotatedDocument], predicted: Spans) -> dict[str, Measures]:
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


def mention_names(documents: Iterable[AnnotatedDocument]) -> list[str]:
    """Every mention's normalised text."""
    return [
        normalised(document.text[mention.start : mention.end])
        for document in documents
        for mention in document.mentions
    ]


def names_of(documents: Iterable[AnnotatedDocument]) -> set[str]:
    """The different ones among them."""
    return set(mention_names(documents))
