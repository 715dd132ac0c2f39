"""The benchmarks: from their original files to sentences and words, with gold in document characters.

Gold is the corpus's own mentions, kept whole beside the tags: what a sentence break or a word boundary costs
is counted and stays in the score.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import NamedTuple, TypedDict

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import (
    ENTITY_TYPES,
    HALLMARK_TASKS,
    SPLITS,
    STAGE,
    GoldRow,
    write_rows,
)
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention, read_pubtator
from biobert_scale.evaluation.readers import TaggedSentence, read_hallmarks, read_iob2
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.sources import (
    PublishedSet,
    corpus_of,
    find_sources,
    published_set,
    task_kinds,
)
from biobert_scale.evaluation.tagging import WORD_PATTERN, tag_document
from biobert_scale.files import Manifest, describe_inputs
from biobert_scale.stage import Stage

Documents = dict[tuple[str, str, str], dict[str, str]]
"""Rows of `documents.jsonl` by (split, PMID, text)."""


def prepare(benchmarks: Path, output: Path, overwrite: bool = False) -> Manifest:
    """Find the benchmarks' original files, check them, and write one directory per task.

    Known are BC5CDR and NCBI-disease as PubTator files, HoC as BLURB's or BLUE's sentence rows, and, for an
    entity task whose original is not there, IOB2 files in a directory of the task's name. A set that begins
    or ends as the published one does, or has as many documents, must have every published count; other sets
    (made-up ones) are recorded as they are, and no published score is put beside theirs.

    Args:
        benchmarks: a directory tree.
        output: `documents.jsonl`, every document's text for the corpus stage to leave out;
            `<task>/{train,dev,test}.jsonl`, for entities with `<split>.gold.jsonl`: every document's text,
            and its mentions as [start, end, text, kind, composite] in document characters.

    Raises:
        UserError: nothing known was found, a split is missing, a row is malformed, or splits share a
            document.
    """
    sources = find_sources(benchmarks)
    inputs = describe_inputs(sorted({path for paths in sources.values() for path in paths}))
    config = {"tasks": sorted(sources), "word_pattern": WORD_PATTERN.pattern, "format": 3}
    with Stage(output, STAGE, inputs=inputs, config=config, overwrite=overwrite, reads=[benchmarks]) as stage:
        if stage.finished is not None:
            return stage.finished
        try:
            counts, documents = _prepare_all(sources, output)
        except UserError:
            stage.discard()  # nothing of it is of use, and the corrected files are other inputs
            raise
        duplicates = (
            split.get("duplicate_documents", 0)
            for task in counts.values()
            for split in (task["train"], task["dev"], task["test"])
        )
        rejects = {"duplicate_documents": sum(duplicates)}
        files = [path for task in sources for path in sorted((output / task).glob("*.jsonl"))]
        files.append(output / "documents.jsonl")
        write_rows(files[-1], documents.values())
        return stage.finish(counts=counts, rejects=rejects, outputs=files, libraries=("sentencex",))


class TaskCounts(TypedDict):
    """What was counted of a task in each split, and whether it is the published set."""

    train: dict[str, int]
    dev: dict[str, int]
    test: dict[str, int]
    published: bool


class _Split(NamedTuple):
    """What one file gave."""

    counts: dict[str, int]
    pmids: list[str]
    """None of IOB2 files, which name no documents."""
    ends: set[str]
    """How its first and last documents, or sentences, are recognised."""


def _prepare_all(
    sources: dict[str, tuple[Path, Path, Path]], output: Path
) -> tuple[dict[str, TaskCounts], Documents]:
    counts: dict[str, TaskCounts] = {}
    documents: Documents = {}
    for task, paths in sources.items():
        if task in HALLMARK_TASKS:
            prepare_split, published = _prepare_hallmarks, published_set(task, "original")
        elif paths[0].suffix == ".txt":
            prepare_split, published = _prepare_corpus, published_set(task, "original")
        else:
            prepare_split, published = _prepare_iob2, published_set(task, "iob2")
        train, dev, test = splits = [
            prepare_split(task, split, path, output / task, documents)
            for split, path in zip(SPLITS, paths, strict=True)
        ]
        _refuse_shared(task, [split.pmids for split in splits])
        counts[task] = {
            "train": train.counts,
            "dev": dev.counts,
            "test": test.counts,
            "published": _is_published(task, splits, published),
        }
    return counts, documents


def _note_document(documents: Documents, task: str, split: str, pmid: str, text: str) -> None:
    """Two tasks of one corpus share their documents: each is noted once."""
    benchmark = task if task in HALLMARK_TASKS else task.partition("-")[0]
    documents[split, pmid, text] = {"benchmark": benchmark, "split": split, "pmid": pmid, "text": text}


def _prepare_corpus(task: str, split: str, path: Path, output: Path, texts: Documents) -> _Split:
    corpus = corpus_of(task)
    kinds = corpus.tasks[task]
    documents, peculiarities = read_pubtator(path, kinds, corpus.kinds - kinds)
    pmids = [document.pmid for document in documents]
    sentences: list[TaggedSentence] = []
    tally = Counter(documents=len(documents), duplicate_documents=0)
    tally.update(peculiarities)
    for document in documents:
        tagged, found = tag_document(document, document.mentions)
        sentences += tagged
        tally.update(found)
        _note_document(texts, task, split, document.pmid, document.text)
    _write_entities(output, split, sentences, documents)
    return _Split(dict(sorted(tally.items())), pmids, {pmids[0], pmids[-1]})


def _prepare_iob2(task: str, split: str, path: Path, output: Path, texts: Documents) -> _Split:
    sentences = read_iob2(path, task_kinds(task))
    gold = [_sentence_as_document(sentence, ENTITY_TYPES[task]) for sentence in sentences]
    _write_entities(output, split, sentences, gold)
    for document in gold:
        _note_document(texts, task, split, "", document.title)
    counts = {
        "sentences": len(sentences),
        "words": sum(len(sentence.tokens) for sentence in sentences),
        "mentions": sum(len(document.mentions) for document in gold),
    }
    return _Split(counts, [], {" ".join(sentences[place].tokens[:5]) for place in (0, -1)})


def _sentence_as_document(sentence: TaggedSentence, kind: str) -> AnnotatedDocument:
    spans = [
        (sentence.starts[first], sentence.ends[last - 1]) for _, first, last in entity_spans(sentence.tags)
    ]
    mentions = tuple(Mention(start=start, end=end, kind=kind, composite=False) for start, end in spans)
    return AnnotatedDocument(
        pmid=sentence.pmid, title=" ".join(sentence.tokens), abstract="", mentions=mentions
    )


def _prepare_hallmarks(task: str, split: str, path: Path, output: Path, texts: Documents) -> _Split:
    documents = read_hallmarks(path)
    pmids = [document.pmid for document in documents]
    for document in documents:
        _note_document(texts, task, split, document.pmid, " ".join(document.sentences))
    write_rows(output / f"{split}.jsonl", map(vars, documents))
    counts = {
        "documents": len(documents),
        "sentences": sum(len(document.sentences) for document in documents),
        "labels": sum(len(document.labels) for document in documents),
        "unlabelled_documents": sum(not document.labels for document in documents),
    }
    return _Split(counts, pmids, {pmids[0], pmids[-1]})


def _refuse_shared(task: str, pmids: list[list[str]]) -> None:
    for (split, ours), (other, theirs) in itertools.combinations(zip(SPLITS, pmids, strict=True), 2):
        if shared := sorted(set(ours) & set(theirs)):
            raise UserError(
                f"{len(shared)} documents are in both {split} and {other}, the first being PMID {shared[0]}",
                where=task,
                remedy="restore the original files: such a score would be worthless",
            )


def _is_published(task: str, splits: list[_Split], published: PublishedSet) -> bool:
    """Whether a set is the published one, judged by its ends or its numbers of documents; all counts must
    then agree."""
    found = [(split.counts[published.unit], split.counts[published.what]) for split in splits]
    known = any(split.ends.intersection(published.ends) for split in splits)
    if not known and [documents for documents, _ in found] != published.documents:
        return False
    expected = zip(published.documents, published.others, strict=True)
    for split, (documents, others), (due, others_due) in zip(SPLITS, found, expected, strict=True):
        if (documents, others) != (due, others_due):
            what = published.what.replace("_", " ")
            raise UserError(
                f"{documents:,} documents (or sentences) with {others:,} {what} in {split}, where the"
                f" published set has {due:,} with {others_due:,}",
                where=task,
                remedy="restore the original files: they are damaged or not all there",
            )
    return True


def _write_entities(
    output: Path, split: str, sentences: list[TaggedSentence], gold: list[AnnotatedDocument]
) -> None:
    write_rows(output / f"{split}.jsonl", map(vars, sentences))
    write_rows(output / f"{split}.gold.jsonl", map(_gold_row, gold))


def _gold_row(document: AnnotatedDocument) -> GoldRow:
    return {
        "pmid": document.pmid,
        "title": document.title,
        "abstract": document.abstract,
        "mentions": [
            (m.start, m.end, document.text[m.start : m.end], m.kind, m.composite) for m in document.mentions
        ],
    }
