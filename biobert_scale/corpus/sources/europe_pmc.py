"""Europe PMC's bulk files: thousands of articles each, in one XML file with the root `articles`.

They are fetched like NCBI's bulk files and read as they are, an article at a time. Source: Europe PMC's
description of its open access bulk download, https://europepmc.org/downloads/openaccess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from biobert_scale.corpus.raw import MAXIMUM_MEMBER_BYTES, BoundedReader, open_decompressed, reading
from biobert_scale.errors import UserError

_READ_BYTES = 1 << 20
_OPENING = re.compile(rb"<article[\s>]")
_CLOSING, _ROOT_CLOSING = b"</article>", b"</articles>"
_HIDDEN = re.compile(rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)


def articles(path: Path) -> Iterator[bytes]:
    """Yield each article of a file as an XML document of its own, in the root element with its attributes.

    Articles are cut out at their tags, so that one at a time is in memory, and a malformed one is found by
    whoever parses it. Tags in comments and CDATA sections do not count.

    Raises:
        UserError: the file is damaged or breaks off, or an article is larger than `MAXIMUM_MEMBER_BYTES`.
    """
    with open_decompressed(path) as stream, reading(path):
        bounded = BoundedReader(stream, MAXIMUM_MEMBER_BYTES, where=path, what="an article")
        head, buffer, position = b"", b"", 0
        while True:
            found = _next(buffer, position)
            if found is not None:
                start, end = found
                head = head or buffer[:start]
                yield b"".join((head, buffer[start:end], _ROOT_CLOSING))
                bounded.allow_more()
                position = end
            elif chunk := bounded.read(_READ_BYTES):
                buffer, position = buffer[position:] + chunk, 0
            else:
                break
        if not _HIDDEN.sub(b"", buffer[position:]).rstrip().endswith(_ROOT_CLOSING):
            raise UserError(
                "the XML breaks off",
                where=path,
                remedy="download it again, or move it out of the directory",
            )


def _next(buffer: bytes, position: int) -> tuple[int, int] | None:
    """Where the next whole article begins and ends; None where more of the file is needed to know."""
    opening = _OPENING.search(buffer, position)
    if opening is None:
        return None
    start = after = opening.start()
    while (closing := buffer.find(_CLOSING, after)) >= 0:
        hidden = _hidden_at(buffer, start, closing)
        if hidden is None:
            return start, closing + len(_CLOSING)
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
