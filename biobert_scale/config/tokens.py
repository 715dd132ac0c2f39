"""How documents become a vocabulary and token shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biobert_scale.config.section import Section


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
