"""The official files of ChemProt and DDI: which of them belong together, and the masked rows that they
give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.relations.chemprot import chemprot_rows, read_chemprot
from biobert_scale.evaluation.relations.ddi import ddi_rows, find_corpus, listed_files, read_ddi
from biobert_scale.evaluation.tasks.spec import Format, Task

_ABSTRACTS = "abstracts"
"""In the name of a file of ChemProt; those of its entities and relations have these words there."""


def companions(form: Format, path: Path) -> list[Path]:
    """The files that are read besides one that a task names: entities and relations beside ChemProt's
    abstracts, and the XML files in one of DDI's lists.

    Raises:
        UserError: one of them is not there.
    """
    match form:
        case "chemprot":
            found = [path.with_name(name) for name in _beside(path.name)]
            for each in found:
                if not each.is_file():
                    raise UserError("no such file", where=each, remedy="restore the original files")
            return found
        case "ddi":
            return listed_files(find_corpus(path), path)
        case _:
            return []


def read_relations(task: Task, form: Format, paths: Sequence[Path]) -> tuple[list[Row], Counter[str]]:
    """The masked sentences of a split's official files, and the counts of `chemprot_rows` or `ddi_rows`.

    Raises:
        UserError: a damaged file, with its line, or a task without one of the format's labels.
    """
    rows, counts = list[Row](), Counter[str]()
    for path in paths:
        if form == "chemprot":
            masked = chemprot_rows(read_chemprot(path, *companions(form, path)))
        else:
            masked = ddi_rows(read_ddi(find_corpus(path), path))
        rows += [Row(id=r.id, document=r.document, texts=[r.sentence], label=r.label) for r in masked.rows]
        counts.update(masked.counts)
    if unknown := {str(row.label) for row in rows}.difference(task.labels):
        what = f"no label {min(unknown)} in the task"
        raise UserError(what, where=task.name, remedy=f"add it to the task's `labels`: {form} files have it")
    if not rows:
        raise UserError("no pair of entities", where=paths[0], remedy="restore the original files")
    return rows, counts


def _beside(name: str) -> list[str]:
    before, found, after = name.rpartition(_ABSTRACTS)
    if not found:
        remedy = "name the file of the abstracts"
        raise UserError(f"no '{_ABSTRACTS}' in the name of the file", where=name, remedy=remedy)
    return [f"{before}{what}{after}" for what in ("entities", "relations")]
