"""How the same mathematics is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from biobert_scale.config.section import Section


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Section, path="compute"):
    """How the same mathematics is computed. Without dropout nothing here changes anything but the rounding;
    with it other elements may be dropped, with the same probability. It may differ from start to start of a
    run.

    Every switch has a plain way beside it (the value in brackets), to compare with and to fall back on.
    """

    unpadded: bool = True
    """Lay sequences end to end, without padding (false: padded rows and a mask)."""
    attention: Literal["auto", "flash-attn", "sdpa"] = "auto"
    """Of unpadded sequences. `auto`: PyTorch's FlashAttention on GPUs that have it, in 16 bits, and on a CPU
    this package's own where there is dropout; `flash-attn`: that package (sdpa: PyTorch's, sequence by
    sequence)."""
    head_on_masked_positions_only: bool = True
    """The MLM head on predicted positions alone (false: on all, and then choose)."""
    last_layer_on_masked_positions_only: bool = True
    """The last layer, behind its attention, on predicted positions and [CLS] alone, which are all that the
    heads read (false: on all positions). With `unpadded` and `head_on_masked_positions_only` only."""
    quick_dropout: bool = True
    """On a CPU, masks of 16 random bits an element, from a fast generator (false: PyTorch's). Without effect
    on a GPU."""
    head_rows: Annotated[int, "[0, 1e9]"] = 1024
    """Predictions whose logits are in fp32 at a time; between passes they are kept in the precision of
    training (0: all at once, by autograd)."""
    fused_qkv: bool = True
    """Queries, keys and values by one matrix product (false: three). Without effect at ZeRO stage 3, which
    gathers weights module by module."""
    fused_optimizer: bool = True
    """AdamW in one pass over all weights (false: one operation after another). Without effect in fp16 without
    DeepSpeed."""
    activation_checkpointing: bool = False
    """Keep of each layer its input alone, and compute the layer once more in the backward pass, with the same
    dropout: a third more work, for memory that `--dry-run` counts (false: keep all)."""
    compile: bool = False
    """Fuse each layer's element-wise operations with torch.compile (false: one by one); the first step takes
    half a minute more. Needs Triton on a GPU, a C++ compiler on a CPU. Without effect at ZeRO stage 3."""
