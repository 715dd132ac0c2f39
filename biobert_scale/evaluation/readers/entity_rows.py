"""Entities in JSON lines and `datasets`: rows of words with their tags, or of a text with its mentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers.annotations import DocumentBuilder
from biobert_scale.evaluation.readers.conll import Conll, Word, find_scheme, split_tag, tag_words
from biobert_scale.evaluation.readers.tables import Record, read_records
from biobert_scale.evaluation.tasks.spec import Source


def read_entity_rows(
    source: Source, paths: Sequence[Path], kinds: frozenset[str], others: frozenset[str], typed: bool
) -> tuple[Conll | list[AnnotatedDocument], Counter[str]]:
    """Read a split's files: sentences where rows have `tokens` and `tags`, documents where they have `text`
    and `entities`, a list of {"start", "end", "label"} in characters of the text; both may have an `id`.

    Raises:
        UserError: a row with neither, or with an ID that is there twice; as `read_conll` and
            `DocumentBuilder.add`; with file and line.
    """
    records = list(read_records(paths, source.format, source.columns))
    if not records:
        raise UserError("no row in the file", where=paths[0], remedy="restore the original file")
    named = all("id" in record.values for record in records)
    names = [str(record.values["id"]) if named else f"s{number}" for number, record in enumerate(records)]
    seen: set[str] = set()
    for name, record in zip(names, records, strict=True):
        if name in seen:
            raise UserError(f"the ID {name} is there twice", where=record.where, remedy="keep one of the two")
        seen.add(name)
    counts: Counter[str] = Counter()
    if "tokens" in records[0].values:
        words = [_words(record, kinds, others, typed) for record in records]
        scheme = find_scheme(words)
        tagged = [
            sentence
            for name, each in zip(names, words, strict=True)
            for sentence in tag_words(name, [each], scheme, others)
        ]
        return Conll(tagged, scheme, Counter(names if named else ())), counts
    pairs = zip(names, records, strict=True)
    return [_document(name, record, kinds, others, counts) for name, record in pairs], counts


def _words(record: Record, kinds: frozenset[str], others: frozenset[str], typed: bool) -> list[Word]:
    tokens, tags = record.values.get("tokens"), record.values.get("tags")
    if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags) or not tokens:
        what = "expected `tokens` and as many `tags`"
        raise UserError(what, where=record.where, remedy="correct the row, or the task's `columns`")
    known = {kind.casefold(): kind for kind in kinds | others}
    words = []
    for token, tag in zip(tokens, tags, strict=True):
        letter, kind = split_tag(token, tag, record.where, typed)
        if kind and kind.casefold() not in known:
            what = f"unknown type '{kind}' (known: {', '.join(sorted(known.values()))})"
            raise UserError(what, where=record.where, remedy="add it to the task's types, or to other_types")
        words.append(
            Word(where=record.where, token=token, letter=letter, kind=known.get(kind.casefold(), ""))
        )
    return words


def _document(
    name: str, record: Record, kinds: frozenset[str], others: frozenset[str], counts: Counter[str]
) -> AnnotatedDocument:
    text, entities = record.values.get("text"), record.values.get("entities", [])
    remedy = "give each row `tokens` and `tags`, or `text` and `entities` with start, end and label"
    if not isinstance(text, str) or not text.strip() or not isinstance(entities, list):
        raise UserError("expected a text and its entities", where=record.where, remedy=remedy)
    title_length = text.find("\n") if "\n" in text else len(text)
    builder = DocumentBuilder(name, text, title_length, kinds, others, counts)
    for entity in entities:
        start, end, kind, words = _span(entity)
        if start is None or end is None or kind is None:
            raise UserError(
                f"an entity without start, end and label: {entity}", where=record.where, remedy=remedy
            )
        builder.add(kind, [(start, end)], words, record.where)
    return builder.build()


def _span(entity: Any) -> tuple[int | None, int | None, str | None, str | None]:
    """Start, end, type and, where it is there, the text."""
    if not isinstance(entity, dict):
        return None, None, None, None
    start, end, kind, words = (entity.get(key) for key in ("start", "end", "label", "text"))
    return (
        start if type(start) is int else None,
        end if type(end) is int else None,
        kind if isinstance(kind, str) else None,
        words if isinstance(words, str) else None,
    )
