"""The made-up literature."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """The made-up literature that stands in where no real files are given."""

    abstracts: int = 3000
    full_texts: int = 150

    def __post_init__(self) -> None:
        check_section(self, "synthetic", abstracts="[1, 1e8]", full_texts="[0, 1e8]")
