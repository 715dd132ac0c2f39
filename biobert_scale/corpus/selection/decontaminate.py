"""Recognises documents of the benchmarks' test sets, so that a model is never scored on what it was
pre-trained on.

A document is one of them by its PMID, or because it holds enough of a test document's runs of 13 words (the
length that Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C, took) - which also finds
full texts that quote their abstract, and records whose PMID is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biobert_scale.corpus.cleaning.clean import clean_text
from biobert_scale.corpus.selection.shingles import ngram_hashes, word_hashes
from biobert_scale.errors import UserError

FILE = "documents.jsonl"
"""In a directory of prepared benchmarks: a `BenchmarkDocument` a line, whose `pmid` may be empty."""
RUN_WORDS = 13
_PREFIX_BITS = 22
_PREFIX_SHIFT = np.uint64(64 - _PREFIX_BITS)


@dataclass(frozen=True, kw_only=True)
class BenchmarkDocument:
    """One document of a benchmark."""

    benchmark: str
    split: str
    pmid: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Match:
    """Why a document of the corpus was recognised."""

    document: BenchmarkDocument
    share: float
    """Share of the benchmark document's runs of 13 words that were found; 1 by an equal PMID."""
    by: str
    """`pmid` or `text`."""


def read_benchmark_documents(prepared: Path, splits: Iterable[str]) -> list[BenchmarkDocument]:
    """Read the documents of some splits.

    Raises:
        UserError: the directory holds no such file, a line of it is none, or a split has no document.
    """
    path, wanted = prepared / FILE, set(splits)
    if not path.is_file():
        remedy = "run `biobert-scale evaluate prepare` and name its --output"
        raise UserError("no prepared benchmarks", where=path, remedy=remedy)
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                document = BenchmarkDocument(**json.loads(line))
            except (ValueError, TypeError):
                what, remedy = (
                    f"line {number} is no benchmark document",
                    "run `biobert-scale evaluate prepare` again",
                )
                raise UserError(what, where=path, remedy=remedy) from None
            if document.split in wanted:
                found.append(document)
    if lacking := sorted(wanted - {document.split for document in found}):
        remedy = "correct benchmark_splits: the splits are train, dev and test"
        raise UserError(f"no document of the split '{lacking[0]}'", where=path, remedy=remedy)
    return found


class Decontaminator:
    """Finds the benchmark document that a document of the corpus is, or holds."""

    def __init__(self, documents: list[BenchmarkDocument], *, minimum_share: float) -> None:
        """`minimum_share`: of a benchmark document's distinct runs of 13 words, to recognise it."""
        self.documents, self.minimum_share = documents, minimum_share
        self.by_pmid = {document.pmid: document for document in documents if document.pmid}
        runs = [np.unique(_runs(clean_text(document.text))) for document in documents]
        hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *runs])
        owners = np.repeat(np.arange(len(runs)), [len(found) for found in runs])
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.owners = hashes[order], owners[order]
        # Nearly every run of words is in no benchmark: a table of first bits settles most of that at once.
        self.prefixes = np.zeros(1 << _PREFIX_BITS, dtype=np.bool_)
        self.prefixes[self.hashes >> _PREFIX_SHIFT] = True
        self.sizes = np.array([len(found) for found in runs], dtype=np.int64)

    def match(self, *, pmid: str, text: str) -> Match | None:
        """The benchmark document of this PMID, else that of which `text` holds the most, if enough."""
        if known := self.by_pmid.get(pmid):
            return Match(document=known, share=1.0, by="pmid")
        runs = _runs(text)
        runs = np.unique(runs[self.prefixes[runs >> _PREFIX_SHIFT]])
        first, last = np.searchsorted(self.hashes, runs, "left"), np.searchsorted(self.hashes, runs, "right")
        if not np.any(last > first):
            return None
        ranges = zip(first, last, strict=True)
        owners = np.concatenate([self.owners[start:stop] for start, stop in ranges if stop > start])
        shares = np.bincount(owners, minlength=len(self.sizes)) / np.maximum(self.sizes, 1)
        best = int(shares.argmax())
        if shares[best] < self.minimum_share:
            return None
        return Match(document=self.documents[best], share=float(shares[best]), by="text")


def _runs(text: str) -> NDArray[np.uint64]:
    """The runs of 13 words of a text; none where it is shorter."""
    words = word_hashes(text)
    return ngram_hashes(words, RUN_WORDS) if len(words) >= RUN_WORDS else words[:0]
