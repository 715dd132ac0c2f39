"""Texts to sentences of word pieces: the library's own WordPiece, asked once for each different word."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from biobert_scale.tokens.sentences import split_sentences

_PARTS = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~]+")
"""One character of ASCII punctuation, or a stretch without any."""
_WORDS_KEPT = 1 << 20
"""Words remembered, of about 200 bytes each; then it begins anew."""
_LONGEST_KEPT = 100
"""Characters; what is longer seldom comes again."""


class WordPieces(dict[str, bytes]):
    """Word -> the ids of its pieces, as bytes of `id_type`; a word is what is between two plain spaces.

    The pieces of a text are those of its words, one after another, and those of a word are those of its parts
    between ASCII punctuation: BERT's normaliser looks at one character at a time (or at a letter and the
    marks on it), and its pre-tokenizer cuts at every space and punctuation mark (Devlin et al. 2019,
    `tokenization.py`). Literature repeats its words, so most of them are looked up. The text `[MASK]` is
    three parts, never the special token.

    Args:
        tokenizer: a BERT tokenizer (see `load_tokenizer`).
        id_type: uint16 or uint32.
    """

    def __init__(self, tokenizer: Tokenizer, id_type: np.dtype) -> None:
        super().__init__()
        assert isinstance(tokenizer.normalizer, normalizers.BertNormalizer) and isinstance(
            tokenizer.model, models.WordPiece
        )
        assert isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        self.tokenizer, self.id_type, self.code = tokenizer, id_type, {2: "H", 4: "I"}[id_type.itemsize]

    def __missing__(self, word: str) -> bytes:
        parts = _PARTS.findall(word)
        if len(parts) > 1:
            ids = b"".join(map(self.__getitem__, parts))
        else:
            ids = array(self.code, self.tokenizer.encode(word, add_special_tokens=False).ids).tobytes()
        if len(word) <= _LONGEST_KEPT:
            if len(self) >= _WORDS_KEPT:
                self.clear()
            self[word] = ids
        return ids


def tokenize_documents(pieces: WordPieces, texts: Iterable[str]) -> Iterator[list[bytes]]:
    """For each text the piece ids of its sentences that have any, as bytes of `pieces.id_type`."""
    of_word = pieces.__getitem__
    for text in texts:
        sentences = [
            b"".join(map(of_word, text[start:end].split(" "))) for start, end in split_sentences(text)
        ]
        yield [sentence for sentence in sentences if sentence]
