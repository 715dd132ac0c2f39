from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biobert_scale.cli import main
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.corpus.corpus_statistics import EDGES, histogram, summarise
from tests.factories import abstract, article, prose, write_medline, write_package


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    records = [abstract(number, prose(number) * (number % 7 + 1)) for number in range(1, 50)]
    write_medline(tmp_path / "raw" / "a.xml.gz", *records, abstract(50), abstract(51))
    write_package(
        tmp_path / "raw" / "oa_comm_xml.x.tar.gz",
        {f"PMC{n}.xml": article(n, prose(n) * 60) for n in range(60, 64)},
    )
    build_corpus(
        tmp_path / "raw",
        tmp_path / "corpus",
        CorpusConfig(minimum_words=5, characters_per_shard=4000, near_duplicate_similarity=2.0),
    )
    return tmp_path / "corpus"


def test_summary_counts_every_document_once(corpus: Path) -> None:
    summary = summarise(corpus, samples=5, seed=3)
    rows = list(documents(corpus))
    assert sorted(summary.words["medline"].tolist()) == sorted(
        len(row["text"].split()) for row in rows if row["source"] == "medline"
    )
    assert summary.licenses == {"not stated": 49, "comm": 4}
    assert len({row["id"] for row in summary.samples}) == 5 and all(row in rows for row in summary.samples)
    assert [row["id"] for row in summarise(corpus, samples=5, seed=4).samples] != [
        row["id"] for row in summary.samples
    ]
    assert len(summarise(corpus, samples=100, seed=1).samples) == len(rows)


def test_a_document_stands_in_the_class_that_holds_its_length() -> None:
    counts = histogram(np.array([0, 49, 50, 99, 100, 31999, 32000, 10**6]))
    assert {EDGES[i]: int(counts[i]) for i in np.flatnonzero(counts)} == {
        0: 2,
        50: 2,
        100: 1,
        16000: 1,
        32000: 2,
    }


def test_command_prints_the_numbers_and_writes_pictures(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["corpus", "inspect", str(corpus), "--output", str(tmp_path / "pictures"), "--samples", "1"])
        == 0
    )
    told = capsys.readouterr().out
    assert (
        "53 documents of 55 records" in told
        and "no_abstract" in told
        and ("(a.xml.gz)" in told or "(oa_comm" in told)
    )
    for name in ("lengths.png", "rejects.png"):
        assert (tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    assert main(["corpus", "inspect", str(tmp_path)]) == 2
