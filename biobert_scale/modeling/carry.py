"""Embeddings of one vocabulary carried over to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import models, normalizers, pre_tokenizers
from torch import Tensor

_PREFIX = "##"


@dataclass(frozen=True, kw_only=True)
class Carried:
    """How many of the new vocabulary's entries came by their rows in which way."""

    copied: int
    """The old vocabulary has the entry."""
    averaged: int
    """The mean of the rows of the pieces that the old vocabulary makes of the entry."""
    unknown: int
    """The mean of all rows: the old vocabulary makes only [UNK] of the entry."""


def carry_embeddings(
    embeddings: Tensor, bias: Tensor | None, *, old: list[str], new: list[str], lowercase: bool
) -> tuple[Tensor, Tensor | None, Carried]:
    """Rows and output biases for a new vocabulary; which id an entry has in either of them does not matter.

    An entry of both keeps its row, bit for bit. A new one gets the mean over the pieces into which the old
    tokenizer splits it. For a continuation `##xyz` these are the pieces of `xyz` inside a word, that is, the
    longest continuations first; where the old vocabulary has none that fit, the pieces of the word `xyz`.
    [UNK] is no piece. An entry with no piece at all gets the mean of all old rows: a small random row would
    score near zero, where most trained rows score far below, and so draw probability from all of them (Hewitt
    2021, "Initializing New Word Embeddings for Pretrained Language Models").

    Args:
        embeddings: (old rows, hidden); rows beyond the old vocabulary's end are padding and are dropped.
        bias: (old rows,) the output bias, or None where there is none to carry.
        old, new: entries in the order of their ids.
        lowercase: whether the old tokenizer lower-cases and strips accents.

    Returns:
        (new entries, hidden) and (new entries,) in the given types, and the counts.
    """
    ids = {entry: index for index, entry in enumerate(old)}
    split = _Splitter(ids, lowercase=lowercase)
    sources = [[ids[entry]] if entry in ids else split(entry) for entry in new]
    everything = list(range(len(old)))
    means = {tuple(source): None for source in sources if len(source) != 1}

    def carried(values: Tensor) -> Tensor:
        made = values[torch.tensor([source[0] if source else 0 for source in sources])]
        found = {
            source: values[torch.tensor(source or everything)].double().mean(0).to(values.dtype)
            for source in means
        }
        for row, source in enumerate(sources):
            if len(source) != 1:
                made[row] = found[tuple(source)]
        return made

    copied = sum(entry in ids for entry in new)
    unknown = sum(not source for source in sources)
    counts = Carried(copied=copied, averaged=len(new) - copied - unknown, unknown=unknown)
    return carried(embeddings), None if bias is None else carried(bias), counts


class _Splitter:
    """What a WordPiece tokenizer of BERT's kind makes of a new entry, as ids without [UNK]."""

    def __init__(self, ids: dict[str, int], *, lowercase: bool) -> None:
        self.unknown = ids["[UNK]"]
        self.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
        )
        self.words = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
        # With the prefix taken off entries and text alike, the library's own search finds the longest
        # continuations first.
        inside = {
            entry.removeprefix(_PREFIX): index for entry, index in ids.items() if entry.startswith(_PREFIX)
        }
        inside["[UNK]"] = self.unknown
        self.continuations = models.WordPiece(
            inside, unk_token="[UNK]", max_input_chars_per_word=100, continuing_subword_prefix=""
        )

    def __call__(self, entry: str) -> list[int]:
        text = self.normalizer.normalize_str(entry.removeprefix(_PREFIX))
        pieces: list[int] = []
        for position, (part, _) in enumerate(pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)):
            continues = position == 0 and entry.startswith(_PREFIX)
            found = self._known(self.continuations, part) if continues else []
            pieces += found or self._known(self.words, part)
        return pieces

    def _known(self, model: models.WordPiece, word: str) -> list[int]:
        return [token.id for token in model.tokenize(word) if token.id != self.unknown]
