"""How token shards become samples, and those batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from biobert_scale.config.section import Section
from biobert_scale.ranges import check_number


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section, path="data"):
    """How token shards become samples (Devlin et al. 2019, section 3.1 and appendix A.1)."""

    max_seq_length: Annotated[int, "[16, 4095]"] = 512
    """Tokens in a sample at most, [CLS] and both [SEP] included."""
    mlm_probability: Annotated[float, "[0, 1]"] = 0.15
    """Share of a sample's tokens that are predicted; the count is fixed by the sample's length."""
    whole_word_masking: bool = False
    """Predict whole words: all word pieces of a word, or none."""
    short_sequence_probability: Annotated[float, "[0, 1]"] = 0.1
    """Share of samples packed to a shorter length, drawn uniformly."""
    random_next_probability: Annotated[float, "[0, 1]"] = 0.5
    """Share of samples whose second segment comes from another document."""
    sources: dict[str, float] = field(default_factory=dict)
    """How often the documents of a source are seen in an epoch, by the source's name: 2.0 twice, 0.5 half of
    them and the other half in the next epoch. Sources without a name here are seen once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, weight in self.sources.items():
            check_number(weight, "(0, 1000]", f"data.sources.{name}")


@dataclass(frozen=True, kw_only=True)
class LoaderConfig(Section, path="loader"):
    """How a rank's batches are made ahead of time. Nothing here changes what is trained on."""

    workers: Annotated[int, "[1, 1024]"] = 1
    """Threads of a rank that make batches."""
    prefetch_steps: Annotated[int, "[1, 10000]"] = 2
    """Steps that each thread makes ahead."""
    pad_to_multiple_of: Annotated[int, "[0, 1e7]"] = 0
    """Lengthen micro-batches to a multiple of this many tokens, so that a compiled model meets few shapes; 0
    leaves them as they are."""
