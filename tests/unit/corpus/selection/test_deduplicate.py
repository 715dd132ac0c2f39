from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.corpus.selection.deduplicate import (
    BANDS,
    ROWS,
    SIGNATURE_SIZE,
    SignatureFile,
    near_duplicates,
)
from biobert_scale.corpus.selection.shingles import minhash, ngram_hashes, word_hashes

texts = st.text(st.sampled_from("aB1 .,-αé\n"), max_size=60)


@settings(deadline=None)  # the first call compiles
@given(texts)
def test_equal_words_have_equal_hashes_and_different_ones_do_not(text: str) -> None:
    words = re.findall(r"[a-z0-9αé]+", text.replace("B", "b"))
    hashes = word_hashes(text).tolist()
    assert len(hashes) == len(words)
    assert len({*zip(words, hashes, strict=True)}) == len(set(words)) == len(set(hashes))


@settings(deadline=None)
@given(texts, st.integers(1, 6))
def test_runs_of_words_are_told_apart_by_their_words_and_order(text: str, n: int) -> None:
    words = word_hashes(text).tolist()
    runs = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)] or (
        [tuple(words)] if words else []
    )
    hashes = ngram_hashes(word_hashes(text), n).tolist()
    assert len(hashes) == len(runs) and len(set(hashes)) == len({*zip(runs, hashes, strict=True)}) == len(
        set(runs)
    )


def test_hashes_are_the_same_everywhere_and_always() -> None:
    # A signature lies on disk and is compared with those of other machines and later versions.
    # FNV-1a of "hello", from its authors' test vectors.
    assert word_hashes("Hello")[0] == 0xA430D84680AABD0B
    assert minhash(
        ngram_hashes(word_hashes("p53 binds MDM2 in the nucleus of resting cells"), 5), 3
    ).tolist() == [254552034, 936440518, 696271292]


@pytest.mark.parametrize("shared", [0, 50, 80, 95])
def test_signatures_agree_as_often_as_the_sets_are_alike(shared: int) -> None:
    rng = np.random.default_rng(shared)
    both, left, right = (
        rng.integers(0, 2**64, size, dtype=np.uint64) for size in (shared, 100 - shared, 100 - shared)
    )
    signatures = [minhash(np.concatenate([both, other]), 4096) for other in (left, right)]
    similarity = shared / (200 - shared)
    error = (similarity * (1 - similarity) / 4096) ** 0.5
    assert abs(np.mean(signatures[0] == signatures[1]) - similarity) <= 4 * error


def signatures(seed: int, documents: int) -> np.ndarray:
    """Families of documents, each a copy of another with some components changed."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 2**32, SIGNATURE_SIZE, dtype=np.uint32)]
    for _ in range(documents - 1):
        row = (
            rows[rng.integers(len(rows))].copy()
            if rng.random() < 0.7
            else rng.integers(0, 2**32, SIGNATURE_SIZE, dtype=np.uint32)
        )
        changed = rng.random(SIGNATURE_SIZE) < rng.choice([0.0, 0.05, 0.15, 0.3])
        row[changed] = rng.integers(0, 2**32, changed.sum(), dtype=np.uint32)
        rows.append(row)
    return np.array(rows)


def marks(directory: Path, rows: np.ndarray) -> np.ndarray:
    """What `near_duplicates` marks of signatures in two files."""
    files = []
    for number, part in enumerate(np.array_split(rows, 2)):
        np.save(directory / f"{number}.npy", part)
        files.append(
            SignatureFile(path=directory / f"{number}.npy", chosen=np.ones(len(part), dtype=np.bool_))
        )
    return near_duplicates(files, minimum_similarity=0.8, scratch=directory, threads=2)


@pytest.mark.parametrize("seed", range(5))
def test_every_marked_document_resembles_one_before_it_that_stays(seed: int, tmp_path: Path) -> None:
    rows = signatures(seed, 300)
    marked = marks(tmp_path, rows)
    agree = (rows[:, None] == rows[None]).mean(-1)
    banded = (rows.reshape(-1, 1, BANDS, ROWS) == rows.reshape(1, -1, BANDS, ROWS)).all(-1).any(-1)
    alike = np.tril((agree >= 0.8) & banded, -1)
    assert marked.sum() > 50
    for document in np.flatnonzero(marked):
        assert (alike[document] & ~marked).any()
    # Nothing much is missed: a document that stays may resemble another one that does only where a band's
    # first and previous members are others.
    missed = [document for document in np.flatnonzero(~marked) if (alike[document] & ~marked).any()]
    assert len(missed) <= 3


def test_a_chain_of_small_changes_does_not_swallow_its_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, 2**32, SIGNATURE_SIZE, dtype=np.uint32)]
    for start in range(0, SIGNATURE_SIZE, ROWS):  # each document changes one more band
        rows.append(rows[-1].copy())
        rows[-1][start : start + ROWS] += 1
    marked = marks(tmp_path, np.array(rows))
    assert not marked[0] and marked[1] and marked[2] and not marked[3]


def test_no_documents_have_no_duplicates(tmp_path: Path) -> None:
    assert marks(tmp_path, np.zeros((0, SIGNATURE_SIZE), dtype=np.uint32)).shape == (0,)
    assert near_duplicates([], minimum_similarity=0.8, scratch=tmp_path).shape == (0,)
