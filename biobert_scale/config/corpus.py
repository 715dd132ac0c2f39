"""How raw XML becomes documents."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How raw XML becomes documents."""

    languages: tuple[str, ...] = ("eng",)
    """Languages kept, as MEDLINE's three-letter codes."""
    minimum_words: int = 20
    """Documents with fewer white-space-separated words are rejected as too short."""
    captions: bool = True
    """Keep the captions of figures and tables in full texts."""
    characters_per_shard: int = 200_000_000
    """Text in one Parquet file of the output, about; all files of a corpus hold nearly the same amount."""
    near_duplicate_similarity: float = 0.8
    """Jaccard similarity of two documents' runs of five words from which the later one is left out; above 1
    keeps all."""
    benchmark_splits: tuple[str, ...] = ("test",)
    """Splits of the benchmarks whose documents are left out, where benchmarks are given."""
    benchmark_overlap: float = 0.1
    """Share of a benchmark document's runs of 13 words from which a document that holds them is left out."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "corpus", minimum_words="[1, 1e9]", characters_per_shard="[1, 1e12]",
            near_duplicate_similarity="(0, 1000]", benchmark_overlap="(0, 1]"
        )
        # fmt: on
        if not self.languages:
            raise UserError("no language", where="corpus.languages", remedy="name at least one")
