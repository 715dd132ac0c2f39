"""The benchmarks: from their original files to sentences and words, with gold in document characters.

Gold is the corpus's own mentions, kept whole beside the tags: what a sentence break or a word boundary costs
is counted and stays in the score.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import (
    ENTITY_TYPES,
    HALLMARK_TASK,
    HALLMARK_TASKS,
    SPLITS,
    STAGE,
    write_rows,
)
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention, read_pubtator
from biobert_scale.evaluation.readers import TaggedSentence, read_hallmarks, read_iob2
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.sources import (
    CORPORA,
    HALLMARK_DOCUMENTS,
    HALLMARK_ENDS,
    HALLMARK_UNLABELLED,
    IOB2_ENDS,
    IOB2_MENTIONS,
    IOB2_SENTENCES,
    find_sources,
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
        duplicates = [
            split.get("duplicate_documents", 0)
            for task in counts.values()
            for split in task.values()
            if isinstance(split, dict)
        ]
        rejects = {"duplicate_documents": sum(duplicates)}
        files = [path for task in sources for path in sorted((output / task).glob("*.jsonl"))]
        files.append(output / "documents.jsonl")
        write_rows(files[-1], documents.values())
        return stage.finish(
            counts=counts,
            rejects=rejects,
            outputs=files,
            libraries=("sentencex",),
        )


def _prepare_all(
    sources: dict[str, tuple[Path, Path, Path]], output: Path
) -> tuple[dict[str, Any], Documents]:
    counts: dict[str, Any] = {}
    documents: Documents = {}
    for task, paths in sources.items():
        if task in HALLMARK_TASKS:
            counts[task] = _prepare_hallmarks(task, paths, output / task, documents)
        elif paths[0].suffix == ".txt":
            counts[task] = _prepare_corpus(task, paths, output / task, documents)
        else:
            counts[task] = _prepare_iob2(task, paths, output / task, documents)
    return counts, documents


def _note_document(documents: Documents, benchmark: str, split: str, pmid: str, text: str) -> None:
    """Two tasks of one corpus share their documents: each is noted once."""
    documents[split, pmid, text] = {"benchmark": benchmark, "split": split, "pmid": pmid, "text": text}


def _prepare_corpus(
    task: str, paths: tuple[Path, Path, Path], output: Path, texts: Documents
) -> dict[str, Any]:
    corpus = next(corpus for corpus in CORPORA if task in corpus.tasks)
    counts: dict[str, Any] = {}
    pmids: dict[str, list[str]] = {}
    for split, path in zip(SPLITS, paths, strict=True):
        kinds = corpus.tasks[task]
        documents, peculiarities = read_pubtator(path, kinds, corpus.kinds - kinds)
        pmids[split] = [document.pmid for document in documents]
        sentences: list[TaggedSentence] = []
        tally = Counter(documents=len(documents), duplicate_documents=0)
        tally.update(peculiarities)
        for document in documents:
            tagged, found = tag_document(document, document.mentions)
            sentences += tagged
            tally.update(found)
            _note_document(texts, task.partition("-")[0], split, document.pmid, document.text)
        _write_entities(output, split, sentences, documents)
        counts[split] = dict(sorted(tally.items()))
    _refuse_shared(task, pmids)
    found_counts = [(counts[split]["documents"], counts[split]["mentions"]) for split in SPLITS]
    expected = list(zip(corpus.documents, corpus.mentions[task], strict=True))
    known = any({found[0], found[-1]} & corpus.ends for found in pmids.values())
    return counts | {"published": _is_published(task, found_counts, expected, "mentions", known=known)}


def _prepare_iob2(
    task: str, paths: tuple[Path, Path, Path], output: Path, texts: Documents
) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    known = False
    for split, path in zip(SPLITS, paths, strict=True):
        sentences = read_iob2(path, task_kinds(task))
        known |= any(
            " ".join(sentence.tokens[:5]) in IOB2_ENDS[task] for sentence in (sentences[0], sentences[-1])
        )
        gold = [_sentence_as_document(sentence, ENTITY_TYPES[task]) for sentence in sentences]
        _write_entities(output, split, sentences, gold)
        for document in gold:  # such files name neither documents nor PMIDs
            _note_document(texts, task.partition("-")[0], split, "", document.title)
        mentions = sum(len(document.mentions) for document in gold)
        counts[split] = {
            "sentences": len(sentences),
            "words": sum(len(s.tokens) for s in sentences),
            "mentions": mentions,
        }
    found = [(counts[split]["sentences"], counts[split]["mentions"]) for split in SPLITS]
    expected = list(zip(IOB2_SENTENCES[task], IOB2_MENTIONS[task], strict=True))
    return counts | {"published": _is_published(task, found, expected, "mentions", known=known)}


def _sentence_as_document(sentence: TaggedSentence, kind: str) -> AnnotatedDocument:
    spans = [
        (sentence.starts[first], sentence.ends[last - 1]) for _, first, last in entity_spans(sentence.tags)
    ]
    mentions = tuple(Mention(start=start, end=end, kind=kind, composite=False) for start, end in spans)
    return AnnotatedDocument(
        pmid=sentence.pmid, title=" ".join(sentence.tokens), abstract="", mentions=mentions
    )


def _prepare_hallmarks(
    task: str, paths: tuple[Path, Path, Path], output: Path, texts: Documents
) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    pmids: dict[str, list[str]] = {}
    for split, path in zip(SPLITS, paths, strict=True):
        documents = read_hallmarks(path)
        pmids[split] = [document.pmid for document in documents]
        for document in documents:
            _note_document(texts, task, split, document.pmid, " ".join(document.sentences))
        write_rows(output / f"{split}.jsonl", map(vars, documents))
        counts[split] = {
            "documents": len(documents),
            "sentences": sum(len(document.sentences) for document in documents),
            "labels": sum(len(document.labels) for document in documents),
            "unlabelled_documents": sum(not document.labels for document in documents),
        }
    _refuse_shared(task, pmids)
    found = [(counts[split]["documents"], counts[split]["unlabelled_documents"]) for split in SPLITS]
    expected = list(zip(HALLMARK_DOCUMENTS[task], HALLMARK_UNLABELLED[task], strict=True))
    known = task == HALLMARK_TASK and any({found[0], found[-1]} & HALLMARK_ENDS for found in pmids.values())
    return counts | {"published": _is_published(task, found, expected, "unlabelled documents", known=known)}


def _refuse_shared(task: str, pmids: dict[str, list[str]]) -> None:
    for index, split in enumerate(SPLITS):
        for other in SPLITS[index + 1 :]:
            if shared := sorted(set(pmids[split]) & set(pmids[other])):
                what = (
                    f"{len(shared)} documents stand in both {split} and {other}, the first being PMID"
                    f" {shared[0]}"
                )
                raise UserError(
                    what, where=task, remedy="restore the original files: such a score would be worthless"
                )


def _is_published(
    task: str, found: list[tuple[int, int]], expected: list[tuple[int, int]], what: str, *, known: bool
) -> bool:
    """Whether a set is the published one, judged by its ends or its numbers of documents; all counts must
    then agree."""
    if not known and [documents for documents, _ in found] != [documents for documents, _ in expected]:
        return False
    for split, (documents, others), (due, others_due) in zip(SPLITS, found, expected, strict=True):
        if (documents, others) != (due, others_due):
            problem = (
                f"{documents:,} documents (or sentences) with {others:,} {what} in {split}, where the"
                f" published set has {due:,} with {others_due:,}"
            )
            raise UserError(
                problem, where=task, remedy="restore the original files: they are damaged or not all there"
            )
    return True


def _write_entities(
    output: Path, split: str, sentences: list[TaggedSentence], gold: list[AnnotatedDocument]
) -> None:
    write_rows(output / f"{split}.jsonl", map(vars, sentences))
    write_rows(output / f"{split}.gold.jsonl", map(_gold_row, gold))


def _gold_row(document: AnnotatedDocument) -> dict[str, Any]:
    mentions = [
        [m.start, m.end, document.text[m.start : m.end], m.kind, m.composite] for m in document.mentions
    ]
    return {
        "pmid": document.pmid,
        "title": document.title,
        "abstract": document.abstract,
        "mentions": mentions,
    }
