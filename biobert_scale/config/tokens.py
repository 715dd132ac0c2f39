"""How documents become a vocabulary and token shards."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The WordPiece vocabulary."""

    size: int = 28_996
    """Entries, special tokens included (28,996 is BERT's cased vocabulary)."""
    lowercase: bool = False
    """Lower-case and strip accents before splitting (an uncased model)."""
    minimum_frequency: int = 2
    """Pairs seen fewer times are not merged."""
    training_characters: int = 1_000_000_000
    """Text to train on at most, in characters, kept in memory; of a larger corpus the documents whose ids
    have the smallest hashes."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "vocabulary", size="[1, 1e7]", minimum_frequency="[1, 1e9]",
            training_characters="[1, 1e15]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """How documents become token shards."""

    validation_fraction: float = 0.005
    """Share of documents held out, chosen by a hash of the document's id: above 0, below 1."""

    def __post_init__(self) -> None:
        check_section(self, "tokens", validation_fraction="(0, 1)")
