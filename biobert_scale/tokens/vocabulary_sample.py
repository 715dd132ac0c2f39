"""Documents drawn from a corpus by a hash of their ids, to train and to measure a vocabulary on."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.corpus.document import is_all_private, private_sources
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest

_LARGEST = 2**64 - 1
_ROWS_AT_ONCE = 4096


class _Drawn(NamedTuple):
    order: int
    """The document's number, negative: a heap gives the smallest first."""
    characters: int
    text: bytes
    """UTF-8."""


@dataclass
class Draw:
    """The documents with the smallest numbers, as many as hold at most `limit` characters together; at least
    one.

    Documents may be offered in any order. A document is let go as soon as those with smaller numbers fill the
    limit, and none after it can come back, so memory holds what is drawn and no more.
    """

    limit: int
    characters: int = 0
    _heap: list[_Drawn] = field(default_factory=list)
    _closed: int = _LARGEST + 1  # a document with this number or a larger one is no longer among them

    def offer(self, numbers: NDArray[np.uint64], texts: pa.Array) -> None:
        """Offer documents: their numbers, (documents,), and their texts."""
        # All rows are open at first; the number of that is too large for the array's type.
        rows = np.arange(len(numbers)) if self._closed > _LARGEST else np.flatnonzero(numbers < self._closed)
        chosen = texts.take(pa.array(rows))
        lengths = pc.utf8_length(chosen).to_pylist()
        for number, length, text in zip(
            numbers[rows].tolist(), lengths, chosen.cast(pa.binary()), strict=True
        ):
            if number < self._closed:
                heapq.heappush(self._heap, _Drawn(-number, length, text.as_py()))
                self.characters += length
                while self.characters > self.limit and len(self._heap) > 1:
                    dropped = heapq.heappop(self._heap)
                    self.characters -= dropped.characters
                    self._closed = -dropped.order

    def __len__(self) -> int:
        return len(self._heap)

    def numbers(self) -> list[int]:
        """The numbers of the documents drawn, in order."""
        return sorted(-drawn.order for drawn in self._heap)

    def texts(self) -> Iterator[str]:
        """The documents drawn, in the order of their numbers."""
        for drawn in sorted(self._heap, reverse=True):
            yield drawn.text.decode()


def draw(corpus: Path, training_characters: int, measured_characters: int) -> tuple[Draw, Draw]:
    """Read a corpus once and draw documents to train on, and documents to measure on.

    The id's hash puts all documents in an order of their own. The first ones are to train on, and the last
    ones to measure on: the two overlap only where the corpus holds fewer characters than both want. Neither
    depends on the order of the corpus or on its shards. Documents of private sources are left out where there
    are others.

    Args:
        corpus: a finished corpus.
        training_characters: 0 draws nothing to train on.

    Returns:
        The documents to train on and those to measure on; the numbers of the latter are counted from the
        order's end.

    Raises:
        UserError: the corpus is unfinished or empty.
    """
    manifest = read_manifest(corpus, CORPUS_STAGE)
    left_out = [] if is_all_private(manifest) else private_sources(manifest)
    columns = ["id", "text", *["source"] * bool(left_out)]
    training, measured = Draw(training_characters), Draw(measured_characters)
    shards = [corpus / name for name in sorted(manifest.outputs) if name.endswith(".parquet")]
    for path in tqdm(shards, desc="reading the corpus", unit=" shards", disable=None):
        with pq.ParquetFile(path) as shard:
            for batch in shard.iter_batches(_ROWS_AT_ONCE, columns=columns):
                if left_out:
                    batch = batch.filter(
                        pc.invert(pc.is_in(batch["source"], pa.array(left_out, pa.string())))
                    )
                numbers = np.array([_number(name) for name in batch["id"].to_pylist()], np.uint64)
                if training_characters:
                    training.offer(numbers, batch["text"])
                measured.offer(_LARGEST - numbers, batch["text"])
    if not measured.characters:
        remedy = "check the path, or build the corpus from more files"
        raise UserError("the corpus holds no text", where=corpus, remedy=remedy)
    return training, measured


def seen(training: Draw, measured: Draw) -> int:
    """How many of the documents measured on are among those trained on."""
    last = max(training.numbers(), default=-1)
    return sum(_LARGEST - number <= last for number in measured.numbers())


def _number(document_id: str) -> int:
    """A document's place in the order: 64 bits, unrelated to the hash that chooses the validation split."""
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8, person=b"vocabulary").digest())
