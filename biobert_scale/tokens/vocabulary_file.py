"""Existing BERT vocabularies: a `vocab.txt`, a WordPiece `tokenizer.json`, or a directory with one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.files import read_json

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_REMEDY = "give a BERT vocab.txt, one entry a line, or a model directory that holds one"


def vocabulary_file(path: Path) -> Path:
    """The file that holds the entries: `path` itself, or the one in that directory.

    Raises:
        UserError: neither is there.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        what = "neither a file nor a directory" if path.exists() else "no such vocabulary"
        raise UserError(what, where=path, remedy=_REMEDY)
    for name in ("vocab.txt", "tokenizer.json"):
        if (path / name).is_file():
            return path / name
    raise UserError("no vocab.txt and no tokenizer.json in the directory", where=path, remedy=_REMEDY)


def read_entries(path: Path) -> list[str]:
    """The entries of a vocabulary, in the order of their ids.

    Line ends may be LF or CRLF, and a byte order mark is passed over.

    Args:
        path: a `vocab.txt`, a WordPiece `tokenizer.json`, or a directory that holds one of them.

    Raises:
        UserError: no such file, not UTF-8, an empty line, an entry that occurs twice, or a special token that
            is missing.
    """
    path = vocabulary_file(path)
    entries = _entries_of_json(path) if path.suffix == ".json" else _entries_of_text(path)
    for token in SPECIAL_TOKENS:
        if token not in entries:
            raise UserError(f"the vocabulary has no {token}", where=path, remedy=_REMEDY)
    return entries


def _entries_of_text(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"the vocabulary is not UTF-8 (byte {error.start})"
        raise UserError(what, where=path, remedy=_REMEDY) from None
    # Only these end a line: an entry may be another of Unicode's line separators.
    entries = re.split("\r?\n", text)
    if entries[-1] == "":
        entries.pop()
    if not entries:
        raise UserError("the vocabulary is empty", where=path, remedy=_REMEDY)
    counts, remedy = Counter(entries), "ids are line numbers: restore the file as its model had it"
    for line, entry in enumerate(entries, start=1):
        if not entry:
            raise UserError(f"line {line} of the vocabulary is empty", where=path, remedy=remedy)
        if counts[entry] > 1:
            what = f"the entry {entry!r} occurs {counts[entry]} times in the vocabulary, first on line {line}"
            raise UserError(what, where=path, remedy=remedy)
    return entries


def _entries_of_json(path: Path) -> list[str]:
    try:
        content: Any = read_json(path)
        model = content["model"]
        ids: dict[str, int] = model["vocab"]
        if model["type"] == "WordPiece" and sorted(ids.values()) == list(range(len(ids))):
            return sorted(ids, key=ids.__getitem__)
    except (UnicodeDecodeError, KeyError, TypeError, AttributeError):
        pass  # reported below: each of them means the same to a user
    raise UserError("not a WordPiece tokenizer", where=path, remedy=_REMEDY)


def is_lowercase(path: Path, entries: list[str]) -> bool:
    """Whether a vocabulary is lower-cased: as its directory says, else if no entry has a capital."""
    declared = declared_lowercase(path)
    if declared is not None:
        return declared
    return not any(entry != entry.lower() for entry in entries if not re.fullmatch(r"\[.*\]", entry))


def declared_lowercase(path: Path) -> bool | None:
    """What the `tokenizer_config.json` beside a vocabulary says of its case; None where it says nothing."""
    directory = path if path.is_dir() else path.parent
    settings = directory / "tokenizer_config.json"
    declared = read_json(settings).get("do_lower_case") if settings.is_file() else None
    return declared if isinstance(declared, bool) else None
