"""Rows of one or two texts with a label: what every kind of task but entities is made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.readers.tables import Record, read_records
from biobert_scale.evaluation.tasks.spec import Source, Split, Task

_LABELS = re.compile(r"[|;]")
"""Between the labels of one field."""


class Rows(NamedTuple):
    rows: list[Row]
    named: bool
    """Whether the files name documents; otherwise each row is one."""


def read_rows(task: Task, source: Source, paths: Sequence[Path]) -> Rows:
    """Read a split's files.

    Columns by role: `text`, `label`, and if they are there `text2`, `id`, `document`. Several labels are a
    list, or one field with `|` or `;` between them, or a column of 0 and 1 for each label.

    Raises:
        UserError: a row without a text, an unknown label, a label that is no number, or an ID twice; with
            file and line.
    """
    rows: dict[str, Row] = {}
    named = False
    for record in read_records(paths, source.format, source.columns):
        row, has_document = _row(task, source, record, len(rows))
        if rows.setdefault(row.id, row) is not row:
            what = f"the ID {row.id} is there twice"
            raise UserError(what, where=record.where, remedy="give each row its own, or leave `id` out")
        named = named or has_document
    if not rows:
        raise UserError("no row in the file", where=paths[0], remedy="restore the original file")
    return Rows(list(rows.values()), named)


def _row(task: Task, source: Source, record: Record, number: int) -> tuple[Row, bool]:
    values, refused = record.values, partial(UserError, where=record.where)
    texts = [values[role] for role in ("text", "text2") if role in values]
    if "text" not in values or not all(isinstance(text, str) and text.strip() for text in texts):
        raise refused("a row without its text", remedy="correct the row, or the task's `columns`")
    name = str(values.get("id", number))
    document = str(values["document"]) if "document" in values else ""
    if source.document and not document:
        if not (match := re.search(source.document, name)):
            what = f"the ID {name} has no part as `document` expects it"
            raise refused(what, remedy="correct the row, or the task's `document`")
        document = match[0]
    row = Row(id=name, document=document or name, texts=texts, label=_label(task, record))
    return row, document != ""


def _label(task: Task, record: Record) -> str | list[str] | float:
    values, refused = record.values, partial(UserError, where=record.where)
    if "label" not in values and task.multi_label and all(label in values for label in task.labels):
        flags = {label: str(values[label]) for label in task.labels}
        if strange := [flag for flag in flags.values() if flag not in ("0", "1")]:
            raise refused(f"expected 0 or 1 for each label, not {strange[0]!r}", remedy="correct the row")
        return sorted(label for label, flag in flags.items() if flag == "1")
    if "label" not in values:
        raise refused("a row without its label", remedy="correct the row, or the task's `columns`")
    found = values["label"]
    if task.kind == "similarity":
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise refused(f"the label {found!r} is no number", remedy="correct the row")
        return number
    if not task.multi_label:
        return _known(task, found, record.where)
    several = found if isinstance(found, list) else [part.strip() for part in _LABELS.split(str(found))]
    return sorted({_known(task, label, record.where) for label in several if label != ""})


def _known(task: Task, found: Any, where: str) -> str:
    label = str(found).lower() if isinstance(found, bool) else str(found).strip()
    if label not in task.labels:
        what = f"unknown label {label!r} (known: {', '.join(task.labels)})"
        raise UserError(what, where=where, remedy="correct the row, or the task's `labels`")
    return label


def read_pubmedqa(task: Task, files: Mapping[Split, Sequence[Path]]) -> dict[Split, list[Row]]:
    """Read PubMedQA's JSON (Jin et al. 2019): PMID to question, contexts and decision. Texts are the
    question, and the contexts joined with blanks.

    A file may instead name the questions of its split alone: `{PMID: decision}`, or the lists of train and
    dev in `{"fold0": {"train": [...], "dev": [...]}}`. They are then found in the first file.

    Raises:
        UserError: not such JSON, or a question that is not there.
    """
    contents: dict[Split, dict[str, Any]] = {}
    for split, paths in files.items():
        try:
            contents[split] = json.loads(paths[0].read_bytes())
            assert isinstance(contents[split], dict)
        except (ValueError, AssertionError) as error:
            what = f"not PubMedQA's JSON ({error})" if str(error) else "expected questions by PMID"
            raise UserError(what, where=paths[0], remedy="restore the original file") from None
    questions = {
        pmid: each for found in contents.values() for pmid, each in found.items() if _is_question(each)
    }
    pmids: dict[Split, list[str]] = {split: list(found) for split, found in contents.items()}
    if fold := contents["dev"].get("fold0"):
        pmids |= {"train": fold["train"], "dev": fold["dev"]}
    rows: dict[Split, list[Row]] = {}
    for split, wanted in pmids.items():
        where = files[split][0]
        rows[split] = []
        for pmid in wanted:
            if (question := questions.get(pmid)) is None:
                raise UserError(
                    f"no question of PMID {pmid}", where=where, remedy="restore the original files"
                )
            texts = [question["QUESTION"], " ".join(question["CONTEXTS"])]
            label = _known(task, question["final_decision"], f"{where}, PMID {pmid}")
            rows[split].append(Row(id=pmid, document=pmid, texts=texts, label=label))
    return rows


def _is_question(found: Any) -> bool:
    return isinstance(found, dict) and {"QUESTION", "CONTEXTS", "final_decision"} <= found.keys()
