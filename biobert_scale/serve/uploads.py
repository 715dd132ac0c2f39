"""What clients send: bytes to documents, within limits."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.opening import HEAD_BYTES, REMEDY
from biobert_scale.errors import UserError
from biobert_scale.serve.limits import EXPANSION, MAXIMUM_CHARACTERS, MAXIMUM_DOCUMENTS, Limits
from biobert_scale.serve.refused import Refused
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import passed_over, read_stream
from biobert_scale.tag.formats import InputFormat

_SPLIT = "divide it, or use `biobert-scale tag`, which has no such limit"
_NAME_CHARACTERS = 200


class Upload(NamedTuple):
    documents: list[TextDocument]
    passed_over: str
    """What was not read, in words; empty where all was."""


def read_texts(body: bytes) -> Upload:
    """The documents of `{"texts": [...]}`, each a text, named by its number from 1.

    Raises:
        Refused: anything else, or too much.
    """
    remedy = 'send {"texts": ["...", "..."]}'
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "JSON that is damaged" if isinstance(error, ValueError) else "JSON that is nested too deeply"
        raise Refused(400, f"{what} ({error})", where="the request", remedy=remedy) from None
    texts = given.get("texts") if isinstance(given, dict) and given.keys() == {"texts"} else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "no object with a list of strings `texts`", where="the request", remedy=remedy)
    for number, text in enumerate(texts, start=1):
        check_characters(text, f"text {number}")
    made = (TextDocument(id=str(number), title=text) for number, text in enumerate(texts, start=1))
    return Upload(_counted(made), "")


def read_file(body: bytes, name: str, form: InputFormat, limits: Limits) -> Upload:
    """The documents of a file as `biobert-scale tag` reads it.

    Args:
        name: of the file, or empty.

    Raises:
        Refused: it is damaged, of another format, a package, or larger than the limits.
    """
    name = " ".join(PurePosixPath(name).name.split())[:_NAME_CHARACTERS]
    where = name or "the request"
    not_read: NotRead = {}

    def bound(content: BinaryIO) -> BinaryIO:
        stream = io.BufferedReader(_Bounded(content, EXPANSION * limits.request_bytes, where))
        head = stream.peek(HEAD_BYTES)
        if head.startswith(b"PK") or head[257:262] == b"ustar":
            remedy = "send its files one by one, or use `biobert-scale tag`"
            raise Refused(415, "a zip or tar package, which is not opened here", where=where, remedy=remedy)
        return stream

    try:
        documents = _counted(read_stream(io.BytesIO(body), where, name, form, not_read=not_read, bound=bound))
    except Refused:
        raise
    except UserError as error:
        remedy = "mend it" if error.remedy == REMEDY else error.remedy
        raise Refused(400, error.what, where=error.where, remedy=remedy) from None
    for document in documents:
        check_characters(document.id + document.text, where)
    return Upload(documents, passed_over(not_read))


def check_characters(text: str, where: str) -> None:
    """Refuse half of a pair of surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"half of a surrogate pair, at character {error.start}"
        raise Refused(400, what, where=where, remedy="send the text as UTF-8") from None


def _counted(documents: Iterable[TextDocument]) -> list[TextDocument]:
    kept: list[TextDocument] = []
    characters = 0
    for document in documents:
        kept.append(document)
        characters += len(document.text)
        if characters > MAXIMUM_CHARACTERS:
            what = f"more than {MAXIMUM_CHARACTERS:,} characters of text"
            raise Refused(413, what, where="the request", remedy=_SPLIT)
        if len(kept) > MAXIMUM_DOCUMENTS:
            what = f"more than {MAXIMUM_DOCUMENTS:,} documents"
            raise Refused(413, what, where="the request", remedy=_SPLIT)
    return kept


class _Bounded(io.RawIOBase):
    """A stream's bytes, but no more than so many."""

    def __init__(self, stream: BinaryIO, limit: int, where: str) -> None:
        self._stream, self._limit, self._left, self._where = stream, limit, limit, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            what = f"more than {self._limit:,} bytes, decompressed"
            raise Refused(413, what, where=self._where, remedy=_SPLIT)
        buffer[: len(data)] = data
        return len(data)
