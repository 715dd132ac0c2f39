"""A document: what the readers make of one record, and what every later stage reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biobert_scale.config import OwnTextConfig
from biobert_scale.files import Manifest

SOURCES = ("medline", "pmc")
"""Those of XML; every other one is own text, see `OwnTextConfig`."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One MEDLINE abstract, PMC full text or own text as plain text.

    What comes after `origin` serves the filters and is not written to the corpus.
    """

    id: str
    """`pmid:123`, or `pmcid:PMC123` of a full text that has one; `pmid:` or `pmcid:` without any; of own text
    the source's name, a colon, and its own id or a hash of the text."""
    source: str
    """`medline`, `pmc`, or the name of own text."""
    text: str
    """The title (where there is one) on the first line, then one paragraph a line; no empty lines."""
    pmid: str = ""
    pmcid: str = ""
    """`PMC123`, or empty where unknown."""
    license: str = ""
    """NCBI's group of the article: `comm`, `noncomm`, `other`, or empty (MEDLINE, unknown); of own text its
    licence."""
    origin: str = ""
    """Name of the raw file, and for a package `:` and the member's path, for own text `:` and its place."""
    language: str = ""
    """What the record declares: three-letter MEDLINE codes separated by spaces, or empty."""
    title_only: bool = False
    """The record holds no abstract and no body."""
    license_name: str = ""
    """As PMC or the owner writes it (`CC BY`)."""
    retracted: bool = False
    """The article is retracted, or is the notice that retracts another."""
    publication_types: tuple[str, ...] = ()
    year: int = 0
    """Of publication, the earliest of several; 0 where unknown."""
    own: OwnTextConfig | None = None
    """How own text is read."""


def is_private(source: str, corpus: Manifest) -> bool:
    """Whether a source of a finished corpus is own text that is private."""
    own = (corpus.config or {}).get("own", {}).get(source.partition("/")[0])
    return own is not None and bool(own["private"])


def private_sources(corpus: Manifest) -> list[str]:
    """The private sources of a finished corpus."""
    return [source for source in sources_of(corpus.counts) if is_private(source, corpus)]


def is_all_private(corpus: Manifest) -> bool:
    """Whether a finished corpus holds text of private sources alone."""
    own = private_sources(corpus)
    return bool(own) and sum(corpus.counts[f"documents_{name}"] for name in own) == corpus.counts["documents"]


def sources_of(counts: Mapping[str, Any]) -> list[str]:
    """The sources that a corpus' manifest counts, own text last."""
    return [name.removeprefix("records_") for name in counts if name.startswith("records_")]
