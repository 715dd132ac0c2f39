"""How raw XML, or the made-up literature, becomes documents, a vocabulary and token shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.languages:
            raise UserError("no language", where="corpus.languages", remedy="name at least one")


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(Section, path="synthetic"):
    """The made-up literature that stands in where no real files are given."""

    abstracts: Annotated[int, "[1, 1e8]"] = 3000
    full_texts: Annotated[int, "[0, 1e8]"] = 150


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
