"""Sequences of word pieces for an encoder that computes no padding, what the heads share, and the
tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, BatchEncoding, BertConfig, PreTrainedTokenizerBase

from biobert_scale.errors import UserError
from biobert_scale.modeling.batch import PackedSequences
from biobert_scale.modeling.model import Encoder
from biobert_scale.release.tokenizers import missing_settings


class PackedHead(nn.Module):
    """An encoder, dropout, and a linear layer on some of its last hidden states."""

    def __init__(self, encoder: Encoder, dropout: float, labels: int) -> None:
        super().__init__()
        self.bert = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.config.hidden_size, labels)
        nn.init.normal_(self.classifier.weight, std=encoder.config.initializer_range)
        nn.init.zeros_(self.classifier.bias)

    def scores(self, inputs: PackedSequences, positions: Tensor) -> Tensor:
        """(positions, labels) fp32; `positions` (positions,) int64 are places in the packed row."""
        logits: Tensor = self.classifier(self.dropout(self.bert(inputs, positions)))
        return logits.float()


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str] | Sequence[list[str]], *, in_words: bool = False
) -> BatchEncoding:
    """The word pieces of texts, or of texts cut into words, without [CLS] and [SEP]."""
    unwanted = "add_special_tokens", "return_attention_mask", "return_token_type_ids", "verbose"
    options = dict.fromkeys(unwanted, False)
    encoded: BatchEncoding = tokenizer(list(texts), is_split_into_words=in_words, **options)
    return encoded


def pack(
    sequences: Sequence[Sequence[int]], device: torch.device, second: Sequence[int] = ()
) -> PackedSequences:
    """Lay sequences of piece ids end to end on a device.

    Args:
        second: where the second text of each sequence begins, whose token type is 1; empty: there is none.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    ends = lengths.cumsum(0)
    positions = torch.arange(int(ends[-1])) - (ends - lengths).repeat_interleave(lengths)
    input_ids = torch.tensor([piece for sequence in sequences for piece in sequence])
    token_types = torch.zeros_like(input_ids)
    if second:
        token_types = (positions >= torch.tensor(second).repeat_interleave(lengths)).long()
    return PackedSequences(
        input_ids=input_ids,
        token_type_ids=token_types,
        position_ids=positions,
        cu_seqlens=torch.cat([ends.new_zeros(1), ends]).to(torch.int32),
        sequence_lengths=tuple(lengths.tolist()),
    ).to(device)


def in_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Deal indices, in order, into batches of at most so many tokens (and at least one sequence)."""
    batch: list[int] = []
    used = 0
    for index, length in enumerate(lengths):
        if batch and used + length > tokens:
            yield batch
            batch, used = [], 0
        batch.append(index)
        used += length
    if batch:
        yield batch


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """A model's own tokenizer.

    Raises:
        UserError: there is none, or it lower-cases what its cased vocabulary keeps apart (or the reverse): a
            wrong setting that costs points without any message.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory,
            config=BertConfig(),  # what to look for: an older model's config.json does not name its type
            local_files_only=True,
            **missing_settings(directory),
        )
    except (OSError, ValueError) as error:
        remedy = "name a directory that `biobert-scale export` wrote"
        what = f"no tokenizer ({str(error).splitlines()[0]})"
        raise UserError(what, where=directory, remedy=remedy) from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("not a fast tokenizer", where=directory, remedy="add its tokenizer.json")
    own = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    pieces = [piece for piece in own if not (piece.startswith("[") and piece.endswith("]"))]
    cased = any(piece != piece.lower() for piece in pieces)
    lowers = backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"
    if cased == lowers and pieces:
        what = "the vocabulary has no capitals but the tokenizer keeps them"
        if cased:
            what = "the vocabulary is cased but the tokenizer lower-cases"
        setting = 'set "do_lower_case" in tokenizer_config.json to match the vocabulary'
        raise UserError(what, where=directory, remedy=f"{setting}, or export the model again")
    return tokenizer
