"""How raw XML, or the made-up literature, becomes documents, a vocabulary and token shards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError

_OWN_NAME = re.compile("[A-Za-z][A-Za-z0-9-]{0,63}")
_TAKEN = ("medline", "pmc", "pubmed")


@dataclass(frozen=True, kw_only=True)
class OwnTextConfig(Section, path="corpus.own"):
    """How one source of own text is read. Where its files are is no setting: `corpus build --own NAME=PATH`.

    A column is a field of a JSON object, or a column of a table; `.txt` files have none. Empty: there is no
    such column.
    """

    text_column: str = "text"
    """The text."""
    title_column: str = ""
    """A title, which comes before the text."""
    id_column: str = ""
    """The document's id, which decides whether it is held out: documents of one id are held out together.
    Without it the id is a hash of the text, the same whatever file the text is in."""
    source_column: str = ""
    """Divides the source: the corpus' source is then NAME/VALUE."""
    license_column: str = ""
    """The document's licence."""
    date_column: str = ""
    """A year, or a date that begins with it; for `first_year` and `last_year`."""
    license: str = ""
    """The licence of all documents, or of those whose column is empty."""
    txt_documents: Literal["blank_lines", "files"] = "blank_lines"
    """What a document is in `.txt` files: what is between empty lines, as in BERT's own tools, or a file."""
    skip: tuple[
        Literal["normalize", "invisible", "too_short", "language", "symbol_heavy", "bad_lines"], ...
    ] = ()
    """Steps that are left out. normalize: Unicode's NFC, one spelling of the micro sign. invisible: removing
    characters without a glyph. too_short, language, symbol_heavy: rejecting for this reason. bad_lines:
    refusing a file with lines that cannot be read; they are then rejected as `malformed`."""
    private: bool = True
    """The text is shown on no screen and in no report unless asked for, and no vocabulary is trained on it
    where there is other text."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(Section, path="corpus"):
    """How raw XML becomes documents."""

    languages: tuple[str, ...] = ("eng",)
    """Languages kept, as MEDLINE's three-letter codes."""
    minimum_words: Annotated[int, "[1, 1e9]"] = 20
    """Documents with fewer white-space-separated words are rejected as too short."""
    captions: bool = True
    """Keep the captions of figures and tables in full texts."""
    characters_per_shard: Annotated[int, "[1, 1e12]"] = 200_000_000
    """Text in one Parquet file of the output, about; all files of a corpus hold nearly the same amount."""
    near_duplicate_similarity: Annotated[float, "(0, 1000]"] = 0.8
    """Jaccard similarity of two documents' runs of five words from which the later one is left out; above 1
    keeps all."""
    benchmark_splits: tuple[str, ...] = ("test",)
    """Splits of the benchmarks whose documents are left out, where benchmarks are given."""
    benchmark_overlap: Annotated[float, "(0, 1]"] = 0.1
    """Share of a benchmark document's runs of 13 words from which a document that holds them is left out."""
    licenses: tuple[str, ...] = ("any",)
    """Licences of the full texts and own texts to keep, as PMC writes them (case, blanks and hyphens aside);
    `any` keeps all. Otherwise a text that states no licence is left out; abstracts of MEDLINE, which never
    do, are kept."""
    retracted: bool = False
    """Keep retracted articles and the notices that retract them. Their findings are withdrawn, and a model
    would learn them as true."""
    excluded_publication_types: tuple[str, ...] = ()
    """Publication types to leave out, as MEDLINE (Editorial) or JATS (editorial) names them; case, blanks and
    hyphens aside."""
    first_year: Annotated[int, "[0, 9999]"] = 0
    """Leave out what was published earlier, or states no year; 0 has no limit."""
    last_year: Annotated[int, "[0, 9999]"] = 9999
    """Leave out what was published later, or states no year; 9999 has no limit."""
    own: dict[str, OwnTextConfig] = field(default_factory=dict)
    """Sources of own text by name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.languages:
            raise UserError("no language", where="corpus.languages", remedy="name at least one")
        for name in self.own:
            if not _OWN_NAME.fullmatch(name) or name.lower() in _TAKEN:
                raise UserError(
                    f"no source can be named {name!r}",
                    where="corpus.own",
                    remedy=f"use letters, digits and hyphens, and none of {', '.join(_TAKEN)}",
                )

    def private(self, source: str) -> bool:
        """Whether the text of a source is private."""
        own = self.own.get(source.partition("/")[0])
        return own is not None and own.private


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(Section, path="synthetic"):
    """The made-up literature that stands in where no real files are given."""

    abstracts: Annotated[int, "[1, 1e8]"] = 3000
    """Made-up PubMed records."""
    full_texts: Annotated[int, "[0, 1e8]"] = 150
    """Made-up PMC articles."""


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig(Section, path="vocabulary"):
    """The WordPiece vocabulary."""

    size: Annotated[int, "[1, 1e7]"] = 28_996
    """Entries, special tokens included (28,996 is BERT's cased vocabulary)."""
    lowercase: bool = False
    """Lower-case and strip accents before splitting (an uncased model)."""
    minimum_frequency: Annotated[int, "[1, 1e9]"] = 2
    """Pairs seen fewer times are not merged."""
    training_characters: Annotated[int, "[1, 1e15]"] = 1_000_000_000
    """Text to train on at most, in characters, kept in memory; of a larger corpus the documents whose ids
    have the smallest hashes."""


@dataclass(frozen=True, kw_only=True)
class TokensConfig(Section, path="tokens"):
    """How documents become token shards."""

    validation_fraction: Annotated[float, "(0, 1)"] = 0.005
    """Share of documents held out, chosen by a hash of the document's id: above 0, below 1."""
