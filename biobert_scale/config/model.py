"""The encoder's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section, path="model"):
    """The encoder's shape, in BERT's terms. The defaults are BERT-Large's (Devlin et al. 2019)."""

    hidden_size: Annotated[int, "[1, 65536]"] = 1024
    """Numbers in a token's vector."""
    num_hidden_layers: Annotated[int, "[1, 1000]"] = 24
    """Layers of the encoder."""
    num_attention_heads: Annotated[int, "[1, 4096]"] = 16
    """Heads of each layer; they divide `hidden_size`."""
    intermediate_size: Annotated[int, "[1, 1048576]"] = 4096
    """Numbers in a token's vector inside the feed-forward network."""
    max_position_embeddings: Annotated[int, "[8, 32768]"] = 512
    """Tokens in the longest input."""
    hidden_dropout_prob: Annotated[float, "[0, 1)"] = 0.1
    """Probability of dropping a number after the embeddings, attention and feed-forward network."""
    attention_probs_dropout_prob: Annotated[float, "[0, 1)"] = 0.1
    """Probability of dropping an attention weight."""
    initializer_range: Annotated[float, "(0, 10]"] = 0.02
    """Standard deviation of the random initial weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        size, heads = self.hidden_size, self.num_attention_heads
        if size % heads:
            what = f"hidden_size {size} is not a multiple of num_attention_heads {heads}"
            raise UserError(what, where="model.hidden_size", remedy="make it divide")
