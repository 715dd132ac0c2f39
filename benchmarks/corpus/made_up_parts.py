"""Made-up extracted parts of as many records as PubMed and PMC have, for the comparison between the corpus
stage's two phases: what decides of a record is as in real files, texts are left out.

Shares that no file of the real sample shows are assumed: a tenth of the citations is in update files, of
which seven of ten replace an earlier state; of the records that a file keeps, 0.3% have an earlier one's
text, 4% resemble an earlier one by 25% to 98%, and 0.1% are one of 40 texts that are sent again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.compiled import njit
from biobert_scale.corpus.pipeline import EXTRACTED_SCHEMA, FileTask, Notes
from biobert_scale.corpus.raw import RawFile
from biobert_scale.corpus.selection.deduplicate import SIGNATURE_SIZE
from biobert_scale.corpus.selection.resolve import CODES
from biobert_scale.files import make_directory, write_json
from biobert_scale.splitmix import GOLDEN, mixed

CITATIONS_PER_FILE, ARTICLES_PER_FILE = 30_000, 50_000
_ROWS_PER_GROUP = 2000
_ARTICLE = 10**10
"""The number of an article's text is this and its PMCID; a citation's is its PMID."""
_STRIDE = 982_451_653
"""A prime: multiples of it number all PMIDs in another order."""
_REJECTED = {
    "medline": {
        "no_abstract": 0.49,
        "too_short": 0.015,
        "language": 0.02,
        "retracted": 0.003,
        "symbol_heavy": 0.001,
    },
    "pmc": {"no_body": 0.01, "too_short": 0.004, "retracted": 0.001},
}
"""Shares of what a record's own file decides; so 21 of 42 million records have a signature."""
_CHANGED = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the components in which a text that resembles another one differs."""
_LICENSES = ("CC BY", "CC BY-NC", "CC BY-NC-ND", "CC0", "NO-CC CODE")


@dataclass(frozen=True, kw_only=True)
class Literature:
    """How many records there are, and in which files."""

    records: int
    citations_per_file: int = CITATIONS_PER_FILE
    articles_per_file: int = ARTICLES_PER_FILE

    @property
    def articles(self) -> int:
        return self.records // 14

    @property
    def updates(self) -> int:
        """Citations in update files."""
        return (self.records - self.articles) // 10

    @property
    def baseline(self) -> int:
        """Citations in the files that come first."""
        return self.records - self.articles - self.updates

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Kind, and the first and the last record of the kind, of every file in its order."""
        for kind, records, size in (
            ("baseline", self.baseline, self.citations_per_file),
            ("update", self.updates, self.citations_per_file),
            ("pmc", self.articles, self.articles_per_file),
        ):
            for start in range(0, records, size):
                yield kind, start, min(start + size, records)


def part_tasks(literature: Literature, work: Path) -> list[FileTask]:
    """The tasks whose parts `write_parts` writes below a directory."""
    return [
        FileTask(
            file=RawFile(path=Path(f"{kind}{number:05d}"), source="pmc" if kind == "pmc" else "medline"),
            name=f"{kind}{number:05d}",
            work=work,
        )
        for number, (kind, _, _) in enumerate(literature.files())
    ]


def write_parts(literature: Literature, work: Path, *, workers: int = 1) -> list[FileTask]:
    """Write all parts, the same ones each time, and return their tasks."""
    tasks = part_tasks(literature, work)
    make_directory(work / "extracted")
    with ProcessPoolExecutor(workers) as pool:
        writing = partial(_write_part, literature)
        for _ in pool.map(writing, tasks, range(len(tasks)), literature.files()):
            pass
    return tasks


def _write_part(literature: Literature, task: FileTask, number: int, extent: tuple[str, int, int]) -> None:
    kind, start, stop = extent
    rng = np.random.default_rng([literature.records, number])
    columns = (_articles if kind == "pmc" else _citations)(literature, rng, kind, start, stop)
    source, rows = task.file.source, stop - start
    names, shares = zip(*_REJECTED[source].items(), strict=True)
    drawn = rng.choice(len(names) + 1, rows, p=[1 - sum(shares), *shares])
    code = np.array([0, *(CODES[name] for name in names)], dtype=np.uint8)[drawn]
    text, model, changed = _texts(rng, columns.pop("text"), _ARTICLE if source == "pmc" else 0)
    pmids, pmcids = (
        pc.cast(pa.array(columns[name]), pa.string()) for name in ("pmid_number", "pmcid_number")
    )
    words = rng.lognormal(*((8.3, 0.5) if source == "pmc" else (5.3, 0.4)), rows).astype(np.int64)
    empty = pa.array([""] * rows)
    licenses = pa.array(rng.choice(_LICENSES, rows)) if source == "pmc" else empty
    values: dict[str, Any] = {
        "id": pc.binary_join_element_wise("pmcid:PMC" if source == "pmc" else "pmid:", pmcids, pmids, ""),
        "source": pa.array([source] * rows),
        "text": empty,
        "pmid": pmids,
        "pmcid": pmcids,
        "license": licenses,
        "origin": pa.array([task.name] * rows),
        **columns,
        "digest": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), rows, [None, pa.py_buffer(_digests(text))]
        ),
        "code": code,
        "words": words,
        "characters": words * 7,
    }
    table = pa.table([values[name] for name in EXTRACTED_SCHEMA.names], schema=EXTRACTED_SCHEMA)
    pq.write_table(table, task.extracted, row_group_size=_ROWS_PER_GROUP, compression="zstd")
    signatures = np.empty((np.count_nonzero(code == 0), SIGNATURE_SIZE), dtype=np.uint32)
    signed = code == 0
    _sign(text[signed], model[signed], changed[signed], signatures)
    np.save(task.signatures, signatures)
    seen = literature.baseline + start
    withdrawn = rng.integers(1, seen, 60).tolist() if kind == "update" else []
    deleted = [(pmid, rows) for pmid in sorted(set(withdrawn))]
    write_json(task.notes, Notes(deleted=deleted, benchmark=[], not_read={}, damaged=[]), durable=False)


def _citations(
    literature: Literature, rng: np.random.Generator, kind: str, start: int, stop: int
) -> dict[str, NDArray[np.int64]]:
    pmid = np.arange(start, stop) + 1
    version = np.ones(len(pmid), dtype=np.int64)
    revised = rng.integers(1975, 2025, len(pmid)) * 10_000 + 101
    revised[rng.random(len(pmid)) < 0.05] = 0
    again = rng.random(len(pmid))
    if kind == "baseline":
        second = np.flatnonzero(again[1:] < 0.0005) + 1
        pmid[second], version[second] = pmid[second - 1], 2
    else:
        seen = literature.baseline + start
        pmid = np.where(again < 0.7, rng.integers(1, seen, len(pmid)), pmid + literature.baseline)
        revised[:] = 20250101 + start // literature.citations_per_file
    pmids = literature.baseline + literature.updates
    pmcid = (pmid * pow(_STRIDE, -1, pmids)) % pmids  # that of the article whose `pmid` this is
    pmcid[(pmcid > literature.articles) | (rng.random(len(pmid)) < 0.3)] = 0
    return {"pmid_number": pmid, "pmcid_number": pmcid, "version": version, "revised": revised, "text": pmid}


def _articles(
    literature: Literature, rng: np.random.Generator, kind: str, start: int, stop: int
) -> dict[str, NDArray[np.int64]]:
    pmcid = np.arange(start, stop) + 1
    again = rng.random(len(pmcid)) < 0.02
    pmcid[again] = rng.integers(1, stop, np.count_nonzero(again))
    pmids = literature.baseline + literature.updates
    pmid = (pmcid * _STRIDE) % pmids
    text = pmcid + _ARTICLE
    pmid[rng.random(len(pmid)) < 0.08] = 0
    pmcid[(rng.random(len(pmcid)) < 0.001) & (pmid > 0)] = 0
    revised = (20200101 + rng.integers(0, 5, len(pmcid)) * 10_000) * 1_000_000 + start
    version = np.ones(len(pmcid), dtype=np.int64)
    return {"pmid_number": pmid, "pmcid_number": pmcid, "version": version, "revised": revised, "text": text}


def _texts(
    rng: np.random.Generator, text: NDArray[np.int64], first: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
    """The numbers of texts, of those that they resemble, and the shares of components that differ."""
    drawn, earlier = (
        rng.random(len(text)),
        first + 1 + (rng.random(len(text)) * (text - first)).astype(np.int64),
    )
    text = np.where(drawn < 0.003, earlier, text)
    near, again = (drawn > 0.003) & (drawn < 0.043), drawn > 0.999
    model = np.where(near, earlier, text)
    model[again] = first + 1 + rng.integers(0, 40, np.count_nonzero(again))
    changed = np.where(near, rng.choice(_CHANGED, len(text)), 0.0)
    changed[again] = rng.choice(_CHANGED[:4], np.count_nonzero(again))
    return text.astype(np.uint64), model.astype(np.uint64), changed


@njit()
def _digests(text: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(texts, 2)."""
    digests = np.empty((len(text), 2), dtype=np.uint64)
    for row in range(len(text)):
        digests[row, 0] = mixed(text[row] * GOLDEN)
        digests[row, 1] = mixed(digests[row, 0])
    return digests


@njit()
def _sign(
    text: NDArray[np.uint64],
    model: NDArray[np.uint64],
    changed: NDArray[np.float64],
    signatures: NDArray[np.uint32],
) -> None:
    """Write `signatures`, (texts, SIGNATURE_SIZE): those of the models, with some components of their own."""
    half, whole = np.uint64(32), 2.0**32
    for row in range(len(text)):
        own, others = mixed(text[row] * GOLDEN), mixed(model[row] * GOLDEN)
        for component in range(SIGNATURE_SIZE):
            place = np.uint64(component) * GOLDEN
            value = mixed(own ^ place)
            if (value & np.uint64(0xFFFFFFFF)) / whole >= changed[row]:
                value = mixed(others ^ place)
            signatures[row, component] = value >> half
