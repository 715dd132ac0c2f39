"""Streams documents out of plain text, PubMed XML and PubTator, from files and standard input."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from isal import igzip

from biobert_scale.corpus.cleaning.clean import clean_text
from biobert_scale.corpus.opening import reading
from biobert_scale.corpus.readers.medline import abstract_in, read_medline
from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator_blocks import numbered_lines, read_blocks
from biobert_scale.tag.formats import is_pubmed_root, recognise

InputFormat = Literal["auto", "lines", "text", "pubmed", "pubtator"]
STANDARD = Path("-")
"""Standard input or output."""
_LOOK_BYTES = 4096
_GZIP = b"\x1f\x8b"
_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TextDocument:
    """One text to tag. Entities' offsets count characters (Unicode code points) of `text`."""

    id: str
    title: str
    """The whole text where there is no abstract."""
    abstract: str = ""
    sections: tuple[tuple[str, str], ...] = ()
    """(letter, text) of each section that a PubTator document has after its abstract."""

    @property
    def text(self) -> str:
        """Title, one blank, abstract, and each further section after one blank: as PubTator counts."""
        return " ".join(self._stretches())

    def _stretches(self) -> list[str]:
        later = [text for _, text in self.sections]
        return [self.title, self.abstract, *later] if self.abstract or later else [self.title]

    def parts(self) -> list[tuple[int, str]]:
        """The stretches that sentences do not cross, each with the offset that it begins at. A single line
        end inside one is a blank."""
        parts, start = [], 0
        for stretch in self._stretches():
            if stretch:
                parts.append((start, _LINE_END.sub(" ", stretch)))
            start += len(stretch) + 1
        return parts


def read_documents(path: Path, form: InputFormat = "auto") -> Iterator[TextDocument]:
    """Yield the documents of a file in order; memory holds one at a time.

    Args:
        path: a file, gzipped or not; `-` for standard input.
        form: `lines` (each line that is not empty is a document, named by its number), `text` (the whole file
            is one), `pubmed` (a PubmedArticleSet: title and abstract, cleaned as the corpus is, an English
            `OtherAbstract` where there is no abstract; offsets count in the text that is given out),
            `pubtator` (every section of a document; its annotations are passed over and counted in the log),
            or `auto`: by the first bytes, `lines` where they are none of the formats that are known.

    Raises:
        UserError: the file is damaged, is not UTF-8, or is not of that format; with the place.
    """
    where = "standard input" if path == STANDARD else str(path)
    with _opened(path) as stream, reading(where):
        beginning = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES]
        if form == "auto":
            form = recognise(beginning, where)
        if form == "pubmed":
            yield from _pubmed(stream, where, may_be_empty=is_pubmed_root(beginning))
        elif form == "pubtator":
            yield from _pubtator(numbered_lines(stream, where), where)
        elif form == "lines":
            for number, line in numbered_lines(stream, where):
                if line.strip():
                    yield TextDocument(id=str(number), title=line)
        else:
            text = "\n".join(line for _, line in numbered_lines(stream, where))
            if text.strip():
                yield TextDocument(id="1", title=text)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    stream: Any = sys.stdin.buffer if path == STANDARD else open(path, "rb")  # noqa: SIM115
    try:
        if stream.peek(2)[:2] == _GZIP:
            expanded = igzip.IGzipFile(fileobj=stream)  # type: ignore[no-untyped-call]
            yield io.BufferedReader(cast(io.RawIOBase, expanded))
        else:
            yield stream
    finally:
        if path != STANDARD:
            stream.close()


def _pubmed(stream: BinaryIO, where: str, *, may_be_empty: bool) -> Iterator[TextDocument]:
    number, passed_over = 0, Counter[str]()
    for number, record in enumerate(read_medline(stream), start=1):
        paragraphs, _ = abstract_in(record, ("eng",))
        title, abstract = map(clean_text, (record.title, "\n".join(paragraphs)))
        title, abstract = title.replace("\n", " "), abstract.replace("\n", " ")
        if title or abstract:
            yield TextDocument(id=record.pmid or f"record-{number}", title=title, abstract=abstract)
        else:
            passed_over["deletion lists" if record.deleted else "records without title and abstract"] += 1
    if not number and not may_be_empty:
        remedy = "give PubMed XML, or choose another --input-format"
        raise UserError("no PubMed record", where=where, remedy=remedy)
    _report(passed_over)


def _pubtator(lines: Iterator[tuple[int, str]], where: str) -> Iterator[TextDocument]:
    passed_over = Counter[str]()
    for block in read_blocks(lines, where):
        passed_over["annotation rows"] += len(block.rows)
        (_, title), (_, abstract), *later = block.sections
        yield TextDocument(id=block.id, title=title, abstract=abstract, sections=tuple(later))
    _report(passed_over)


def _report(passed_over: Counter[str]) -> None:
    for what, number in passed_over.items():
        if number:
            _log.info("passed over in the input: %d %s", number, what)
