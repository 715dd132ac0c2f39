"""How token shards become samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from biobert_scale.ranges import check_number, check_section


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How token shards become samples (Devlin et al. 2019, section 3.1 and appendix A.1)."""

    max_seq_length: int = 512
    """Tokens in a sample at most, [CLS] and both [SEP] included."""
    mlm_probability: float = 0.15
    """Share of a sample's tokens that are predicted; the count is fixed by the sample's length."""
    whole_word_masking: bool = False
    """Predict whole words: all word pieces of a word, or none."""
    short_sequence_probability: float = 0.1
    """Share of samples packed to a shorter length, drawn uniformly."""
    random_next_probability: float = 0.5
    """Share of samples whose second segment comes from another document."""
    sources: dict[str, float] = field(default_factory=dict)
    """How often the documents of a source are seen in an epoch, by the source's name: 2.0 twice, 0.5 half of
    them and the other half in the next epoch. Sources without a name here are seen once."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "data", max_seq_length="[16, 4095]", mlm_probability="[0, 1]",
            short_sequence_probability="[0, 1]", random_next_probability="[0, 1]"
        )
        # fmt: on
        for name, weight in self.sources.items():
            check_number(weight, "(0, 1000]", f"data.sources.{name}")
