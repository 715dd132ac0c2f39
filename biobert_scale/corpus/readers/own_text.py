"""Reads a piece of own text: rows of a table, JSON lines or plain text, as documents.

No message of this module holds anything of a row: the text may be private.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from biobert_scale.config import OwnTextConfig
from biobert_scale.corpus.document import Document
from biobert_scale.corpus.opening import open_decompressed, reading
from biobert_scale.corpus.own_text import MAXIMUM_DOCUMENT_BYTES, OwnPiece, damaged, open_dataset
from biobert_scale.errors import UserError, printable

_ROWS_AT_ONCE = 1000
_LABEL = re.compile(r"[\w.,:/()+ -]{0,64}")
_YEAR = re.compile(r"\s*([0-9]{4})(?![0-9])")
_COLUMN_SETTINGS = tuple(name for name in OwnTextConfig.__annotations__ if name.endswith("_column"))
_BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 1 << 20


class _Bad(Exception):
    """What is wrong with a row."""


class UnknownColumn(UserError):
    """A file lacks a column that the settings of its source name."""


class _Item(NamedTuple):
    """A row before it is looked at."""

    place: str
    """In the file, without the line's number: `byte=123`."""
    content: bytes | Mapping[str, Any]


def refuse_unknown_columns(pieces: Iterable[OwnPiece]) -> None:
    """Look at the first row of every file, before all are read.

    Raises:
        UnknownColumn: it lacks a column.
    """
    for piece in pieces:
        try:
            if not piece.start and (item := next(_items(piece, piece.path), None)):
                _document(piece, piece.path, item)
        except UnknownColumn:
            raise
        except (UserError, _Bad):
            pass  # counted when the file is read


def read_own_text(piece: OwnPiece) -> Iterator[Document | None]:
    """Yield the documents of a piece in their order; None for a row that cannot be read, where these are left
    out.

    Raises:
        UserError: the file is damaged, lacks a column, or holds lines that cannot be read: the first is named
            by its line.
    """
    bad, first = 0, ""
    for path in piece.paths:
        for item in _items(piece, path):
            try:
                yield _document(piece, path, item)
            except _Bad as problem:
                if "bad_lines" in piece.config.skip:
                    yield None
                    continue
                bad += 1
                first = first or f"{_name(path, item)} {problem}"
    if bad:
        raise UserError(
            first if bad == 1 else f"{first}, and {bad - 1:,} lines after it cannot be read",
            where=piece.path,
            remedy=f"correct it, or leave such lines out with --own.{piece.source}.skip bad_lines",
        )


def _items(piece: OwnPiece, path: Path) -> Iterator[_Item]:
    match piece.form:
        case "jsonl":
            yield from _lines(piece, path)
        case "text":
            yield from _blocks(_lines(piece, path), path)
        case "text_files":
            if path.stat().st_size > MAXIMUM_DOCUMENT_BYTES:
                raise _too_large(path)
            yield _Item("", path.read_bytes())
        case _:
            yield from _rows(piece, path)


def _lines(piece: OwnPiece, path: Path) -> Iterator[_Item]:
    with _opened(path) as stream:
        at = piece.start
        if at:
            stream.seek(at)
        while not piece.stop or at < piece.stop:
            line = stream.readline(MAXIMUM_DOCUMENT_BYTES + 1)
            if not line:
                break
            if len(line) > MAXIMUM_DOCUMENT_BYTES:
                raise _too_large(path)
            yield _Item(f"byte={at}", line if at else line.removeprefix(_BOM))
            at += len(line)


def _blocks(lines: Iterator[_Item], path: Path) -> Iterator[_Item]:
    """What is between empty lines."""
    place, size = "", 0
    block: list[bytes] = []
    for item in lines:
        assert isinstance(item.content, bytes)
        if item.content.strip():
            place = place if block else item.place
            block.append(item.content)
            size += len(item.content)
            if size > MAXIMUM_DOCUMENT_BYTES:
                raise _too_large(path)
        elif block:
            yield _Item(place, b"".join(block))
            block, size = [], 0
    if block:
        yield _Item(place, b"".join(block))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with open_decompressed(path) as stream, reading(path):
        yield stream


def _rows(piece: OwnPiece, path: Path) -> Iterator[_Item]:
    """Rows of a Parquet file or a dataset; only the columns in use are read."""
    try:
        if piece.form == "parquet":
            with pq.ParquetFile(path) as table:
                columns = _columns(piece, path, table.schema_arrow.names)
                groups = [table.metadata.row_group(group).num_rows for group in range(piece.stop)]
                first = sum(groups[: piece.start])
                wanted = range(piece.start, piece.stop)
                for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=list(wanted), columns=columns):
                    for row in batch.to_pylist():
                        yield _Item(f"row={first}", row)
                        first += 1
        else:
            dataset = open_dataset(path)
            dataset = dataset.select_columns(_columns(piece, path, dataset.column_names))
            for start in range(piece.start, piece.stop, _ROWS_AT_ONCE):
                batch = dataset[start : min(start + _ROWS_AT_ONCE, piece.stop)]
                for number, row in enumerate(batch.to_pylist(), start):
                    yield _Item(f"row={number}", row)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise damaged(path) from None


def _columns(piece: OwnPiece, path: Path, present: list[str]) -> list[str]:
    wanted = _wanted(piece.config)
    for setting, column in wanted.items():
        if column not in present:
            raise _unknown(piece, path, setting, column, present)
    return list(dict.fromkeys(wanted.values()))


def _wanted(config: OwnTextConfig) -> dict[str, str]:
    """The columns in use, by their settings."""
    return {name: column for name in _COLUMN_SETTINGS if (column := getattr(config, name))}


def _unknown(
    piece: OwnPiece, where: str | Path, setting: str, column: str, present: list[str]
) -> UnknownColumn:
    shown = ", ".join(printable(name)[:40] for name in present[:20]) + ", ..." * (len(present) > 20)
    return UnknownColumn(
        f"no column {column!r}; there are {shown or 'none'}",
        where=where,
        remedy=f"name one with --own.{piece.source}.{setting.replace('_', '-')}",
    )


def _document(piece: OwnPiece, path: Path, item: _Item) -> Document:
    config, row = piece.config, item.content
    if isinstance(row, bytes):
        try:
            content = row.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Bad(f"is not UTF-8 (byte {error.start + 1} of it)") from None
        row = (
            _json(content) if piece.form == "jsonl" else {config.text_column: content.removeprefix("\ufeff")}
        )
        if piece.form == "jsonl" and config.text_column not in row:
            raise _missing(piece, path, item, row)
    values = {name: row.get(column) for name, column in _wanted(config).items()}
    text, title = (_string(values.get(f"{name}_column"), name) for name in ("text", "title"))
    whole = "\n".join(filter(None, (title, text)))
    own_id = _scalar(values.get("id_column"), "id")
    own_id = own_id or hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()
    part = _label(values.get("source_column"), "source")
    license_name = _label(values.get("license_column"), "licence") or config.license
    return Document(
        id=f"{piece.source}:{own_id}",
        source=f"{piece.source}/{part}" if part else piece.source,
        text=whole,
        license=license_name,
        license_name=license_name,
        origin=printable(f"{path.name}:{item.place}" if item.place else path.name),
        title_only=not text.strip(),
        year=_year(values.get("date_column")),
        own=config,
    )


def _json(line: str) -> Mapping[str, Any]:
    if not line.strip():
        raise _Bad("is empty")
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise _Bad(f"is no JSON (character {error.pos + 1} of it)") from None
    except (ValueError, RecursionError):
        raise _Bad("is no JSON that can be read") from None
    if not isinstance(row, dict):
        raise _Bad("is no JSON object")
    return row


def _missing(piece: OwnPiece, path: Path, item: _Item, row: Mapping[str, Any]) -> Exception:
    """The first line lacks the text's column: so does, most likely, the file."""
    if item.place == "byte=0":
        where = f"{path}, line 1"
        return _unknown(piece, where, "text_column", piece.config.text_column, list(row))
    return _Bad(f"has no column {piece.config.text_column!r}")


def _string(value: Any, what: str) -> str:
    """Text; JSON may hold halves of surrogate pairs, which are no characters."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Bad(f"has a {what} that is no string")
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value


def _scalar(value: Any, what: str) -> str:
    if value is None or isinstance(value, str):
        return _string(value, what).strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _Bad(f"has an {what} that is neither a string nor a number")


def _label(value: Any, what: str) -> str:
    """A short name, which enters manifests and cards: nothing that could be a text."""
    found = _string(value, what).strip()
    if not _LABEL.fullmatch(found):
        raise _Bad(f"has a {what} that is no name of at most 64 letters, digits and . , : / ( ) + -")
    return found


def _year(value: Any) -> int:
    """0 where the date begins with no year."""
    if isinstance(value, datetime.date):
        return value.year
    found = _YEAR.match(str(value)) if isinstance(value, str | int) else None
    return int(found[1]) if found else 0


def _name(path: Path, item: _Item) -> str:
    """A row by its line, whose number is counted only now."""
    kind, _, number = item.place.partition("=")
    if kind == "row":
        return f"row {int(number) + 1:,}"
    if kind != "byte":
        return f"the file {printable(path.name)}"
    with _opened(path) as stream:
        lines, left = 1, int(number)
        while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
            lines, left = lines + chunk.count(b"\n"), left - len(chunk)
    return f"line {lines:,}"


def _too_large(path: Path) -> UserError:
    return UserError(
        f"a document of more than {MAXIMUM_DOCUMENT_BYTES:,} bytes",
        where=path,
        remedy="divide it: JSON objects by line ends, plain text by empty lines",
    )
