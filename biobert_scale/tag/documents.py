"""Streams documents out of plain text, PubMed XML and PubTator, from files and standard input."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from isal import igzip

from biobert_scale.corpus.clean import clean_text
from biobert_scale.corpus.medline import read_medline
from biobert_scale.corpus.raw import reading
from biobert_scale.errors import UserError

InputFormat = Literal["auto", "lines", "text", "pubmed", "pubtator"]
STANDARD = Path("-")
"""Stands for standard input or output."""
_PUBTATOR_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")
_PUBTATOR_START = re.compile(rb"\s*[^|\t\r\n]+\|t\|")
_ELEMENT = re.compile(rb"<([A-Za-z][^\s/>]*)")
_LOOK_BYTES = 4096
_GZIP = b"\x1f\x8b"
_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")


@dataclass(frozen=True, kw_only=True)
class TextDocument:
    """One text to tag. Entities' offsets count characters (Unicode code points) of `text`."""

    id: str
    title: str
    """The whole text where there is no abstract."""
    abstract: str = ""

    @property
    def text(self) -> str:
        """Title, one blank, abstract: as PubTator counts."""
        return f"{self.title} {self.abstract}" if self.abstract else self.title

    def parts(self) -> list[tuple[int, str]]:
        """The stretches that sentences do not cross, each with the offset that it begins at. A single line
        end inside one is a blank."""
        stretches = [(0, self.title), (len(self.title) + 1, self.abstract)]
        return [(start, _LINE_END.sub(" ", stretch)) for start, stretch in stretches if stretch]


def read_documents(path: Path, form: InputFormat = "auto") -> Iterator[TextDocument]:
    """Yield the documents of a file in order; memory holds one at a time.

    Args:
        path: a file, gzipped or not; `-` for standard input.
        form: `lines` (each line that is not empty is a document, named by its number), `text` (the whole file
            is one), `pubmed` (a PubmedArticleSet: title and abstract, cleaned as the corpus is; its offsets
            count in the text that is given out), `pubtator` (annotations that are there are passed over), or
            `auto`: by the first bytes, `lines` where they are neither.

    Raises:
        UserError: the file is damaged, is not UTF-8, or is not of that format; with the place.
    """
    where = "standard input" if path == STANDARD else str(path)
    with _opened(path) as stream, reading(where):
        if form == "auto":
            form = _recognise(stream.peek(_LOOK_BYTES)[:_LOOK_BYTES], where)
        if form == "pubmed":
            yield from _pubmed(stream)
        elif form == "pubtator":
            yield from _pubtator(_lines(stream, where), where)
        elif form == "lines":
            yield from (
                TextDocument(id=str(number), title=line)
                for number, line in _lines(stream, where)
                if line.strip()
            )
        else:
            text = "\n".join(line for _, line in _lines(stream, where))
            yield from [TextDocument(id="1", title=text)] if text.strip() else []


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    stream: Any = sys.stdin.buffer if path == STANDARD else open(path, "rb")  # noqa: SIM115
    try:
        if stream.peek(2)[:2] == _GZIP:
            yield io.BufferedReader(cast(io.RawIOBase, igzip.IGzipFile(fileobj=stream)))
        else:
            yield stream
    finally:
        if path != STANDARD:
            stream.close()


def _recognise(beginning: bytes, where: str) -> InputFormat:
    plain = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if plain.lower().startswith((b"<?xml", b"<!doctype", b"<pubmed", b"<medline", b"<article", b"<html")):
        root = _ELEMENT.search(plain)  # of a pipe only the first line may be there yet: then the parser tells
        if root and not root[1].startswith((b"Pubmed", b"Medline")):
            raise UserError(
                "XML or HTML that is not PubMed's",
                where=where,
                remedy="give PubMed XML, or take its text out and choose --input-format text",
            )
        return "pubmed"
    return "pubtator" if _PUBTATOR_START.match(plain) else "lines"


def _lines(stream: BinaryIO, where: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without their ends and a byte order mark."""
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise UserError(
                "not UTF-8 text", where=f"{where}:{number}", remedy="convert it with iconv"
            ) from None
        yield number, line.removesuffix("\n").removesuffix("\r")


def _pubmed(stream: BinaryIO) -> Iterator[TextDocument]:
    for number, record in enumerate(read_medline(stream), start=1):
        title, abstract = (
            _one_line(clean_text(record.title)),
            _one_line(clean_text("\n".join(record.abstract))),
        )
        if title or abstract:
            yield TextDocument(id=record.pmid or f"record-{number}", title=title, abstract=abstract)


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def _pubtator(lines: Iterator[tuple[int, str]], where: str) -> Iterator[TextDocument]:
    block: list[tuple[int, str]] = []
    for number, line in lines:
        if line.strip():
            block.append((number, line))
        elif block:
            yield _pubtator_document(block, where)
            block = []
    if block:
        yield _pubtator_document(block, where)


def _pubtator_document(block: list[tuple[int, str]], where: str) -> TextDocument:
    heads = [_PUBTATOR_LINE.fullmatch(line) for _, line in block[:2]]
    if (
        len(heads) < 2
        or not heads[0]
        or not heads[1]
        or heads[0][2] != "t"
        or heads[1][2] != "a"
        or heads[0][1] != heads[1][1]
    ):
        raise UserError(
            "a document must begin with 'ID|t|title' and 'ID|a|abstract'",
            where=f"{where}:{block[0][0]}",
            remedy="correct the file, or choose another --input-format",
        )
    return TextDocument(id=heads[0][1], title=heads[0][3], abstract=heads[1][3])
