"""What `prepare` wrote, read again: sentences and documents with their gold, and which set they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, get_args

from biobert_scale.errors import UserError
from biobert_scale.evaluation.metrics.entities import Span, span_of
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention
from biobert_scale.evaluation.readers import HallmarkDocument, TaggedSentence
from biobert_scale.evaluation.tasks.spec import SPLITS as SPLITS
from biobert_scale.evaluation.tasks.spec import Kind, Task, known_tasks, read_task
from biobert_scale.files import MANIFEST, read_manifest, write_atomically

STAGE = "benchmarks"
TASK_FILE = "task.toml"
"""Beside a task's prepared files: what it is, where it is none of the package's own."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which tables have them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text, or two, and what is to be predicted of it."""

    id: str
    document: str
    """What splits do not share, and what the bootstrap draws: rows of one document are no independent
    observations."""
    texts: list[str]
    label: str | list[str] | float
    """A label, any number of labels, or a number."""


class GoldRow(TypedDict):
    """A line of `<split>.gold.jsonl`."""

    pmid: str
    title: str
    abstract: str
    mentions: list[tuple[int, int, str, str, bool]]
    """(start, end, text, kind, whether it is composite), in document characters."""


def prepared_tasks(prepared: Path) -> list[str]:
    """The tasks that a prepared directory holds, kind by kind."""
    names = sorted(read_manifest(prepared, STAGE).counts)
    return sorted(names, key=lambda name: KINDS.index(task_of(prepared, name).kind))


def task_of(prepared: Path, name: str) -> Task:
    """What a prepared task is: as the file beside its data says, or else the package's own of that name.

    Raises:
        UserError: see `task_directory` and `read_task`.
    """
    own = task_directory(prepared, name) / TASK_FILE
    return read_task(own) if own.is_file() else known_tasks()[name]


def is_published(prepared: Path, task: str) -> bool:
    """Whether a prepared task is the published set, so that published scores may stand beside one's own."""
    return bool(read_manifest(prepared, STAGE).counts[task]["published"])


def why_not_comparable(prepared: Path, task: str) -> str:
    """Why scores on a prepared task compare with no published ones; empty where they do."""
    counts = read_manifest(prepared, STAGE).counts[task]
    return "" if counts["published"] else str(counts.get("not_comparable", "not the published set"))


def is_typed(task: Task) -> bool:
    """Whether an entity task's tags and spans name their types: where it has several."""
    return len(task.types) > 1


def type_names(task: Task) -> dict[str, str]:
    """The names that files may give to a task's types, in small letters, with those types; none where it has
    one alone."""
    if not is_typed(task):
        return {}
    return {name.casefold(): kind for kind, names in task.types.items() for name in (*names, kind)}


def task_directory(prepared: Path, task: str) -> Path:
    """A prepared task's directory.

    Raises:
        UserError: `prepare` did not finish there, or did not find this task.
    """
    if task not in (known := read_manifest(prepared, STAGE).counts):
        remedy = f"choose one of: {', '.join(known)}"
        raise UserError(f"no task '{task}'", where=prepared / MANIFEST, remedy=remedy)
    return prepared / task


def read_sentences(prepared: Path, task: str, split: str) -> list[TaggedSentence]:
    """The sentences of an entity task."""
    return [TaggedSentence(**row) for row in _rows(task_directory(prepared, task) / f"{split}.jsonl")]


def read_annotated(prepared: Path, task: str, split: str) -> list[AnnotatedDocument]:
    """The documents of an entity task with the corpus's own mentions."""
    documents = []
    for row in _rows(task_directory(prepared, task) / f"{split}.gold.jsonl"):
        mentions = tuple(
            Mention(start=start, end=end, kind=kind, composite=composite)
            for start, end, _, kind, composite in row.pop("mentions")
        )
        documents.append(AnnotatedDocument(**row, mentions=mentions))
    return documents


def read_gold(prepared: Path, task: str, split: str) -> dict[str, set[Span]]:
    """Every document's mentions as spans of document characters, documents without one included."""
    return gold_spans(read_annotated(prepared, task, split))


def gold_spans(documents: Iterable[AnnotatedDocument], *, typed: bool = False) -> dict[str, set[Span]]:
    """PMID to the spans of a document's mentions; `typed`: with their kinds, of a task of several types."""
    return {
        document.pmid: {span_of(m.start, m.end, m.kind if typed else "") for m in document.mentions}
        for document in documents
    }


def read_rows(prepared: Path, task: Task, split: str, *, by_sentence: bool = False) -> list[Row]:
    """The rows of a task of any kind but entities.

    Args:
        by_sentence: where the file has documents as sentences, a row for each of them with its own labels,
            all under the document's name.
    """
    found = _rows(task_directory(prepared, task.name) / f"{split}.jsonl")
    if found and "sentences" in found[0]:
        documents = [HallmarkDocument(**row) for row in found]
        return [row for document in documents for row in _document_rows(document, task.labels, by_sentence)]
    return [Row(**row) for row in found]


def _document_rows(document: HallmarkDocument, names: tuple[str, ...], by_sentence: bool) -> list[Row]:
    texts, labels = [" ".join(document.sentences)], [document.labels]
    if by_sentence:
        texts, labels = document.sentences, document.sentence_labels
    return [
        Row(
            id=document.pmid,
            document=document.pmid,
            texts=[text],
            label=[names[number] for number in numbers],
        )
        for text, numbers in zip(texts, labels, strict=True)
    ]


def data_checksums(prepared: Path, task: str) -> dict[str, str]:
    """SHA-256 of each of a task's prepared files."""
    outputs = read_manifest(prepared).outputs
    return {Path(name).name: digest for name, digest in outputs.items() if Path(name).parent.name == task}


def _rows(path: Path) -> list[dict[str, Any]]:
    # Splitting at "\n" alone: JSON keeps Unicode line separators inside strings.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as lines of JSON."""
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
