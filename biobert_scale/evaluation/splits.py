"""A task's splits: read from its files in whatever form, and brought into the prepared form of its kind.

Entities: sentences with tags, and documents with their mentions. Every other kind: rows of texts with a
label; of HoC documents with their sentences.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import SPLITS, GoldRow, Row
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention, read_pubtator
from biobert_scale.evaluation.readers import HallmarkDocument, TaggedSentence, read_hallmarks
from biobert_scale.evaluation.readers.bioc import read_bioc
from biobert_scale.evaluation.readers.brat import read_brat
from biobert_scale.evaluation.readers.conll import Conll, read_conll
from biobert_scale.evaluation.readers.entity_rows import read_entity_rows
from biobert_scale.evaluation.readers.rows import read_pubmedqa, read_rows
from biobert_scale.evaluation.relations.files import read_relations
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.sources import FoundTask
from biobert_scale.evaluation.tagging import WORD_PATTERN, count_dropped, tag_document
from biobert_scale.evaluation.tasks.spec import Source, Split, Task

Item = AnnotatedDocument | TaggedSentence | HallmarkDocument | Row


@dataclass(kw_only=True)
class ReadSplit:
    """What a reader found."""

    items: list[Any]
    """All of one kind of `Item`."""
    counts: Counter[str] = field(default_factory=Counter)
    """The files' peculiarities."""
    names: frozenset[str]
    """Those that the files give to documents: splits must not share them."""


@dataclass(frozen=True, kw_only=True)
class PreparedSplit:
    """A split in the form of its kind."""

    counts: dict[str, int]
    ends: set[str]
    """How its first and last documents, or sentences, are recognised."""
    files: dict[str, list[Mapping[str, Any]]]
    """Rows by what comes after the split's name in the file's."""
    texts: list[tuple[str, str]]
    """(PMID or other name, or "", and text) of every document."""


def _document_of(item: Item) -> str:
    return item.document if isinstance(item, Row) else item.pmid


def read_splits(found: FoundTask) -> dict[Split, ReadSplit]:
    """Read the files of a task, and divide a split where its source says so.

    Raises:
        UserError: as the format's reader.
    """
    task, source = found.task, found.source
    if source.format == "pubmedqa":
        return {
            split: ReadSplit(items=rows, names=_names(rows))
            for split, rows in read_pubmedqa(task, found.files).items()
        }
    splits = {split: _read(task, source, paths) for split, paths in found.files.items()}
    if not source.divide:
        return splits
    whole = splits.pop(next(iter(splits)))
    return {**_divide(whole, source, task.name), **splits}


def _read(task: Task, source: Source, paths: Sequence[Path]) -> ReadSplit:
    kinds = task.known_types
    others = frozenset(task.other_types) - kinds
    match source.format:
        case "conll":
            return _from_conll(
                read_conll(paths, source.columns, kinds, others, len(task.types) > 1), Counter()
            )
        case "jsonl" | "datasets" if task.kind == "entities":
            found, counts = read_entity_rows(source, paths, kinds, others, len(task.types) > 1)
            return (
                _from_conll(found, counts) if isinstance(found, Conll) else _documents(found, counts, paths)
            )
        case "brat":
            documents, counts = read_brat(paths, kinds, others)
            return _documents(documents, counts, paths)
        case "pubtator" | "bioc":
            read = read_pubtator if source.format == "pubtator" else read_bioc
            files = [read(path, kinds, others) for path in paths]
            documents = [document for of_file, _ in files for document in of_file]
            return _documents(documents, sum((counts for _, counts in files), Counter()), paths)
        case "chemprot" | "ddi":
            pairs, counts = read_relations(task, source.format, paths)
            return ReadSplit(items=pairs, counts=counts, names=_names(pairs))
        case "hallmarks":
            abstracts = [document for path in paths for document in read_hallmarks(path)]
            return ReadSplit(items=abstracts, names=_names(abstracts))
        case _:
            rows, named = read_rows(task, source, paths)
            return ReadSplit(items=rows, names=_names(rows) if named else frozenset())


def _names(items: Iterable[Item]) -> frozenset[str]:
    return frozenset(map(_document_of, items))


def _documents(documents: list[AnnotatedDocument], counts: Counter[str], paths: Sequence[Path]) -> ReadSplit:
    names = Counter(document.pmid for document in documents)
    if twice := [name for name, number in names.items() if number > 1]:
        where = f"{paths[0]} to {paths[-1].name}"
        raise UserError(f"document {twice[0]} is in two files", where=where, remedy="keep one of them")
    return ReadSplit(items=documents, counts=counts, names=frozenset(names))


def _from_conll(found: Conll, counts: Counter[str]) -> ReadSplit:
    counts.update(repeated_document_names=found.names.total() - len(found.names))
    return ReadSplit(items=found.sentences, counts=+counts, names=frozenset(found.names))


def _divide(whole: ReadSplit, source: Source, name: str) -> dict[Split, ReadSplit]:
    """Whole documents, in an order that follows from their names (or texts, where they have none) and the
    seed alone."""
    names = [
        " ".join(item.texts) if isinstance(item, Row) and not whole.names else _document_of(item)
        for item in whole.items
    ]
    documents = sorted(
        set(names), key=lambda document: hashlib.sha256(f"{source.seed}:{document}".encode()).digest()
    )
    splits: dict[Split, ReadSplit] = {}
    first, share = 0, 0.0
    for split in [split for split in SPLITS if split in source.divide]:
        share += source.divide[split]
        last = round(share * len(documents))
        chosen = set(documents[first:last])
        if not chosen:
            what = f"{len(documents)} documents are too few for a share of {source.divide[split]:g} ({split})"
            raise UserError(what, where=name, remedy="correct the task's `divide`")
        items = [item for item, document in zip(whole.items, names, strict=True) if document in chosen]
        splits[split] = ReadSplit(items=items, names=_names(items) & whole.names)
        first = last
    next(iter(splits.values())).counts.update(whole.counts)
    return splits


def prepare_split(task: Task, read: ReadSplit) -> PreparedSplit:
    """Bring a split into the form of its kind, and count what is in it."""
    match read.items[0]:
        case AnnotatedDocument():
            return _prepare_documents(task, read)
        case TaggedSentence():
            return _prepare_sentences(task, read)
        case HallmarkDocument():
            return _prepare_hallmarks(read.items)
    return _prepare_rows(task, read)


def _prepare_documents(task: Task, read: ReadSplit) -> PreparedSplit:
    typed = len(task.types) > 1
    documents = [_with_types(task, document) for document in read.items] if typed else read.items
    sentences: list[TaggedSentence] = []
    tally = Counter(documents=len(documents), duplicate_documents=0)
    tally.update(read.counts)
    for document in documents:
        tagged, found = tag_document(document, document.mentions, typed=typed)
        sentences += tagged
        tally.update(found)
    counts = dict(sorted(tally.items())) | _types(task, documents)
    texts = [(document.pmid, document.text) for document in documents]
    ends = {documents[0].pmid, documents[-1].pmid}
    return _entities(counts, ends, sentences, documents, texts)


def _with_types(task: Task, document: AnnotatedDocument) -> AnnotatedDocument:
    """Mentions of the task's types: two names of one type at one place are one mention."""
    mentions = dict.fromkeys(
        replace(mention, kind=task.type_of(mention.kind)) for mention in document.mentions
    )
    ordered = sorted(mentions, key=lambda mention: (mention.start, -mention.end, mention.kind))
    return replace(document, mentions=tuple(ordered))


def _types(task: Task, documents: Iterable[AnnotatedDocument]) -> dict[str, int]:
    if len(task.types) < 2:
        return {}
    found = Counter(mention.kind for document in documents for mention in document.mentions)
    return {f"mentions of {kind}": found[kind] for kind in task.types}


def _prepare_sentences(task: Task, read: ReadSplit) -> PreparedSplit:
    sentences = [_retagged(task, sentence) for sentence in read.items]
    documents = [
        _as_document(task, name, list(group))
        for name, group in itertools.groupby(sentences, attrgetter("pmid"))
    ]
    counts = {
        "sentences": len(sentences),
        "words": sum(len(sentence.tokens) for sentence in sentences),
        "mentions": sum(len(document.mentions) for document in documents),
    }
    if len(documents) < len(sentences):
        counts = {"documents": len(documents), **counts}
    if task.metric == "word_macro_f1":
        counts["labelled_words"] = sum(tag != "O" for sentence in sentences for tag in sentence.tags)
    counts |= read.counts | _types(task, documents)
    ends = {" ".join(sentences[place].tokens[:5]) for place in (0, -1)}
    return _entities(counts, ends, sentences, documents, [("", document.title) for document in documents])


def _retagged(task: Task, sentence: TaggedSentence) -> TaggedSentence:
    """Tags of the task's types; without them where it has a single one."""
    parts = [tag.partition("-") for tag in sentence.tags]
    if len(task.types) < 2:
        return replace(sentence, tags=[letter for letter, _, _ in parts])
    tags = [f"{letter}-{task.type_of(kind)}" if kind else letter for letter, _, kind in parts]
    return replace(sentence, tags=tags)


def _as_document(task: Task, name: str, sentences: Sequence[TaggedSentence]) -> AnnotatedDocument:
    """The words joined with blanks, as the sentences' offsets count."""
    only = next(iter(task.types))
    mentions = tuple(
        Mention(start=s.starts[first], end=s.ends[last - 1], kind=kind or only, composite=False)
        for s in sentences
        for kind, first, last in entity_spans(s.tags)
    )
    text = " ".join(token for sentence in sentences for token in sentence.tokens)
    return AnnotatedDocument(pmid=name, title=text, abstract="", mentions=mentions)


def _entities(
    counts: dict[str, int],
    ends: set[str],
    sentences: Sequence[TaggedSentence],
    documents: Sequence[AnnotatedDocument],
    texts: list[tuple[str, str]],
) -> PreparedSplit:
    lengths = [len(sentence.tokens) for sentence in sentences]
    return PreparedSplit(
        counts=counts | _measured(lengths, texts),
        ends=ends,
        files={".jsonl": list(map(vars, sentences)), ".gold.jsonl": [dict(_gold_row(d)) for d in documents]},
        texts=texts,
    )


def _gold_row(document: AnnotatedDocument) -> GoldRow:
    return {
        "pmid": document.pmid,
        "title": document.title,
        "abstract": document.abstract,
        "mentions": [
            (m.start, m.end, document.text[m.start : m.end], m.kind, m.composite) for m in document.mentions
        ],
    }


def _prepare_hallmarks(documents: Sequence[HallmarkDocument]) -> PreparedSplit:
    texts = [(document.pmid, " ".join(document.sentences)) for document in documents]
    counts = {
        "documents": len(documents),
        "sentences": sum(len(document.sentences) for document in documents),
        "labels": sum(len(document.labels) for document in documents),
        "unlabelled_documents": sum(not document.labels for document in documents),
    }
    lengths = [len(WORD_PATTERN.findall(text)) for _, text in texts]
    return PreparedSplit(
        counts=counts | _measured(lengths, texts),
        ends={documents[0].pmid, documents[-1].pmid},
        files={".jsonl": list(map(vars, documents))},
        texts=texts,
    )


def _prepare_rows(task: Task, read: ReadSplit) -> PreparedSplit:
    rows: list[Row] = read.items
    texts = [(row.document if read.names else "", " ".join(row.texts)) for row in rows]
    counts = {"rows": len(rows)}
    if read.names:
        counts["documents"] = len(read.names)
    if task.negative:
        counts["positives"] = sum(row.label != task.negative for row in rows)
    if task.multi_label:
        counts["unlabelled_rows"] = sum(row.label == [] for row in rows)
    for label in task.labels:
        counts[f"rows of {label}"] = sum(
            label in row.label if isinstance(row.label, list) else label == row.label for row in rows
        )
    lengths = [len(WORD_PATTERN.findall(text)) for _, text in texts]
    return PreparedSplit(
        counts=counts | dict(sorted(read.counts.items())) | _measured(lengths, texts),
        ends={rows[0].document, rows[-1].document} if read.names else set(),
        files={".jsonl": list(map(vars, rows))},
        texts=texts,
    )


def _measured(lengths: Sequence[int], texts: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Of the inputs' lengths in words, and of the documents' texts."""
    return {
        "median_words": round(statistics.median(lengths)),
        "most_words": max(lengths),
        "repeated_texts": len(texts) - len({text for _, text in texts}),
        "dropped_characters": sum(count_dropped(text) for _, text in texts),
    }
