"""Entities in JSON lines: words with tags, texts with mentions, and what is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers.conll import Conll
from biobert_scale.evaluation.readers.entity_rows import read_entity_rows
from biobert_scale.evaluation.tasks.spec import Source

KINDS = frozenset({"Gene"})


def read(directory: Path, *rows: Any) -> Conll | list[AnnotatedDocument]:
    path = directory / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_entity_rows(Source(format="jsonl", train=("a.jsonl",)), [path], KINDS, frozenset(), False)[0]


def test_words_and_tags_become_sentences(tmp_path: Path) -> None:
    found = read(tmp_path, {"tokens": ["noxa", "ran"], "tags": ["S-gene", "O"]})
    assert isinstance(found, Conll) and found.scheme == "IOBES" and not found.names
    assert (found.sentences[0].tags, found.sentences[0].pmid) == (["B-Gene", "O"], "s0")


def test_texts_and_entities_become_documents(tmp_path: Path) -> None:
    entity = {"start": 5, "end": 9, "label": "Gene"}
    found = read(tmp_path, {"id": 3, "text": "Fern\nnoxa", "entities": [entity, entity]})
    assert isinstance(found, list) and (found[0].pmid, found[0].title, found[0].abstract) == (
        "3",
        "Fern",
        "noxa",
    )
    assert [(m.start, m.end) for m in found[0].mentions] == [(5, 9)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tokens": ["a"], "tags": []}, "as many `tags`"),
        ({"tokens": ["a"], "tags": ["B-Fish"]}, "unknown type 'Fish'"),
        ({"tokens": ["a"], "tags": [3]}, "not 'a' and 3"),
        ({"id": "first", "tokens": ["a"], "tags": ["O"]}, "is there twice"),
    ],
)
def test_wrong_words_are_refused_with_the_line(row: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{says}.*a\.jsonl:2;"):
        read(tmp_path, {"id": "first", "tokens": ["a"], "tags": ["O"]}, {"id": "second", **row})


@pytest.mark.parametrize(
    ("entity", "says"),
    [
        ({"start": 0, "end": 4}, "without start, end and label"),
        ({"start": 0, "end": 40, "label": "Gene"}, "the text at 0-40"),
        ({"start": -4, "end": 4, "label": "Gene"}, "the text at -4-4"),
        ({"start": 0, "end": 4, "label": "Gene", "text": "fern"}, "is 'noxa', not 'fern'"),
    ],
)
def test_wrong_mentions_are_refused_with_the_line(entity: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{says}.*a\.jsonl:1;"):
        read(tmp_path, {"text": "noxa ran", "entities": [entity]})
