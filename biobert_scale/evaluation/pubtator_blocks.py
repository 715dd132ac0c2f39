"""The lines of PubTator files, read the same way for `prepare`, `score` and `tag`.

A document is a title line `ID|t|...`, an abstract line `ID|a|...`, further sections (`ID|b|...`), and rows
whose tab-separated fields begin with the same ID: mentions (ID, start, end, text, kind, concept, ...) and
relations (ID, name, concepts). Offsets count characters of the sections with one blank between them. Files in
use also wrap a section over several lines (a line end counts as one character), leave out the blank line
between documents, and have Windows line ends or a byte order mark.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from biobert_scale.errors import UserError

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Where `str.splitlines` and other readers of text begin a new line."""
_ONE_LINE = dict.fromkeys(map(ord, LINE_BREAKS + "\t"), " ")
_SECTION = re.compile(r"\ufeff?([^|\t]+)\|([A-Za-z]\w*)\|(.*)", re.DOTALL)
_PLAIN_ID = re.compile(r"[\w.:/+-]+")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One document as its lines give it."""

    id: str
    line: int
    """Number of its first line."""
    sections: list[tuple[str, str]]
    """(letter, text), title `t` and abstract `a` first; a wrapped section holds its line ends as `\\n`."""
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    """(number of the line, fields after the ID) of its annotations."""


@dataclass(frozen=True, kw_only=True)
class MentionRow:
    """An annotated name: document characters `start` to `end` (exclusive)."""

    line: int
    start: int
    end: int
    text: str
    kind: str
    parts: tuple[str, ...]
    """The names of a composite mention, where its row lists one for each of its concepts."""


@dataclass(frozen=True, kw_only=True)
class RelationRow:
    """A relation between concepts, by its name."""

    name: str


def one_line(text: str) -> str:
    """Line breaks and tabs as blanks, one for one, so that offsets hold."""
    return text.translate(_ONE_LINE)


def numbered_lines(stream: Iterable[bytes], where: str) -> Iterator[tuple[int, str]]:
    """The lines of UTF-8 text with their numbers from 1, without line ends and a byte order mark; blanks at a
    line's end are kept. A bare carriage return or a Unicode line separator is text: offsets count it.

    Raises:
        UserError: not UTF-8, with the line.
    """
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            remedy = "restore the original file, or convert it with iconv"
            raise UserError("not UTF-8 text", where=f"{where}:{number}", remedy=remedy) from None
        yield number, line.removesuffix("\n").removesuffix("\r")


def is_document_start(line: str) -> bool:
    """Whether a line is a document's title."""
    section = _SECTION.fullmatch(line)
    return section is not None and section[2] == "t"


def read_blocks(lines: Iterable[tuple[int, str]], where: str) -> Iterator[Block]:
    """Yield the documents of a file's numbered lines; memory holds one.

    Raises:
        UserError: a line that belongs to no document, or a document without title or abstract; with the line.
    """
    block: Block | None = None
    for (number, line), (_, following) in itertools.pairwise(itertools.chain(lines, [(0, "")])):
        if not line.strip():
            if block:
                yield _checked(block, where)
            block = None
            continue
        section = _SECTION.fullmatch(line)
        name = section[1].strip() if section else line.partition("\t")[0].strip()
        if section and section[2] == "t" and (block is None or _begins(section[1], following)):
            if block:
                yield _checked(block, where)
            block = Block(id=name, line=number, sections=[("t", section[3])])
        elif block is None:
            raise _no_document(where, number)
        elif section and name == block.id:
            block.sections.append((section[2], section[3]))
        elif "\t" in line and name == block.id:
            block.rows.append((number, line.rstrip("\t ").split("\t")[1:]))
        elif not block.rows and not _is_foreign(name, section is not None or "\t" in line):
            letter, text = block.sections[-1]
            block.sections[-1] = letter, f"{text}\n{line}"
        else:
            _checked(block, where)
            what = f"neither a section nor a row of document {block.id}"
            remedy = "begin each document with 'ID|t|title', and each of its rows with its ID"
            raise UserError(what, where=f"{where}:{number}", remedy=remedy)
    if block:
        yield _checked(block, where)


def _begins(identifier: str, following: str) -> bool:
    """Whether a title line inside a document begins another one: a wrapped abstract, too, may have a line
    such as `P(|t| > 2)`."""
    return bool(_PLAIN_ID.fullmatch(identifier)) or following.startswith(f"{identifier}|a|")


def _is_foreign(name: str, marked: bool) -> bool:
    """Whether a line has the marks of a section or row, of another document than the current one."""
    return marked and bool(_PLAIN_ID.fullmatch(name))


def _checked(block: Block, where: str) -> Block:
    if len(block.sections) < 2 or block.sections[1][0] != "a":
        raise _no_document(where, block.line)
    return block


def _no_document(where: str, line: int) -> UserError:
    what = "a document must begin with 'ID|t|title' and 'ID|a|abstract'"
    remedy = "correct the file, or give one in PubTator's format"
    return UserError(what, where=f"{where}:{line}", remedy=remedy)


def parse_rows(block: Block, where: str) -> Iterator[MentionRow | RelationRow]:
    """Yield a document's annotations.

    Raises:
        UserError: a row that is neither a mention with a type nor a relation; with the line.
    """
    for line, fields in block.rows:
        if len(fields) >= 4 and fields[0].isdecimal() and fields[1].isdecimal() and fields[3].strip():
            start, end, text, kind = int(fields[0]), int(fields[1]), fields[2], fields[3].strip()
            parts = _parts(*fields[4:6])
            yield MentionRow(line=line, start=start, end=end, text=text, kind=kind, parts=parts)
        elif _is_relation(fields, block):
            yield RelationRow(name=fields[0])
        else:
            what = "expected a mention (ID, start, end, text, kind, ...) or a relation (ID, name, concepts)"
            raise UserError(what, where=f"{where}:{line}", remedy="correct the line")


def _parts(concepts: str = "", names: str = "") -> tuple[str, ...]:
    """Other corpora keep other things in the seventh field: a score, or a note."""
    parts = tuple(names.split("|"))
    return parts if len(parts) == len(concepts.split("|")) > 1 else ()


def _is_relation(fields: list[str], block: Block) -> bool:
    """Concepts may be bare numbers, as a mention's end is; a mention's text is in the document."""
    if len(fields) < 3 or not fields[0][:1].isalpha():
        return False
    return not (fields[1].isdecimal() and any(fields[2] in text for _, text in block.sections))
