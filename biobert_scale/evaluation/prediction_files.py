"""Readers of predictions: what does not fit the gold's documents is refused, what is missing counts as not
predicted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biobert_scale.errors import UserError
from biobert_scale.evaluation.entity_scores import Spans
from biobert_scale.evaluation.pubtator import AnnotatedDocument, read_lines
from biobert_scale.evaluation.readers import HALLMARKS, HallmarkDocument, TaggedSentence


def read_tags(path: Path, sentences: Sequence[TaggedSentence]) -> tuple[list[list[str]], int]:
    """Read `token gold predicted` lines, an empty line after each sentence, for all sentences of a split in
    their order.

    Returns:
        Tags of every sentence, and how many words at sentences' ends have none (they count as O).

    Raises:
        UserError: another token or gold tag than the split's, a tag that is none, or another number of
            sentences; with the line.
    """
    tags: list[list[str]] = [[]]
    kinds: set[str] = set()
    for number, line in read_lines(path):
        if not line.strip():
            if tags[-1]:
                tags.append([])
            continue
        kinds |= {_read_tag(line, tags, sentences, f"{path}:{number}")} - {""}
        if len(kinds) > 1:
            what = f"predictions of two types of entity ({', '.join(sorted(kinds))})"
            raise UserError(
                what, where=f"{path}:{number}", remedy="a task scores one: set the tags of the others to O"
            )
    if not tags[-1]:
        tags.pop()
    if len(tags) != len(sentences):
        what = f"{len(tags)} sentences where the split has {len(sentences)}"
        raise UserError(
            what, where=path, remedy="predict every sentence of the split, in the order of the prepared file"
        )
    missing = [len(sentence.tokens) - len(found) for sentence, found in zip(sentences, tags, strict=True)]
    return [found + ["O"] * short for found, short in zip(tags, missing, strict=True)], sum(missing)


def _read_tag(line: str, tags: list[list[str]], sentences: Sequence[TaggedSentence], where: str) -> str:
    """Add a line's predicted tag to the last sentence's; returns its type, empty where it names none."""
    fields = line.rsplit("\t" if "\t" in line else " ", 2)
    if len(fields) != 3:
        raise UserError("expected token, gold tag and predicted tag", where=where, remedy="correct the line")
    place = len(tags[-1])
    sentence = sentences[len(tags) - 1] if len(tags) <= len(sentences) else None
    if sentence is None or place >= len(sentence.tokens) or fields[0] != sentence.tokens[place]:
        due = sentence.tokens[place] if sentence and place < len(sentence.tokens) else "the sentence's end"
        raise UserError(
            f"'{fields[0]}' stands where '{due}' is due",
            where=where,
            remedy="give the tokens of the prepared split, unchanged",
        )
    letters = [field.partition("-")[0] for field in fields[1:]]
    if letters[0] != sentence.tags[place]:
        raise UserError(
            f"gold tag {fields[1]} where the split has {sentence.tags[place]}",
            where=where,
            remedy="leave the gold column as it is",
        )
    if letters[1] not in ("B", "I", "O"):
        raise UserError(f"'{fields[2]}' is no tag", where=where, remedy="use B, I and O")
    tags[-1].append(letters[1])
    return fields[2].partition("-")[2]


def read_spans(path: Path, documents: Sequence[AnnotatedDocument], *, others: Collection[str] = ()) -> Spans:
    """Read a PubTator file's mentions for the documents of a split; one span counts once.

    Args:
        others: kinds of mention that are another task's, and passed over.

    Raises:
        UserError: a document of another split, a span that leaves its document, or a text that differs; with
            the line.
    """
    texts = {document.pmid: document.text for document in documents}
    spans: Spans = {pmid: set() for pmid in texts}
    for number, line in read_lines(path):
        where, fields = f"{path}:{number}", line.split("\t")
        pmid = fields[0].partition("|")[0]
        if not line.strip():
            continue
        if pmid not in texts:
            raise UserError(
                f"document {pmid} is not in this split",
                where=where,
                remedy="predict the documents of the split that is scored",
            )
        if len(fields) == 1 or fields[1] == "CID":
            continue
        if len(fields) < 5 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise UserError(
                "expected PMID, start, end, text and kind", where=where, remedy="correct the line"
            )
        start, end = int(fields[1]), int(fields[2])
        if not start < end or texts[pmid][start:end] != fields[3]:
            raise UserError(
                f"the text at {start}-{end} is {texts[pmid][start:end]!r}, not {fields[3]!r}",
                where=where,
                remedy="count characters of title, one blank, and abstract",
            )
        if fields[4] not in others:
            spans[pmid].add((start, end))
    return spans


def read_labels(path: Path, documents: Sequence[HallmarkDocument]) -> NDArray[np.bool_]:
    """Read rows of PMID, gold labels, predicted labels (numbers, comma-separated) and, if given,
    probabilities, under a header.

    Returns:
        (documents, 10), in the order of the split.

    Raises:
        UserError: a document twice, missing or of another split, other gold labels, or a label that does not
            exist; with the line.
    """
    places = {document.pmid: number for number, document in enumerate(documents)}
    predicted = np.zeros((len(documents), len(HALLMARKS)), dtype=bool)
    seen: set[str] = set()
    for number, line in list(read_lines(path))[1:]:
        where, fields = f"{path}:{number}", line.split("\t")
        if len(fields) < 3 or fields[0] not in places or fields[0] in seen:
            raise UserError(
                "expected PMID, gold and predicted labels of a document of this split, once",
                where=where,
                remedy="correct the line",
            )
        seen.add(fields[0])
        gold, found = (
            [int(label) if label.isdecimal() else -1 for label in field.split(",") if label]
            for field in fields[1:3]
        )
        if gold != documents[places[fields[0]]].labels:
            raise UserError(
                "other gold labels than the split's", where=where, remedy="leave the gold column as it is"
            )
        if any(not 0 <= label < len(HALLMARKS) for label in found):
            raise UserError("a label that is no number from 0 to 9", where=where, remedy="correct the line")
        predicted[places[fields[0]], found] = True
    if missing := places.keys() - seen:
        raise UserError(
            f"{len(missing)} documents are missing, {min(missing)} among them",
            where=path,
            remedy="give a row for every document, also without labels",
        )
    return predicted
