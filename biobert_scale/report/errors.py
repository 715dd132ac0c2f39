"""A page of a run's errors, sentence by sentence, for a person to read."""

from __future__ import annotations

import datetime
import itertools
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from biobert_scale import __version__
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
from biobert_scale.evaluation.readers import HALLMARKS, TaggedSentence
from biobert_scale.evaluation.sources import task_kinds
from biobert_scale.files import read_json, read_manifest, write_atomically
from biobert_scale.report.markup import Html, details, element, join, markup, paragraph, section, table

_MOST_ITEMS = 300
_KINDS = {
    "missed": "a gold mention that no prediction touches",
    "invented": "a prediction that touches no gold mention",
    "wrong boundary": (
        "a prediction that shares characters with a gold mention, but not both ends; the two count one each"
    ),
}
_FOUND = "found"


def write_errors(run: Path, prepared: Path, output: Path) -> Path:
    """Write the errors of a finished run as one self-contained HTML page; the first few hundred sentences or
    documents with any.

    Args:
        run: a directory that `finetune`, `predict`, `score` or `run_baselines` wrote.
        prepared: the data that it was scored on.

    Raises:
        UserError: no finished run, or other data.
    """
    metrics = read_json(run / "metrics.json")
    read_manifest(prepared)
    if metrics["data"] != data_checksums(prepared, metrics["task"]):
        raise UserError(
            "the run was scored on other data",
            where=prepared,
            remedy="name the directory that it was scored on",
        )
    body = (
        _documents(run, prepared, metrics)
        if metrics["task"] in HALLMARK_TASKS
        else _entities(run, prepared, metrics)
    )
    template = (resources.files("biobert_scale.report") / "page.html").read_text(encoding="utf-8")
    title = f"{metrics['task']}: errors of {metrics['model']}"
    seed = "" if metrics["seed"] is None else f", seed {metrics['seed']}"
    summary = (
        f"{metrics['kind']}{seed}; {metrics['protocol']}, {metrics.get('split', 'test')} split;"
        f" {metrics['score_name']} {metrics['score']:.2f}"
    )
    today = datetime.date.today()
    page = string.Template(template).substitute(
        title=markup(title),
        name=markup(title),
        description=markup(summary),
        date=f"{today.day} {today:%B %Y}",
        version=markup(__version__),
        links="",
        body=body,
    )
    write_atomically(output, page)
    return output


def _entities(run: Path, prepared: Path, metrics: dict[str, Any]) -> Html:
    task, split = metrics["task"], metrics.get("split", "test")
    documents = read_annotated(prepared, task, split)
    predicted = _predicted(run, task, documents, read_sentences(prepared, task, split))
    known = names_of(read_annotated(prepared, task, "train"))
    counts: Counter[str] = Counter()
    misses: Counter[str] = Counter()
    inventions: Counter[str] = Counter()
    items = []
    for document in documents:
        marks = _marks(document, predicted)
        counts.update(kind for _, _, kind, _ in marks)
        for start, end, kind, is_gold in marks:
            if kind != _FOUND:
                (misses if is_gold else inventions)[normalised(document.text[start:end])] += 1
        if any(kind != _FOUND for _, _, kind, _ in marks):
            items.append(_document(document, marks, known))
    legend = [element("span", name, class_=f"mark {name.replace(' ', '-')}") for name in (_FOUND, *_KINDS)]
    rows = [
        (name, f"{counts[name]:,}", explained)
        for name, explained in ((_FOUND, "both ends agree"), *_KINDS.items())
    ]
    explained = (
        "Gold mentions are underlined, predictions have a coloured ground; a dagger marks a name of the"
        " training set."
    )
    return join(
        [
            element("style", Html(_STYLE)),
            section(
                "kinds",
                "Errors by kind",
                table("kinds", "Mentions and predictions", ("kind", "count", "what it is"), rows, text=True),
                _common("missed", misses, known),
                _common("invented", inventions, known),
            ),
            _of_documents(items, [*legend, explained]),
        ]
    )


def _predicted(
    run: Path, task: str, documents: Sequence[AnnotatedDocument], sentences: Sequence[TaggedSentence]
) -> Spans:
    """From tags, or where there are none (somebody's PubTator file was scored) from the spans themselves."""
    if not (run / "predictions.tsv").is_file():
        return read_spans(run / "predictions.pubtator", documents, task_kinds(task))[0]
    tags, _ = read_tags(run / "predictions.tsv", sentences, task_kinds(task))
    return spans_of(sentences, tags, [document.pmid for document in documents])


def _marks(document: AnnotatedDocument, predicted: Spans) -> list[tuple[int, int, str, bool]]:
    """(start, end, kind, whether it is gold) of every mention and prediction in a document, in order; a found
    one stands once."""
    gold, found = {(m.start, m.end) for m in document.mentions}, predicted[document.pmid]
    marks = [(start, end, _FOUND, True) for start, end in gold & found]
    for mine, others, alone, is_gold in (
        (gold - found, found, "missed", True),
        (found - gold, gold, "invented", False),
    ):
        for start, end in mine:
            touches = any(start < other_end and other_start < end for other_start, other_end in others)
            marks.append((start, end, "wrong boundary" if touches else alone, is_gold))
    return sorted(marks)


def _document(
    document: AnnotatedDocument, marks: Sequence[tuple[int, int, str, bool]], known: set[str]
) -> Html:
    """A document's text, cut at every end of a mark: marks may overlap."""
    text = document.text
    cuts = sorted({0, len(text), *(place for start, end, _, _ in marks for place in (start, end))})
    parts: list[object] = []
    for start, end in itertools.pairwise(cuts):
        over = [mark for mark in marks if mark[0] <= start and end <= mark[1]]
        if not over:
            parts.append(markup(text[start:end]))
            continue
        classes = {"mark", *(kind.replace(" ", "-") for _, _, kind, _ in over)}
        classes |= {"gold" for _, _, _, is_gold in over if is_gold} | {
            "predicted" for _, _, kind, is_gold in over if not is_gold or kind == _FOUND
        }
        title = "; ".join(
            f"{'gold' if is_gold else 'predicted'}: {text[a:b]} ({kind})" for a, b, kind, is_gold in over
        )
        dagger = (
            "†"
            if any(b == end and is_gold and normalised(text[a:b]) in known for a, b, _, is_gold in over)
            else ""
        )
        parts.append(element("span", text[start:end] + dagger, class_=" ".join(sorted(classes)), title=title))
    wrong = sum(kind != _FOUND for _, _, kind, _ in marks)
    return element(
        "article",
        join([element("h3", f"{document.pmid} ({wrong})"), Html(f"<p>{''.join(map(str, parts))}</p>")]),
    )


def _common(what: str, names: Counter[str], known: set[str]) -> Html:
    rows = [(name, str(count), "yes" if name in known else "no") for name, count in names.most_common(15)]
    shown = table(
        f"common-{what}",
        f"The names most often {what} or cut wrongly",
        ("name", "times", "a name of the training set"),
        rows,
        text=True,
    )
    return details(f"Most often {what} or cut wrongly", shown) if rows else Html("")


def _documents(run: Path, prepared: Path, metrics: dict[str, Any]) -> Html:
    documents = read_documents(prepared, metrics.get("split", "test"), metrics["task"])
    predicted = read_labels(run / "predictions.tsv", documents)
    rows = [
        (
            name,
            *(f"{values[key]:.1f}" if key == "f1" else str(values[key]) for key in ("tp", "fp", "fn", "f1")),
        )
        for name, values in metrics["by_type"].items()
    ]
    items = []
    for document, labels in zip(documents, predicted, strict=True):
        gold, found = set(document.labels), set(np.flatnonzero(labels).tolist())
        if gold == found:
            continue
        summary = [
            element(
                "span",
                HALLMARKS[label],
                class_="mark "
                + ("found" if label in gold & found else "missed" if label in gold else "invented"),
            )
            for label in sorted(gold | found)
        ]
        lines = [
            _labelled(sentence, own, gold - found)
            for sentence, own in zip(document.sentences, document.sentence_labels, strict=True)
        ]
        items.append(
            element(
                "article",
                join([element("h3", document.pmid), element("p", join(summary)), element("p", join(lines))]),
            )
        )
    legend = [element("span", name, class_=f"mark {name}") for name in ("found", "missed", "invented")]
    return join(
        [
            element("style", Html(_STYLE)),
            section(
                "kinds",
                "Errors by hallmark",
                table("kinds", "Test documents", ("hallmark", "tp", "fp", "fn", "F1"), rows),
            ),
            _of_documents(items, [*legend, "Sentences that carry a missed label are underlined."]),
        ]
    )


def _labelled(sentence: str, own: Iterable[int], missed: set[int]) -> Html:
    lost = [HALLMARKS[label] for label in own if label in missed]
    return (
        element("span", sentence, class_="mark gold missed", title="; ".join(lost))
        if lost
        else markup(sentence)
    )


def _of_documents(items: list[Html], legend: list[object]) -> Html:
    shown = items[:_MOST_ITEMS]
    first = f"The first {len(shown):,} of {len(items):,}" if len(shown) < len(items) else f"{len(items):,}"
    return section(
        "documents",
        "Documents with errors",
        paragraph(join(legend)),
        paragraph(f"{first} documents."),
        *shown,
    )


_STYLE = """
article { margin: 0 0 1.1rem; padding: 0.6rem 0.9rem; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
article h3 { margin: 0 0 0.2rem; font-size: 0.85rem; color: var(--quiet); }
article p { margin: 0.2rem 0; }
.mark { padding: 0.05em 0.12em; border-radius: 3px; }
p.note .mark, article p > .mark:not(.gold):not(.predicted) { margin-right: 0.5em; }
.mark.gold { border-bottom: 3px solid #2a7f4f; border-radius: 3px 3px 0 0; }
.mark.missed { border-bottom-color: #c8501e; }
.mark.wrong-boundary.gold { border-bottom-color: #b8860b; }
.mark.predicted.found, .mark.found { background: #2a7f4f33; }
.mark.predicted.invented, .mark.invented { background: #c8501e44; }
.mark.predicted.wrong-boundary, p.note .mark.wrong-boundary { background: #d99a0055; }
p.note .mark.missed, article p > .mark.missed:not(.gold) { border-bottom: 3px solid #c8501e; }
"""  # noqa: E501
