"""What of a split the training set has, too: such a part of a score says little of new texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence, Set
from pathlib import Path

from biobert_scale.evaluation.entity_scores import mention_names, normalised
from biobert_scale.evaluation.prepared import Row, read_annotated, read_rows, read_sentences, task_of
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.records import Overlap, Shared
from biobert_scale.evaluation.tasks.spec import Task


def overlap_with_train(prepared: Path, task: str, split: str, *, trained_on: str = "") -> Overlap:
    """Count the texts of a split that are in train, word by word, capitals ignored.

    Args:
        trained_on: the task whose training set it is (default: the same one).

    Returns:
        Nothing for train itself.
    """
    source = trained_on or task
    if split == "train" and source == task:
        return {}
    spec, origin = task_of(prepared, task), task_of(prepared, source)
    if spec.kind != "entities":
        return _of_rows(read_rows(prepared, spec, split), read_rows(prepared, origin, "train"))
    documents, trained = read_annotated(prepared, task, split), read_annotated(prepared, source, "train")
    names, known = mention_names(documents), set(mention_names(trained))
    return {
        "documents": _shared(_texts(documents), _texts(trained)),
        "sentences": _shared(_sentences(prepared, spec, split), _sentences(prepared, origin, "train")),
        "mentions": _shared(names, known),
        "names": _shared(set(names), known),
    }


def _of_rows(rows: Sequence[Row], trained: Sequence[Row]) -> Overlap:
    kept, known = list(map(_key, rows)), set(map(_key, trained))
    found = {"rows": _shared(kept, known)}
    documents = _row_documents(rows)
    if len(documents) < len(kept):
        found["documents"] = _shared(documents, set(_row_documents(trained)))
    return found


def _row_documents(rows: Iterable[Row]) -> list[tuple[Hashable, ...]]:
    texts: dict[str, list[Hashable]] = defaultdict(list)
    for row in rows:
        texts[row.document].append(_key(row))
    return list(map(tuple, texts.values()))


def _key(row: Row) -> Hashable:
    return tuple(map(normalised, row.texts))


def _texts(documents: Iterable[AnnotatedDocument]) -> list[str]:
    return [normalised(document.text) for document in documents]


def _sentences(prepared: Path, task: Task, split: str) -> list[str]:
    return [normalised(" ".join(each.tokens)) for each in read_sentences(prepared, task.name, split)]


def _shared(items: Iterable[Hashable], known: Iterable[Hashable]) -> Shared:
    found, trained = list(items), known if isinstance(known, Set) else set(known)
    return {"in_train": sum(item in trained for item in found), "total": len(found)}
