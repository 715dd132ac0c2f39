"""How batches are made ahead of time."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How a rank's batches are made ahead of time. Nothing here changes what is trained on."""

    workers: int = 1
    """Threads of a rank that make batches."""
    prefetch_steps: int = 2
    """Steps that each thread makes ahead."""
    pad_to_multiple_of: int = 0
    """Lengthen micro-batches to a multiple of this many tokens, so that a compiled model meets few shapes; 0
    leaves them as they are."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "loader", workers="[1, 1024]", prefetch_steps="[1, 10000]", pad_to_multiple_of="[0, 1e7]"
        )
        # fmt: on
