"""A document: what the readers make of one record, and what every later stage reads."""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = ("medline", "pmc")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One MEDLINE abstract or one PMC full text as plain text.

    `language` and `title_only` serve the filters and are not written to the corpus.
    """

    id: str
    """`pmid:123`, or `pmcid:PMC123` of a full text that has one; `pmid:` or `pmcid:` without any."""
    source: str
    """`medline` or `pmc`."""
    text: str
    """The title (where there is one) on the first line, then one paragraph a line; no empty lines."""
    pmid: str = ""
    pmcid: str = ""
    """`PMC123`, or empty where unknown."""
    license: str = ""
    """NCBI's group of the article: `comm`, `noncomm`, `other`, or empty (MEDLINE, unknown)."""
    origin: str = ""
    """Name of the raw file, and for a package `:` and the member's path."""
    language: str = ""
    """What the record declares: three-letter MEDLINE codes separated by spaces, or empty."""
    title_only: bool = False
    """The record holds no abstract and no body."""
