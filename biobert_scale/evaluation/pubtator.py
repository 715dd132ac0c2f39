"""The PubTator format, in which BC5CDR and the NCBI disease corpus are published.

Its lines are read by `pubtator_blocks`. In the seventh field of a mention BC5CDR lists the parts of a
composite one. Offsets count characters of the title, one blank, and the abstract. Wei et al. 2013, "PubTator:
a web-based text mining tool for assisting biocuration"; Li et al. 2016, "BioCreative V CDR task corpus";
Doğan et al. 2014, "NCBI disease corpus".
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.metrics.entities import Span, type_of
from biobert_scale.evaluation.pubtator_blocks import (
    Block,
    MentionRow,
    RelationRow,
    numbered_lines,
    one_line,
    parse_rows,
    read_blocks,
)
from biobert_scale.files import write_atomically


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
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
        yield from numbered_lines(stream, str(path))


def read_pubtator(
    path: Path, kinds: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read a file and check every offset against the text.

    Args:
        path: a PubTator file.
        kinds: the kinds of mention to read, in whatever case the file has them.
        others: kinds that the corpus has besides, for another task: passed over.

    Returns:
        The documents in file order, and counts of the file's peculiarities: `relations` (passed over),
        `duplicate_documents` (the same document with the same mentions again: left out) and, each over the
        mentions of `kinds` alone, `duplicate_mentions` (theirs), `stray_blanks` (blanks around a mention's
        text or span: trimmed), `repeated_mentions`, `discontinuous_mentions` (composite ones with a name, as
        their row lists them, that is not in one piece in the text).

    Raises:
        UserError: a malformed row, an offset that does not meet its text, an unknown kind, or one PMID with
            two texts or two sets of mentions; with the file and line.
    """
    known = {kind.casefold(): kind for kind in kinds | others}
    documents: dict[str, AnnotatedDocument] = {}
    counts: Counter[str] = Counter()
    for block in read_blocks(read_lines(path), str(path)):
        document = _annotated(path, block, known, kinds, counts)
        first = documents.setdefault(document.pmid, document)
        if first is not document:
            if first != document:
                differing = "texts" if first.text != document.text else "mentions"
                what = f"PMID {document.pmid} is there twice with different {differing}"
                raise UserError(what, where=f"{path}:{block.line}", remedy="keep one of the two")
            counts["duplicate_documents"] += 1
            counts["duplicate_mentions"] += len(document.mentions)
    if not documents:
        raise UserError("no document in the file", where=path, remedy="restore the original file")
    return list(documents.values()), counts


def _annotated(
    path: Path, block: Block, known: dict[str, str], kinds: frozenset[str], counts: Counter[str]
) -> AnnotatedDocument:
    (_, title), *rest = [(letter, text.replace("\n", " ")) for letter, text in block.sections]
    abstract = " ".join(text for _, text in rest)
    text = f"{title} {abstract}"
    mentions: dict[tuple[int, int, str], Mention] = {}
    for row in parse_rows(block, str(path)):
        if isinstance(row, RelationRow):
            counts["relations"] += 1
            continue
        kind = known.get(row.kind.casefold(), "")
        found = Counter[str]()
        mention = _mention(row, kind, text, f"{path}:{row.line}", found)
        if not kind:
            what = f"unknown kind of mention '{row.kind}' (known: {', '.join(sorted(known.values()))})"
            remedy = "restore the original file, or add it to the task's types or other_types"
            raise UserError(what, where=f"{path}:{row.line}", remedy=remedy)
        if kind in kinds:
            counts.update(+found)
            if mentions.setdefault((mention.start, mention.end, kind), mention) is not mention:
                counts["repeated_mentions"] += 1
    ordered = sorted(mentions.values(), key=lambda m: (m.start, -m.end, m.kind))
    return AnnotatedDocument(pmid=block.id, title=title, abstract=abstract, mentions=tuple(ordered))


def _mention(row: MentionRow, kind: str, text: str, where: str, counts: Counter[str]) -> Mention:
    span = text[row.start : row.end]
    if one_line(span).strip() != one_line(row.text).strip() or not span.strip():
        what = f"the text at {row.start}-{row.end} is {span!r}, not {row.text!r}"
        raise UserError(what, where=where, remedy="restore the original file")
    counts["stray_blanks"] += span != row.text or span != span.strip()
    counts["discontinuous_mentions"] += any(part.strip() not in span for part in row.parts)
    start = row.start + len(span) - len(span.lstrip())
    # Where one span names several concepts, the NCBI corpus has a kind of its own and BC5CDR lists the parts.
    composite = kind == "CompositeMention" or bool(row.parts)
    return Mention(start=start, end=start + len(span.strip()), kind=kind, composite=composite)


def write_pubtator(
    path: Path, documents: Iterable[AnnotatedDocument], spans: Mapping[str, Set[Span]], kind: str
) -> None:
    """Write documents with these entities in place of their mentions; the concept is "-", since nobody looked
    for one.

    Args:
        kind: the type of spans without one.
    """
    blocks = []
    for document in documents:
        rows = [
            f"{document.pmid}\t{start}\t{end}\t{one_line(document.text[start:end])}\t{own or kind}\t-\n"
            for start, end, own in sorted((span[0], span[1], type_of(span)) for span in spans[document.pmid])
        ]
        title, abstract = one_line(document.title), one_line(document.abstract)
        blocks.append(f"{document.pmid}|t|{title}\n{document.pmid}|a|{abstract}\n{''.join(rows)}\n")
    write_atomically(path, "".join(blocks))
