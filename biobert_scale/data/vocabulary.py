"""What the stream knows of the vocabulary, as tables that compiled code reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biobert_scale.tokens.vocabulary import special_ids


class VocabularyTables(NamedTuple):
    """A vocabulary as masking needs it.

    Attributes:
        cls, sep, mask, unknown: ids of special tokens.
        replacements: (ordinary entries,) int64 ids, without special tokens.
        continues: (entries,) bool, whether an entry belongs to the word of the token before it; all False
            where each token is masked by itself.
    """

    cls: int
    sep: int
    mask: int
    unknown: int
    replacements: np.ndarray
    continues: np.ndarray

    @classmethod
    def read(cls, tokenizer: Path, *, whole_words: bool) -> VocabularyTables:
        """Read a tokenizer's directory.

        Args:
            whole_words: whether the tokens of a word are masked together.
        """
        special = special_ids(tokenizer)
        model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
        continues = np.zeros(max(model["vocab"].values()) + 1, np.bool_)
        if whole_words:
            prefix = model["continuing_subword_prefix"]
            continues[[token for entry, token in model["vocab"].items() if entry.startswith(prefix)]] = True
        replacements = np.setdiff1d(np.arange(len(continues)), list(special.values()))
        first, separator, mask, unknown = (special[name] for name in ("[CLS]", "[SEP]", "[MASK]", "[UNK]"))
        return cls(first, separator, mask, unknown, replacements, continues)
