"""The encoder's shape."""

from __future__ import annotations

from dataclasses import dataclass

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder's shape, in BERT's terms. The defaults are BERT-Large's (Devlin et al. 2019)."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    max_position_embeddings: int = 512
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "model", hidden_size="[1, 65536]", num_hidden_layers="[1, 1000]",
            num_attention_heads="[1, 4096]", intermediate_size="[1, 1048576]",
            max_position_embeddings="[8, 32768]", hidden_dropout_prob="[0, 1)",
            attention_probs_dropout_prob="[0, 1)", initializer_range="(0, 10]"
        )
        # fmt: on
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads"
                f" {self.num_attention_heads}",
                where="model.hidden_size",
                remedy="make it divide",
            )
