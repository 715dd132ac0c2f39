"""A page of a run's errors, sentence by sentence, for a person to read."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biobert_scale.errors import UserError
from biobert_scale.evaluation.cross_corpus import keep_types
from biobert_scale.evaluation.entity_scores import Spans, names_of, normalised, spans_of
from biobert_scale.evaluation.metrics.entities import types_of
from biobert_scale.evaluation.prediction_files import read_answers, read_spans, read_tags
from biobert_scale.evaluation.prepared import (
    Row,
    data_checksums,
    gold_spans,
    is_typed,
    read_annotated,
    read_rows,
    read_sentences,
    task_of,
    type_names,
)
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.records import RunMetrics
from biobert_scale.evaluation.sequence_scores import gold_of
from biobert_scale.evaluation.tasks.spec import Kind, Task
from biobert_scale.files import read_json, read_manifest, write_atomically
from biobert_scale.report.templates import render_page

_MOST_DOCUMENTS = 300
_FOUND, _WRONG_TYPE = "found", "wrong type"
_KINDS = {
    _FOUND: "both ends agree",
    "missed": "a gold mention that no prediction touches",
    "invented": "a prediction that touches no gold mention",
    _WRONG_TYPE: "a prediction with a gold mention's ends and another type; the two count one each",
    "wrong boundary": (
        "a prediction that shares characters with a gold mention, but not both ends; the two count one each"
    ),
}


class _Piece(NamedTuple):
    """A stretch of text, marked where it has classes of the page's style."""

    text: str
    classes: str = ""
    title: str = ""


class _Mark(NamedTuple):
    """A mention or prediction in a document; one that is both is there once, as gold."""

    start: int
    end: int
    kind: str
    is_gold: bool


class _Document(NamedTuple):
    """A document with errors: its labels where it is classified as a whole, and its text or sentences."""

    heading: str
    labels: list[_Piece]
    texts: list[list[_Piece]]


@dataclass(frozen=True, kw_only=True)
class _Errors:
    """What the template `errors.html` shows."""

    heading: str
    caption: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    of_words: bool
    """The rows hold words, not numbers."""
    common: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    """The names most often missed and invented."""
    legend: Sequence[str]
    explained: str
    documents: list[_Document]


def write_errors(run: Path, prepared: Path, output: Path) -> Path:
    """Write the errors of a finished run as one self-contained HTML page; the first few hundred sentences or
    documents with any.

    Args:
        run: a directory that `finetune`, `predict`, `score` or `run_baselines` wrote.
        prepared: the data that it was scored on.

    Raises:
        UserError: no finished run, or other data.
    """
    metrics: RunMetrics = read_json(run / "metrics.json")
    read_manifest(prepared)
    task, split = metrics["task"], metrics.get("split", "test")
    if metrics["data"] != data_checksums(prepared, task):
        remedy = "name the directory that it was scored on"
        raise UserError("the run was scored on other data", where=prepared, remedy=remedy)
    title = f"{task}: errors of {metrics['model']}"
    seed = "" if metrics["seed"] is None else f", seed {metrics['seed']}"
    page = render_page(
        "errors.html",
        date=datetime.date.today(),
        title=title,
        name=title,
        description=f"{metrics['kind']}{seed}; {metrics['protocol']}, {split} split;"
        f" {metrics['score_name']} {metrics['score']:.2f}",
        errors=_PAGES.get(task_of(prepared, task).kind, _label_errors)(run, prepared, metrics, split),
        most=_MOST_DOCUMENTS,
    )
    write_atomically(output, page)
    return output


def _entity_errors(run: Path, prepared: Path, metrics: RunMetrics, split: str) -> _Errors:
    task = task_of(prepared, metrics["task"])
    documents, sentences = (
        read_annotated(prepared, task.name, split),
        read_sentences(prepared, task.name, split),
    )
    if unscored := metrics.get("unscored_mentions"):
        sentences, documents, _ = keep_types(sentences, documents, task.types.keys() - unscored.keys())
    predicted = _predicted(run, task, sentences, documents)
    known = names_of(read_annotated(prepared, task.name, "train"))
    kinds = [kind for kind in _KINDS if kind != _WRONG_TYPE or is_typed(task)]
    counts: Counter[str] = Counter()
    names: dict[str, Counter[str]] = {"missed": Counter(), "invented": Counter()}
    shown = []
    for document in documents:
        marks = _marks(document, predicted)
        counts.update(mark.kind for mark in marks)
        wrong = [mark for mark in marks if mark.kind != _FOUND]
        for mark in wrong:
            name = normalised(document.text[mark.start : mark.end])
            names["missed" if mark.is_gold else "invented"][name] += 1
        if wrong:
            pieces = _pieces(document.text, marks, known)
            shown.append(_Document(f"{document.pmid} ({len(wrong)})", [], [pieces]))
    return _Errors(
        heading="Errors by kind",
        caption="Mentions and predictions",
        head=("kind", "count", "what it is"),
        rows=[(kind, f"{counts[kind]:,}", _KINDS[kind]) for kind in kinds],
        of_words=True,
        common={
            what: [
                (name, str(count), "yes" if name in known else "no") for name, count in found.most_common(15)
            ]
            for what, found in names.items()
        },
        legend=kinds,
        explained="Gold mentions are underlined, predictions have a coloured ground; a dagger marks a name of"
        " the training set.",
        documents=shown,
    )


def _predicted(
    run: Path, task: Task, sentences: Sequence[TaggedSentence], documents: Sequence[AnnotatedDocument]
) -> Spans:
    """From tags, or where there are none (somebody's PubTator file was scored) from the spans themselves."""
    if not (run / "predictions.tsv").is_file():
        path = run / "predictions.pubtator"
        return read_spans(path, documents, task.known_types, type_names(task))[0]
    tags, _ = read_tags(run / "predictions.tsv", sentences, task.known_types, type_names(task))
    pmids = [document.pmid for document in documents]
    return spans_of(sentences, tags, pmids, typed=is_typed(task))


def _marks(document: AnnotatedDocument, predicted: Spans) -> list[_Mark]:
    """Every mention and prediction in a document, in order."""
    gold = gold_spans([document], typed=bool(types_of(predicted)))[document.pmid]
    found = predicted[document.pmid]
    marks = [_Mark(*span[:2], _FOUND, True) for span in gold & found]
    for mine, others, alone, is_gold in (
        (gold - found, found, "missed", True),
        (found - gold, gold, "invented", False),
    ):
        for start, end, *_ in mine:
            touches = any(start < other[1] and other[0] < end for other in others)
            same = any((start, end) == other[:2] for other in others)
            kind = _WRONG_TYPE if same else "wrong boundary" if touches else alone
            marks.append(_Mark(start, end, kind, is_gold))
    return sorted(marks)


def _pieces(text: str, marks: Sequence[_Mark], known: set[str]) -> list[_Piece]:
    """A document's text, cut at every end of a mark: marks may overlap."""
    cuts = sorted({0, len(text), *(place for mark in marks for place in (mark.start, mark.end))})
    pieces = []
    for start, end in itertools.pairwise(cuts):
        over = [mark for mark in marks if mark.start <= start and end <= mark.end]
        classes = {mark.kind.replace(" ", "-") for mark in over}
        classes |= {"gold" for mark in over if mark.is_gold}
        classes |= {"predicted" for mark in over if not mark.is_gold or mark.kind == _FOUND}
        title = "; ".join(
            f"{'gold' if mark.is_gold else 'predicted'}: {text[mark.start : mark.end]} ({mark.kind})"
            for mark in over
        )
        ended = [text[mark.start : end] for mark in over if mark.is_gold and mark.end == end]
        dagger = "†" if any(normalised(name) in known for name in ended) else ""
        pieces.append(_Piece(text[start:end] + dagger, " ".join(sorted(classes)), title))
    return pieces


def _label_errors(run: Path, prepared: Path, metrics: RunMetrics, split: str) -> _Errors:
    task = task_of(prepared, metrics["task"])
    rows, parts = (read_rows(prepared, task, split, by_sentence=each) for each in (False, True))
    predicted = read_answers(run / "predictions.tsv", task, rows)
    shown = []
    for row, gold, found in zip(rows, gold_of(task, rows), predicted, strict=True):
        if (gold != found).any():
            summary = [
                _Piece(task.labels[label], _state(gold[label], found[label]))
                for label in np.flatnonzero(gold | found)
            ]
            missed = {task.labels[label] for label in np.flatnonzero(gold & ~found)}
            texts = [_marked(part, missed) for part in parts if part.id == row.id]
            shown.append(_Document(row.id, summary, texts))
    return _Errors(
        heading="Errors by label",
        caption=f"Rows of {split}",
        head=("label", "tp", "fp", "fn", "F1"),
        rows=[
            (name, str(found["tp"]), str(found["fp"]), str(found["fn"]), f"{found['f1']:.1f}")
            for name, found in metrics["by_type"].items()
        ],
        of_words=False,
        legend=("found", "missed", "invented"),
        explained="Texts that carry a missed label are underlined.",
        documents=shown,
    )


def _state(in_gold: bool, in_found: bool) -> str:
    return ("found" if in_gold else "invented") if in_found else "missed"


def _marked(row: Row, missed: set[str]) -> list[_Piece]:
    """A row's text, marked where it carries a missed label."""
    labels = row.label if isinstance(row.label, list) else [str(row.label)]
    lost = "; ".join(label for label in labels if label in missed)
    return [_Piece(" / ".join(row.texts), "gold missed" if lost else "", lost)]


def _number_errors(run: Path, prepared: Path, metrics: RunMetrics, split: str) -> _Errors:
    task = task_of(prepared, metrics["task"])
    rows = read_rows(prepared, task, split)
    predicted = read_answers(run / "predictions.tsv", task, rows)
    order = np.argsort(-np.abs(predicted - gold_of(task, rows)), kind="stable")
    answers = [
        (rows[place], f"gold {rows[place].label:g}, predicted {predicted[place]:.2f}") for place in order
    ]
    return _Errors(
        heading="Scores by length",
        caption="Words of both texts",
        head=("words", "rows", "Pearson correlation"),
        rows=[
            (name, str(found["documents"]), f"{found['pearson']:.1f}")
            for name, found in metrics["by_length"].items()
        ],
        of_words=False,
        legend=(),
        explained="The largest differences first.",
        documents=[
            _Document(row.id, [_Piece(answer)], [[_Piece(text)] for text in row.texts])
            for row, answer in answers
        ],
    )


_PAGES: dict[Kind, Callable[[Path, Path, RunMetrics, str], _Errors]] = {
    "entities": _entity_errors,
    "similarity": _number_errors,
}
