"""Reads books in BITS and in NLM's older book tag set, as NCBI's Bookshelf has them: each part with a text of
its own is a document.

Source: the Book Interchange Tag Set (https://jats.nlm.nih.gov/extensions/bits/).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree

from biobert_scale.corpus.cleaning.markup import collapse, local_name, with_doctype
from biobert_scale.corpus.readers.jats import (
    JatsArticle,
    Stated,
    abstract_of,
    body_of,
    language_of,
    parse,
    title_of,
)

BOOKS = ("book", "book-part", "book-part-wrapper")
"""Root elements."""
_BOOKS_ANYWHERE = tuple(f"{{*}}{name}" for name in BOOKS)


class BookPart(NamedTuple):
    """A chapter, or another part that has a text besides the parts in it."""

    name: str
    """What the book and the part call themselves, such as `NBK100/ch1`; the same whenever it is read."""
    text: JatsArticle


def read_book(content: bytes, *, captions: bool = True, file_name: str = "") -> Iterator[BookPart]:
    """Yield the parts of a book, or of a wrapper that holds one, that have a text, without the parts in them.
    Prefaces, indexes and other matter at the front and back of the whole book are not read.

    Args:
        content: the XML file.
        captions: as in `read_jats`.
        file_name: names a book that has no identifier.

    Raises:
        lxml.etree.XMLSyntaxError: the content is not well-formed XML.
        ValueError: its elements are nested without reason.
    """
    root = parse(with_doctype(content))
    book = root if local_name(root) in BOOKS else next(root.iter(*_BOOKS_ANYWHERE), root)
    whole = book.find("{*}book-meta")
    book_name, of_book = next(iter(_identifiers(whole).values()), "") or file_name, Stated.of(whole)
    try:
        for number, part in enumerate(book.iter("{*}book", "{*}book-part"), start=1):
            meta = next(part.iterchildren("{*}book-part-meta", "{*}book-meta"), None)
            if body := body_of(part, captions):
                named = _identifiers(meta)
                stated = Stated.of(meta)
                own_name = next(iter(named.values()), "") or part.get("id") or str(number)
                text = JatsArticle(
                    pmid=named.get("pmid", ""),
                    pmcid=named.get("pmcid", "").upper(),
                    language=language_of(part) or language_of(book),
                    title=title_of(meta),
                    abstract=abstract_of(meta),
                    license=stated.license or of_book.license,
                    retracted=stated.retracted or of_book.retracted,
                    publication_types=(),
                    year=stated.year or of_book.year,
                    body=body,
                )
                yield BookPart(f"{book_name}/{own_name}", text)
    except RecursionError:
        raise ValueError("its elements are nested too deeply") from None


def _identifiers(meta: etree._Element | None) -> dict[str, str]:
    """Type -> identifier, of a book's or a part's metadata. The attribute's name changed between versions."""
    named = meta.iterchildren("{*}book-part-id", "{*}book-id") if meta is not None else ()
    return {
        item.get("book-part-id-type") or item.get("book-id-type") or item.get("pub-id-type") or "": text
        for item in named
        if (text := collapse("".join(item.itertext())))
    }
