"""Files of many articles, an article at a time: Europe PMC's bulk files (`articles`), E-utilities' answers
(`pmc-articleset`), OAI-PMH's.

Sources: Europe PMC's description of its open access bulk download, https://europepmc.org/downloads/openaccess;
NLM's of E-utilities and of PMC's OAI-PMH service, https://pmc.ncbi.nlm.nih.gov/tools/developers/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS, with_doctype
from biobert_scale.corpus.opening import MAXIMUM_MEMBER_BYTES, BoundedReader

SETS = tuple("articles pmc-articleset OAI-PMH ListRecords GetRecord record metadata records response".split())
"""Root elements: those above, parts of an OAI-PMH answer, and Springer Nature's."""
_READ_BYTES = 1 << 20
_OPENING = re.compile(rb"<((?:[\w.-]+:)?(?:article|book-part-wrapper|book))[\s>]")
_HIDDEN = re.compile(rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)


def articles(stream: BinaryIO, where: str | Path, head: bytes = b"") -> Iterator[tuple[str, bytes]]:
    """Yield each article or book: its element's name, and an XML document of its own, in the elements around
    the first one with their attributes.

    Articles are cut out at their tags, so that one at a time is in memory, and a malformed one is found by
    whoever parses it. Tags in comments and CDATA sections do not count.

    Args:
        where: for errors.
        head: what was read of the stream before.

    Raises:
        ValueError: the XML breaks off.
        XMLSyntaxError: it is damaged before the first article.
        UserError: an article is larger than `MAXIMUM_MEMBER_BYTES`.
    """
    bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=where, what="an article", head=head)
    beginning, endings, buffer, position = b"", b"", b"", 0
    while True:
        found = _next(buffer, position)
        if found is not None:
            name, start, end = found
            if not beginning:
                beginning = buffer[:start]
                endings = _endings(beginning)
            yield name, b"".join((beginning, buffer[start:end], endings))
            bounded.allow_more()
            position = end
        elif chunk := bounded.read(_READ_BYTES):
            buffer, position = buffer[position:] + chunk, 0
        else:
            break
    if not beginning:
        etree.fromstring(with_doctype(buffer), etree.XMLParser(**PARSER_OPTIONS))
    elif not _HIDDEN.sub(b"", buffer[position:]).rstrip().endswith(endings[endings.rindex(b"<") :]):
        raise ValueError("the XML breaks off")


def _endings(beginning: bytes) -> bytes:
    """The tags that close what is open before the first article."""
    parser = etree.XMLPullParser(events=("start", "end"), **PARSER_OPTIONS)
    parser.feed(with_doctype(beginning))
    opened: list[str] = []
    for event, element in parser.read_events():
        if event == "end":
            opened.pop()
        else:
            name = etree.QName(element).localname
            opened.append(f"</{element.prefix}:{name}>" if element.prefix else f"</{name}>")
    return "".join(reversed(opened)).encode()


def _next(buffer: bytes, position: int) -> tuple[str, int, int] | None:
    """The next whole article: its element's name, where it begins and ends. None where more of the file is
    needed to know."""
    opening = _OPENING.search(buffer, position)
    while opening is not None and (hidden := _hidden_at(buffer, position, opening.start())) is not None:
        opening = _OPENING.search(buffer, hidden)
    if opening is None:
        return None
    start = after = opening.start()
    tag = b"</" + opening[1] + b">"
    while (closing := buffer.find(tag, after)) >= 0:
        hidden = _hidden_at(buffer, start, closing)
        if hidden is None:
            return opening[1].decode().rpartition(":")[2], start, closing + len(tag)
        after = hidden
    return None


def _hidden_at(buffer: bytes, start: int, position: int) -> int | None:
    """The end of the comment or CDATA section that holds a position; None where none does."""
    if buffer.find(b"<!", start, position) < 0:
        return None
    for hidden in _HIDDEN.finditer(buffer, start):
        if hidden.start() > position:
            return None
        if hidden.end() > position:
            return hidden.end()
    return None
