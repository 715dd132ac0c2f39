"""Word embeddings of the entries that a task's texts have.

The rows of a vocabulary's other entries have no gradient; AdamW only shrinks them by weight decay. A dense
gradient, its norm, and an update of all rows cost a small model a tenth of its step all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from biobert_scale.modeling.model import Encoder


class OccurringEntries(nn.Module):
    """In the place of an encoder's word embeddings while it is fine-tuned.

    Args:
        encoder: its word embeddings are replaced until `restore`.
        entries: ids; no other one may be read.
    """

    row_of: Tensor

    def __init__(self, encoder: Encoder, entries: Iterable[int]) -> None:
        super().__init__()
        self._embeddings = [encoder.embeddings]  # in a list, for it is no part of this module
        self._whole = [encoder.embeddings.word_embeddings]
        whole = encoder.embeddings.word_embeddings.weight.detach()
        self._ids = torch.tensor(sorted(entries), device=whole.device)
        # The last row is read by nothing: weight decay alone changes it, as it does all rows left out.
        self.weight = nn.Parameter(torch.cat([whole[self._ids], whole.new_ones(1, whole.shape[1])]))
        row_of = torch.full(
            (len(whole),), len(self.weight), device=whole.device
        )  # no such row: it would fail
        row_of[self._ids] = torch.arange(len(self._ids), device=whole.device)
        self.register_buffer("row_of", row_of, persistent=False)
        encoder.embeddings.word_embeddings = self  # type: ignore[assignment]

    def forward(self, input_ids: Tensor) -> Tensor:
        """(...) int64 ids -> (..., hidden)."""
        return nn.functional.embedding(self.row_of[input_ids], self.weight)

    @torch.no_grad()
    def restore(self) -> None:
        """Give the encoder its embeddings back, with all rows as AdamW would have left them."""
        (whole,), (embeddings,) = self._whole, self._embeddings
        whole.weight.mul_(self.weight[-1])
        whole.weight[self._ids] = self.weight[:-1]
        embeddings.word_embeddings = whole
