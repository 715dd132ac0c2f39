"""The four benchmarks: from their original files to sentences and words, with gold in document characters.

Gold is the corpus's own mentions, kept whole beside the tags: what a sentence break or a word boundary costs is
counted and stays in the score.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_pubtator
from biobert_scale.evaluation.readers import HALLMARK_HEADER, HallmarkDocument, TaggedSentence, read_hallmarks, read_iob2
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.tagging import WORD_PATTERN, tag_document
from biobert_scale.files import MANIFEST, Manifest, begin_stage, describe_inputs, finish_stage, read_manifest, stage_key, write_atomically

SPLITS = ("train", "dev", "test")
HALLMARK_TASK = "HoC"
ENTITY_TASKS = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease")
STAGE = "benchmarks"
Documents = dict[tuple[str, str, str], dict[str, str]]
"""Rows of `documents.jsonl` by (split, PMID, text)."""


@dataclass(frozen=True, kw_only=True)
class _Corpus:
    """A PubTator corpus: its files, kinds of mention, tasks (each with its kinds), and published counts."""

    files: tuple[str, str, str]
    kinds: frozenset[str]
    tasks: dict[str, frozenset[str]]
    documents: tuple[int, int, int]
    mentions: dict[str, tuple[int, int, int]]


_NCBI_KINDS = frozenset({"SpecificDisease", "DiseaseClass", "Modifier", "CompositeMention"})
_CORPORA = (
    _Corpus(
        files=("CDR_TrainingSet.PubTator.txt", "CDR_DevelopmentSet.PubTator.txt", "CDR_TestSet.PubTator.txt"),
        kinds=frozenset({"Chemical", "Disease"}),
        tasks={"BC5CDR-chem": frozenset({"Chemical"}), "BC5CDR-disease": frozenset({"Disease"})},
        documents=(500, 500, 500),
        mentions={"BC5CDR-chem": (5203, 5347, 5385), "BC5CDR-disease": (4182, 4244, 4424)},
    ),
    _Corpus(
        files=("NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt", "NCBItestset_corpus.txt"),
        kinds=_NCBI_KINDS,
        tasks={"NCBI-disease": _NCBI_KINDS},
        documents=(592, 100, 100),
        mentions={"NCBI-disease": (5134, 787, 960)},
    ),
)
_HALLMARK_DOCUMENTS, _HALLMARK_UNLABELLED = (1295, 186, 371), (197, 22, 53)


def prepare(benchmarks: Path, output: Path, overwrite: bool = False) -> Manifest:
    """Find the benchmarks' original files, check them, and write one directory per task.

    Known are BC5CDR and NCBI-disease as PubTator files, HoC as BLURB's sentence rows, and, for an entity task whose
    original is not there, IOB2 files in a directory of the task's name. A set with the published number of documents must
    have every other published count too; other sets are recorded as they are.

    Args:
        benchmarks: a directory tree.
        output: `documents.jsonl`, every document's text for the corpus stage to leave out; `<task>/{train,dev,test}.jsonl`, for entities with `<split>.gold.jsonl`: every document's mentions as
            [start, end, text] in document characters.

    Raises:
        UserError: nothing known was found, a split is missing, a row is malformed, or splits share a document.
    """
    sources = find_sources(benchmarks)
    inputs = describe_inputs(sorted({path for paths in sources.values() for path in paths}))
    config = {"tasks": sorted(sources), "word_pattern": WORD_PATTERN.pattern}
    key = stage_key(STAGE, inputs, config)
    if done := begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return done
    counts: dict[str, Any] = {}
    documents: Documents = {}
    for task, paths in sources.items():
        if task == HALLMARK_TASK:
            counts[task] = _prepare_hallmarks(paths, output / task, documents)
        elif paths[0].suffix == ".txt":
            counts[task] = _prepare_corpus(task, paths, output / task, documents)
        else:
            counts[task] = _prepare_iob2(task, paths, output / task, documents)
    rejects = {
        "duplicate_documents": sum(
            split.get("duplicate_documents", 0) for task in counts.values() for split in task.values() if isinstance(split, dict)
        )
    }
    files = [path for task in sources for path in sorted((output / task).glob("*.jsonl"))]
    files.append(output / "documents.jsonl")
    _write_rows(files[-1], documents.values())
    return finish_stage(
        output, stage=STAGE, key=key, inputs=inputs, config=config, counts=counts, rejects=rejects, outputs=files, libraries=("sentencex",)
    )


def find_sources(benchmarks: Path) -> dict[str, tuple[Path, Path, Path]]:
    """The train, dev and test file of every task found below a directory.

    Raises:
        UserError: no such directory, nothing known in it, a split missing, or a set found twice.
    """
    if not benchmarks.is_dir():
        raise UserError("no such directory", where=benchmarks, remedy="name the directory that holds the benchmarks' original files")
    sources: dict[str, tuple[Path, Path, Path]] = {}
    for corpus in _CORPORA:
        homes = {path.parent for name in corpus.files for path in benchmarks.rglob(name)}
        for home in _only_one(homes, " and ".join(corpus.tasks)):
            sources |= dict.fromkeys(corpus.tasks, _three([home / name for name in corpus.files]))
    homes = {path.parent for path in benchmarks.rglob("train.tsv") if _first_line(path) == HALLMARK_HEADER}
    for home in _only_one(homes, HALLMARK_TASK):
        sources[HALLMARK_TASK] = _three([home / f"{split}.tsv" for split in SPLITS])
    for task in ENTITY_TASKS:
        homes = {path.parent for path in benchmarks.rglob("train.tsv") if path.parent.name == task} if task not in sources else set()
        for home in _only_one(homes, task):
            dev = home / "devel.tsv" if (home / "devel.tsv").is_file() else home / "dev.tsv"
            sources[task] = _three([home / "train.tsv", dev, home / "test.tsv"])
    if not sources:
        known = f"{_CORPORA[0].files[0]}, {_CORPORA[1].files[0]}, HoC's train.tsv, or <task>/train.tsv in IOB2 ({', '.join(ENTITY_TASKS)})"
        raise UserError("no benchmark that is known here", where=benchmarks, remedy=f"put there the original files: {known}")
    return sources


def _only_one(homes: set[Path], name: str) -> set[Path]:
    if len(homes) > 1:
        raise UserError(f"{name} is there {len(homes)} times", where=", ".join(map(str, sorted(homes))), remedy="keep one of them")
    return homes


def _three(paths: Sequence[Path]) -> tuple[Path, Path, Path]:
    for path in paths:
        if not path.is_file():
            raise UserError("a split is missing", where=path, remedy="put all three files (train, dev, test) there")
    return paths[0], paths[1], paths[2]


def _first_line(path: Path) -> str:
    with open(path, "rb") as stream:
        return stream.readline(200).decode(errors="replace").rstrip("\r\n")


def _note_document(documents: Documents, benchmark: str, split: str, pmid: str, text: str) -> None:
    """Two tasks of one corpus share their documents: each is noted once."""
    documents[split, pmid, text] = {"benchmark": benchmark, "split": split, "pmid": pmid, "text": text}


def _prepare_corpus(task: str, paths: tuple[Path, Path, Path], output: Path, texts: Documents) -> dict[str, Any]:
    corpus = next(corpus for corpus in _CORPORA if task in corpus.tasks)
    counts: dict[str, Any] = {}
    pmids: dict[str, list[str]] = {}
    for split, path in zip(SPLITS, paths, strict=True):
        documents, peculiarities = read_pubtator(path, corpus.kinds)
        pmids[split] = [document.pmid for document in documents]
        sentences: list[TaggedSentence] = []
        gold: dict[str, list[list[Any]]] = {}
        tally = Counter(documents=len(documents), duplicate_documents=0)
        tally.update(peculiarities)
        for document in documents:
            mentions = [mention for mention in document.mentions if mention.kind in corpus.tasks[task]]
            tagged, found = tag_document(document, mentions)
            sentences += tagged
            tally.update(found)
            _note_document(texts, task.partition("-")[0], split, document.pmid, document.text)
            gold[document.pmid] = [[m.start, m.end, document.text[m.start : m.end]] for m in mentions]
        _write_entities(output, split, sentences, gold)
        counts[split] = dict(sorted(tally.items()))
    _refuse_shared(task, pmids)
    found_counts = [(counts[split]["documents"], counts[split]["mentions"]) for split in SPLITS]
    expected = list(zip(corpus.documents, corpus.mentions[task], strict=True))
    return counts | {"published": _is_published(task, found_counts, expected, "mentions")}


def _prepare_iob2(task: str, paths: tuple[Path, Path, Path], output: Path, texts: Documents) -> dict[str, Any]:
    counts: dict[str, Any] = {"published": False}
    for split, path in zip(SPLITS, paths, strict=True):
        sentences = read_iob2(path)
        spans = {s.pmid: [[s.starts[a], s.ends[b - 1], " ".join(s.tokens[a:b])] for _, a, b in entity_spans(s.tags)] for s in sentences}
        _write_entities(output, split, sentences, spans)
        for sentence in sentences:  # such files tell neither documents nor PMIDs
            _note_document(texts, task.partition("-")[0], split, "", " ".join(sentence.tokens))
        mentions = sum(map(len, spans.values()))
        counts[split] = {"sentences": len(sentences), "words": sum(len(s.tokens) for s in sentences), "mentions": mentions}
    return counts


def _prepare_hallmarks(paths: tuple[Path, Path, Path], output: Path, texts: Documents) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    pmids: dict[str, list[str]] = {}
    for split, path in zip(SPLITS, paths, strict=True):
        documents = read_hallmarks(path)
        pmids[split] = [document.pmid for document in documents]
        for document in documents:
            _note_document(texts, HALLMARK_TASK, split, document.pmid, " ".join(document.sentences))
        _write_rows(output / f"{split}.jsonl", map(vars, documents))
        counts[split] = {
            "documents": len(documents),
            "sentences": sum(len(document.sentences) for document in documents),
            "labels": sum(len(document.labels) for document in documents),
            "unlabelled_documents": sum(not document.labels for document in documents),
        }
    _refuse_shared(HALLMARK_TASK, pmids)
    found = [(counts[split]["documents"], counts[split]["unlabelled_documents"]) for split in SPLITS]
    expected = list(zip(_HALLMARK_DOCUMENTS, _HALLMARK_UNLABELLED, strict=True))
    return counts | {"published": _is_published(HALLMARK_TASK, found, expected, "unlabelled documents")}


def _refuse_shared(task: str, pmids: dict[str, list[str]]) -> None:
    for index, split in enumerate(SPLITS):
        for other in SPLITS[index + 1 :]:
            if shared := sorted(set(pmids[split]) & set(pmids[other])):
                what = f"{len(shared)} documents stand in both {split} and {other}, the first being PMID {shared[0]}"
                raise UserError(what, where=task, remedy="restore the original files: such a score would be worthless")


def _is_published(task: str, found: list[tuple[int, int]], expected: list[tuple[int, int]], what: str) -> bool:
    """Whether a set is the published one, judged by its numbers of documents; its second counts must then agree."""
    if [documents for documents, _ in found] != [documents for documents, _ in expected]:
        return False
    if found != expected:
        problem = f"as many documents as published, but {[n for _, n in found]} {what} where {[n for _, n in expected]} are due"
        raise UserError(problem, where=task, remedy="restore the original files")
    return True


def _write_entities(output: Path, split: str, sentences: list[TaggedSentence], gold: dict[str, list[list[Any]]]) -> None:
    _write_rows(output / f"{split}.jsonl", map(vars, sentences))
    _write_rows(output / f"{split}.gold.jsonl", ({"pmid": pmid, "mentions": mentions} for pmid, mentions in gold.items()))


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def prepared_tasks(prepared: Path) -> list[str]:
    """The tasks that a prepared directory holds."""
    return [task for task in (*ENTITY_TASKS, HALLMARK_TASK) if task in read_manifest(prepared, STAGE).counts]


def is_published(prepared: Path, task: str) -> bool:
    """Whether a prepared task is the published set, so that published scores may stand beside one's own."""
    return bool(read_manifest(prepared, STAGE).counts[task]["published"])


def task_directory(prepared: Path, task: str) -> Path:
    """A prepared task's directory.

    Raises:
        UserError: `prepare` did not finish there, or did not find this task.
    """
    if task not in (known := prepared_tasks(prepared)):
        raise UserError(f"no task '{task}'", where=prepared / MANIFEST, remedy=f"choose one of: {', '.join(known)}")
    return prepared / task


def read_sentences(prepared: Path, task: str, split: str) -> list[TaggedSentence]:
    """The sentences of an entity task."""
    return [TaggedSentence(**row) for row in _rows(task_directory(prepared, task) / f"{split}.jsonl")]


def read_gold(prepared: Path, task: str, split: str) -> dict[str, set[tuple[int, int]]]:
    """Every document's mentions as spans of document characters, documents without one included."""
    rows = _rows(task_directory(prepared, task) / f"{split}.gold.jsonl")
    return {row["pmid"]: {(start, end) for start, end, _ in row["mentions"]} for row in rows}


def read_documents(prepared: Path, split: str) -> list[HallmarkDocument]:
    """The documents of HoC."""
    return [HallmarkDocument(**row) for row in _rows(task_directory(prepared, HALLMARK_TASK) / f"{split}.jsonl")]


def _rows(path: Path) -> list[dict[str, Any]]:
    # Splitting at "\n" alone: JSON keeps Unicode line separators inside strings.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
