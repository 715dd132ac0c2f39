"""Readers of predictions: what does not fit the gold's documents is refused, what is missing counts as not
predicted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biobert_scale.errors import UserError
from biobert_scale.evaluation.entity_scores import Spans
from biobert_scale.evaluation.metrics.entities import span_of
from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.pubtator import AnnotatedDocument, read_lines
from biobert_scale.evaluation.pubtator_blocks import RelationRow, one_line, parse_rows, read_blocks
from biobert_scale.evaluation.readers import TaggedSentence, TagTypes, is_sentence_break
from biobert_scale.evaluation.tasks.spec import Task


def read_tags(
    path: Path,
    sentences: Sequence[TaggedSentence],
    kinds: Collection[str] = (),
    types: Mapping[str, str] = {},
) -> tuple[list[list[str]], int]:
    """Read `token gold predicted` lines, an empty line after each sentence, for all sentences of a split in
    their order.

    Args:
        kinds: the task's types of entity, in whatever case; empty: one type, whichever. A type is dropped
            where the file has one alone.
        types: of a task with several, their names in small letters and what each is called: tags keep them.

    Returns:
        Tags of every sentence, and how many words at sentences' ends have none (they count as O).

    Raises:
        UserError: another token or gold tag than the split's, a tag that is none, entities of another type,
            or another number of sentences; with the line.
    """
    tags: list[list[str]] = [[]]
    found_types, gold_types = TagTypes(kinds), TagTypes(kinds)
    for number, line in read_lines(path):
        if is_sentence_break(line):
            if tags[-1]:
                tags.append([])
            continue
        letters = _read_tag(line, tags, sentences, types, f"{path}:{number}")
        for column, (letter, kind) in zip((gold_types, found_types), letters, strict=True):
            column.note(letter, kind, number)
    for column in (found_types, gold_types):
        column.check(path, remedy="a task scores its own types: set the tags of the others to O")
    if not types and not found_types.several:
        tags = [[tag[0] for tag in of_sentence] for of_sentence in tags]
    if not tags[-1]:
        tags.pop()
    if len(tags) != len(sentences):
        what = f"{len(tags)} sentences where the split has {len(sentences)}"
        raise UserError(
            what, where=path, remedy="predict every sentence of the split, in the order of the prepared file"
        )
    missing = [len(sentence.tokens) - len(found) for sentence, found in zip(sentences, tags, strict=True)]
    return [found + ["O"] * short for found, short in zip(tags, missing, strict=True)], sum(missing)


def _read_tag(
    line: str,
    tags: list[list[str]],
    sentences: Sequence[TaggedSentence],
    types: Mapping[str, str],
    where: str,
) -> list[tuple[str, str]]:
    """Add a line's predicted tag to the last sentence's; returns (letter, type) of the gold and the predicted
    tag."""
    fields, refused = line.rsplit("\t" if "\t" in line else " ", 2), partial(UserError, where=where)
    if len(fields) != 3:
        raise refused("expected token, gold tag and predicted tag", remedy="correct the line")
    place = len(tags[-1])
    sentence = sentences[len(tags) - 1] if len(tags) <= len(sentences) else None
    due = sentence.tokens[place] if sentence and place < len(sentence.tokens) else None
    if sentence is None or fields[0] != due:
        expected = due or "the sentence's end"
        what = f"'{fields[0]}' is where '{expected}' is due"
        raise refused(what, remedy="give the tokens of the prepared split, unchanged")
    (gold, _, gold_kind), (letter, _, kind) = (field.partition("-") for field in fields[1:])
    if (_tag(gold, gold_kind, types) if types else gold) != sentence.tags[place]:
        what = f"gold tag {fields[1]} where the split has {sentence.tags[place]}"
        raise refused(what, remedy="leave the gold column as it is")
    if letter not in ("B", "I", "O") or (types and bool(kind) == (letter == "O")):
        remedy = "use O, and B and I with a type" if types else "use B, I and O"
        raise refused(f"'{fields[2]}' is no tag", remedy=remedy)
    tags[-1].append(_tag(letter, kind, types))
    return [(gold, gold_kind), (letter, kind)]


def _tag(letter: str, kind: str, types: Mapping[str, str]) -> str:
    kind = types.get(kind.casefold(), kind.casefold())
    return f"{letter}-{kind}" if kind else letter


def read_spans(
    path: Path,
    documents: Sequence[AnnotatedDocument],
    kinds: Collection[str],
    types: Mapping[str, str] = {},
) -> tuple[Spans, Counter[str]]:
    """Read a PubTator file's mentions for the documents of a split; one span counts once.

    Args:
        kinds: the task's types of entity, in whatever case.
        types: as in `read_tags`: spans have their type.

    Returns:
        The spans, and how many rows were passed over: mentions by their type, relations by `relation NAME`.

    Raises:
        UserError: a document of another split, a span that leaves its document, or a text that differs, with
            the line; or no mention of the task's types among mentions of others.
    """
    texts = {document.pmid: document.text for document in documents}
    wanted = {kind.casefold() for kind in kinds}
    spans: Spans = {pmid: set() for pmid in texts}
    others, relations = Counter[str](), Counter[str]()
    for block in read_blocks(read_lines(path), str(path)):
        if block.id not in texts:
            what = f"document {block.id} is not in this split"
            remedy = "predict the documents of the split that is scored"
            raise UserError(what, where=f"{path}:{block.line}", remedy=remedy)
        for row in parse_rows(block, str(path)):
            if isinstance(row, RelationRow):
                relations[f"relation {row.name}"] += 1
                continue
            span = texts[block.id][row.start : row.end]
            if not span or one_line(span) != one_line(row.text):
                what = f"the text at {row.start}-{row.end} is {span!r}, not {row.text!r}"
                remedy = "count characters of title, one blank, and abstract"
                raise UserError(what, where=f"{path}:{row.line}", remedy=remedy)
            if row.kind.casefold() in wanted:
                spans[block.id].add(span_of(row.start, row.end, types.get(row.kind.casefold(), "")))
            else:
                others[row.kind] += 1
    if others and not any(spans.values()):
        found = ", ".join(f"{kind} {number:,}" for kind, number in sorted(others.items()))
        what = f"no mention of the task's types ({', '.join(sorted(kinds))}), but {found}"
        remedy = "give the predictions of this task, or name their type as the task does"
        raise UserError(what, where=path, remedy=remedy)
    return spans, others + relations


def read_answers(path: Path, task: Task, rows: Sequence[Row]) -> NDArray[Any]:
    """Read lines of a row's name, gold answer, predicted answer and, if given, probabilities, tab-separated
    under a header, as `sequences.write_answers` writes them.

    Returns:
        (rows, labels) bool, or of similarity numbers, (rows,) fp64; in the order of the split.

    Raises:
        UserError: a row twice, missing or of another split, another gold answer, or an answer that does not
            exist; with the line.
    """
    places = {row.id: place for place, row in enumerate(rows)}
    predicted: dict[str, Any] = {}
    for number, line in list(read_lines(path))[1:]:
        fields, refused = line.split("\t"), partial(UserError, where=f"{path}:{number}")
        if len(fields) < 3 or fields[0] not in places or fields[0] in predicted:
            what = "expected the name, gold and predicted answer of a row of this split, once"
            raise refused(what, remedy="correct the line")
        gold, found = (_answer(task, field) for field in fields[1:3])
        due = rows[places[fields[0]]].label
        if gold != (sorted(map(task.labels.index, due)) if isinstance(due, list) else due):
            raise refused("another gold answer than the split's", remedy="leave the gold column as it is")
        if found is None:
            raise refused(f"'{fields[2]}' is no answer", remedy=_expected(task))
        predicted[fields[0]] = found
    if missing := places.keys() - predicted:
        what = f"{len(missing)} rows are missing, {min(missing)} among them"
        raise UserError(what, where=path, remedy="give a line for every row, also without labels")
    answers = [predicted[row.id] for row in rows]
    if task.kind == "similarity":
        return np.array(answers, np.float64)
    chosen = np.zeros((len(rows), len(task.labels)), bool)
    for place, answer in enumerate(answers):
        chosen[place, answer if task.multi_label else task.labels.index(answer)] = True
    return chosen


def _expected(task: Task) -> str:
    if task.kind == "similarity":
        return "give a number"
    if task.multi_label:
        return f"give numbers of labels from 0 to {len(task.labels) - 1}, separated by commas"
    return f"give one of: {', '.join(task.labels)}"


def _answer(task: Task, field: str) -> list[int] | str | float | None:
    """A field's numbers of labels, label or number; None where it is no answer to this task."""
    if task.kind == "similarity":
        try:
            value = float(field)
        except ValueError:
            return None
        return value if math.isfinite(value) else None
    if not task.multi_label:
        return field if field in task.labels else None
    numbers = field.split(",") if field else []
    if not all(number.isdecimal() and int(number) < len(task.labels) for number in numbers):
        return None
    return sorted(map(int, numbers))
