"""The PubTator format, in which BC5CDR and the NCBI disease corpus are published.

A document is a title line `PMID|t|...`, an abstract line `PMID|a|...`, and tab-separated rows: mentions
(PMID, start, end, text, kind, concept, and for some composite mentions their parts) and relations (PMID, CID,
chemical, disease). Offsets count characters of the title, one blank, and the abstract. A blank line ends the
document. Wei et al. 2013, "PubTator: a web-based text mining tool for assisting biocuration"; Li et al. 2016,
"BioCreative V CDR task corpus"; Doğan et al. 2014, "NCBI disease corpus".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.files import write_atomically

_TEXT_LINE = re.compile(r"(\d+)\|([ta])\|(.*)")


@dataclass(frozen=True, kw_only=True)
class Mention:
    """An annotated name: document characters `start` to `end` (exclusive), and the corpus's own kind."""

    start: int
    end: int
    kind: str
    composite: bool


@dataclass(frozen=True, kw_only=True)
class AnnotatedDocument:
    pmid: str
    title: str
    abstract: str
    mentions: tuple[Mention, ...]

    @property
    def text(self) -> str:
        """The string that the mentions' offsets count in."""
        return f"{self.title} {self.abstract}"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, without line ends and a byte order mark; blanks at
    a line's end are kept.

    Raises:
        UserError: the file is not UTF-8.
    """
    # A bare carriage return or a Unicode line separator is text here: offsets count it.
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise UserError(
                    "not UTF-8 text", where=f"{path}:{number}", remedy="restore the original file"
                ) from None
            yield number, line.removesuffix("\n").removesuffix("\r")


def read_pubtator(path: Path, kinds: frozenset[str]) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read a file and check every offset against the text.

    Args:
        path: a PubTator file.
        kinds: the kinds of mention that this corpus knows.

    Returns:
        The documents in file order, and counts of the file's peculiarities: `duplicate_documents` (the same
        document with the same mentions again: left out) and `duplicate_mentions` (theirs), `stray_blanks`
        (blanks around a mention's text or span: trimmed), `repeated_mentions`, `discontinuous_mentions`
        (composite ones with a name, as their row lists them, that does not stand in one piece in the text).

    Raises:
        UserError: a malformed row, an offset that does not meet its text, an unknown kind, or one PMID with
            two texts or two sets of mentions; with the file and line.
    """
    documents: dict[str, AnnotatedDocument] = {}
    counts: Counter[str] = Counter()
    block: list[tuple[int, str]] = []
    for number, line in [*read_lines(path), (0, "")]:
        if line.strip():
            block.append((number, line))
        elif block:
            document = _parse_document(path, block, kinds, counts)
            first = documents.setdefault(document.pmid, document)
            if first is not document:
                if first != document:
                    differing = "texts" if first.text != document.text else "mentions"
                    raise UserError(
                        f"PMID {document.pmid} stands twice with different {differing}",
                        where=f"{path}:{block[0][0]}",
                        remedy="keep one of the two",
                    )
                counts["duplicate_documents"] += 1
                counts["duplicate_mentions"] += len(document.mentions)
            block = []
    if not documents:
        raise UserError("no document in the file", where=path, remedy="restore the original file")
    return list(documents.values()), counts


def _parse_document(
    path: Path, block: list[tuple[int, str]], kinds: frozenset[str], counts: Counter[str]
) -> AnnotatedDocument:
    heads = [_TEXT_LINE.fullmatch(line) for _, line in block[:2]]
    if (
        len(heads) < 2
        or not heads[0]
        or not heads[1]
        or heads[0][2] != "t"
        or heads[1][2] != "a"
        or heads[0][1] != heads[1][1]
    ):
        what = "a document must begin with 'PMID|t|title' and 'PMID|a|abstract'"
        raise UserError(what, where=f"{path}:{block[0][0]}", remedy="restore the original file")
    pmid, title, abstract = heads[0][1], heads[0][3], heads[1][3]
    text = f"{title} {abstract}"
    mentions: dict[tuple[int, int, str], Mention] = {}
    for number, line in block[2:]:
        fields = line.split("\t")
        if len(fields) == 4 and fields[0] == pmid and fields[1] == "CID":
            continue  # a relation between two concepts: no mention
        mention = _parse_mention(fields, pmid, text, kinds, where=f"{path}:{number}", counts=counts)
        if mentions.setdefault((mention.start, mention.end, mention.kind), mention) is not mention:
            counts["repeated_mentions"] += 1
    ordered = sorted(mentions.values(), key=lambda mention: (mention.start, -mention.end))
    return AnnotatedDocument(pmid=pmid, title=title, abstract=abstract, mentions=tuple(ordered))


def _parse_mention(
    fields: list[str], pmid: str, text: str, kinds: frozenset[str], *, where: str, counts: Counter[str]
) -> Mention:
    def refuse(what: str) -> UserError:
        return UserError(what, where=where, remedy="restore the original file")

    if (
        len(fields) not in (6, 7)
        or fields[0] != pmid
        or not (fields[1].isdecimal() and fields[2].isdecimal())
    ):
        raise refuse("expected six or seven fields: PMID, start, end, text, kind, concept, parts")
    start, end, kind = int(fields[1]), int(fields[2]), fields[4]
    if kind not in kinds:
        raise refuse(f"unknown kind of mention '{kind}' (known: {', '.join(sorted(kinds))})")
    span = text[start:end]
    if span.strip() != fields[3].strip() or not span.strip():
        raise refuse(f"the text at {start}-{end} is {span!r}, not {fields[3]!r}")
    if span != fields[3] or span != span.strip():
        counts["stray_blanks"] += 1
    if len(fields) == 7:
        counts["discontinuous_mentions"] += any(part.strip() not in span for part in fields[6].split("|"))
    start += len(span) - len(span.lstrip())
    # Where one span names several concepts, the NCBI corpus has a kind of its own and BC5CDR lists the parts.
    return Mention(
        start=start,
        end=start + len(span.strip()),
        kind=kind,
        composite=kind == "CompositeMention" or len(fields) == 7,
    )


def write_pubtator(
    path: Path, documents: Iterable[AnnotatedDocument], spans: dict[str, set[tuple[int, int]]], kind: str
) -> None:
    """Write documents with these entities in place of their mentions; the concept is "-", since nobody looked
    for one."""
    blocks = []
    for document in documents:
        rows = [
            f"{document.pmid}\t{start}\t{end}\t{document.text[start:end]}\t{kind}\t-\n"
            for start, end in sorted(spans[document.pmid])
        ]
        blocks.append(
            f"{document.pmid}|t|{document.title}\n{document.pmid}|a|{document.abstract}\n{''.join(rows)}\n"
        )
    write_atomically(path, "".join(blocks))
