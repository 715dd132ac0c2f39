"""Real XML in other words: as many copies of a sample as a measurement needs, no copy a duplicate."""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS

_ID = rb"<(?:PMID|ArticleId|article-id)(?:\s[^<>]*)?>(?:PMC)?(?=[0-9])"
_FOUND = re.compile(rb"(?P<id>" + _ID + rb")|<[^>]*>|&[^;]*;|(?P<word>[a-z]{5,})")
_LETTERS = string.ascii_lowercase.encode()


@dataclass(frozen=True)
class Original:
    """A document, and where its copies differ from it."""

    parts: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    """Divided before the digits of each id: the bytes, and which of them are letters to exchange."""

    @property
    def size(self) -> int:
        """In bytes; its copies have a few more."""
        return sum(map(len, (letters for letters, _ in self.parts)))

    def copy(self, number: int) -> bytes:
        """The same document in other words: the letters of words of five and more exchanged, its ids
        lengthened. Number 0 is the document itself.

        Short words stay, for it is by them that English is known.
        """
        others = list(_LETTERS)
        if number:
            random.Random(number).shuffle(others)
        table = np.frombuffer(bytes.maketrans(_LETTERS, bytes(others)), np.uint8)
        parts = (np.where(mask, table[letters], letters).tobytes() for letters, mask in self.parts)
        return (b"%d00" % number if number else b"").join(parts)


def original(xml: bytes) -> Original:
    """Take a document apart."""
    serialised = etree.tostring(etree.fromstring(xml, etree.XMLParser(**PARSER_OPTIONS)), encoding="utf-8")
    letters = np.frombuffer(serialised, np.uint8)
    exchanged = np.zeros(len(letters), dtype=bool)
    ends = []
    for found in _FOUND.finditer(serialised):
        if found.lastgroup == "id":
            ends.append(found.end())
        elif found.lastgroup == "word":
            exchanged[slice(*found.span())] = True
    return Original(list(zip(np.split(letters, ends), np.split(exchanged, ends), strict=True)))
