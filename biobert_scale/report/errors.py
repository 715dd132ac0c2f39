"""A page of a run's errors, sentence by sentence, for a person to read."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biobert_scale.errors import UserError
from biobert_scale.evaluation.entity_scores import Spans, names_of, normalised, spans_of
from biobert_scale.evaluation.prediction_files import read_labels, read_spans, read_tags
from biobert_scale.evaluation.prepared import (
    HALLMARK_TASKS,
    data_checksums,
    read_annotated,
    read_documents,
    read_sentences,
)
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers import HALLMARKS, HallmarkDocument
from biobert_scale.evaluation.records import RunMetrics
from biobert_scale.evaluation.sources import task_kinds
from biobert_scale.files import read_json, read_manifest, write_atomically
from biobert_scale.report.templates import render_page

_MOST_DOCUMENTS = 300
_FOUND = "found"
_KINDS = {
    _FOUND: "both ends agree",
    "missed": "a gold mention that no prediction touches",
    "invented": "a prediction that touches no gold mention",
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
        errors=(_label_errors if task in HALLMARK_TASKS else _entity_errors)(run, prepared, metrics, split),
        most=_MOST_DOCUMENTS,
    )
    write_atomically(output, page)
    return output


def _entity_errors(run: Path, prepared: Path, metrics: RunMetrics, split: str) -> _Errors:
    task = metrics["task"]
    documents = read_annotated(prepared, task, split)
    predicted = _predicted(run, prepared, task, split, documents)
    known = names_of(read_annotated(prepared, task, "train"))
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
        rows=[(kind, f"{counts[kind]:,}", explained) for kind, explained in _KINDS.items()],
        of_words=True,
        common={
            what: [
                (name, str(count), "yes" if name in known else "no") for name, count in found.most_common(15)
            ]
            for what, found in names.items()
        },
        legend=list(_KINDS),
        explained="Gold mentions are underlined, predictions have a coloured ground; a dagger marks a name of"
        " the training set.",
        documents=shown,
    )


def _predicted(
    run: Path, prepared: Path, task: str, split: str, documents: Sequence[AnnotatedDocument]
) -> Spans:
    """From tags, or where there are none (somebody's PubTator file was scored) from the spans themselves."""
    if not (run / "predictions.tsv").is_file():
        return read_spans(run / "predictions.pubtator", documents, task_kinds(task))[0]
    sentences = read_sentences(prepared, task, split)
    tags, _ = read_tags(run / "predictions.tsv", sentences, task_kinds(task))
    return spans_of(sentences, tags, [document.pmid for document in documents])


def _marks(document: AnnotatedDocument, predicted: Spans) -> list[_Mark]:
    """Every mention and prediction in a document, in order."""
    gold, found = {(m.start, m.end) for m in document.mentions}, predicted[document.pmid]
    marks = [_Mark(start, end, _FOUND, True) for start, end in gold & found]
    for mine, others, alone, is_gold in (
        (gold - found, found, "missed", True),
        (found - gold, gold, "invented", False),
    ):
        for start, end in mine:
            touches = any(start < other_end and other_start < end for other_start, other_end in others)
            marks.append(_Mark(start, end, "wrong boundary" if touches else alone, is_gold))
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
    documents = read_documents(prepared, split, metrics["task"])
    predicted = read_labels(run / "predictions.tsv", documents)
    shown = []
    for document, labels in zip(documents, predicted, strict=True):
        gold, found = set(document.labels), set(np.flatnonzero(labels).tolist())
        if gold != found:
            summary = [
                _Piece(HALLMARKS[label], _state(label in gold, label in found))
                for label in sorted(gold | found)
            ]
            shown.append(_Document(document.pmid, summary, _sentences(document, gold - found)))
    return _Errors(
        heading="Errors by hallmark",
        caption="Test documents",
        head=("hallmark", "tp", "fp", "fn", "F1"),
        rows=[
            (name, str(found["tp"]), str(found["fp"]), str(found["fn"]), f"{found['f1']:.1f}")
            for name, found in metrics["by_type"].items()
        ],
        of_words=False,
        legend=("found", "missed", "invented"),
        explained="Sentences that carry a missed label are underlined.",
        documents=shown,
    )


def _state(in_gold: bool, in_found: bool) -> str:
    return ("found" if in_gold else "invented") if in_found else "missed"


def _sentences(document: HallmarkDocument, missed: set[int]) -> list[list[_Piece]]:
    """Each sentence, marked where it carries a missed label."""
    shown = []
    for sentence, labels in zip(document.sentences, document.sentence_labels, strict=True):
        lost = "; ".join(HALLMARKS[label] for label in labels if label in missed)
        shown.append([_Piece(sentence, "gold missed" if lost else "", lost)])
    return shown
