from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.tokens.token_statistics import DOCUMENT_EDGES, histogram, quantile, summarise
from biobert_scale.tokens.vocabulary import load_tokenizer
from tests.factories import write_tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("stages"), documents=150)


def test_the_summary_counts_every_document_sentence_and_token_once(tokens: Path) -> None:
    from datasets import load_from_disk

    rows = [row for split in load_from_disk(str(tokens)).values() for row in split]
    summary = summarise(tokens, samples=0, seed=1)
    by_value = (summary.document_tokens, summary.document_sentences, summary.sentence_tokens)
    found = [np.repeat(np.arange(len(counts)), counts).tolist() for counts in by_value]
    assert found[0] == sorted(len(row["input_ids"]) for row in rows)
    assert found[1] == sorted(len(row["sentence_lengths"]) for row in rows)
    assert found[2] == sorted(length for row in rows for length in row["sentence_lengths"])
    assert (
        summary.piece_counts.tolist()
        == np.bincount([token for row in rows for token in row["input_ids"]], minlength=300).tolist()
    )


def test_shown_documents_are_drawn_from_all_and_decoded_by_sentence(tokens: Path) -> None:
    drawn = summarise(tokens, samples=1000, seed=1).samples
    assert len({document.id for document in drawn}) == 150 and {document.split for document in drawn} == {
        "train",
        "validation",
    }
    some = summarise(tokens, samples=4, seed=1).samples
    assert len(some) == 4 and all(document in drawn for document in some)
    assert (
        some == summarise(tokens, samples=4, seed=1).samples != summarise(tokens, samples=4, seed=2).samples
    )
    tokenizer = load_tokenizer(tokens / "tokenizer")
    for document in some:
        for sentence in document.sentences:
            assert re.fullmatch(r"Word\d+( word\d+)*\.", sentence.text)
            ids = tokenizer.encode(sentence.text, add_special_tokens=False).ids
            assert len(ids) == sentence.tokens


@pytest.mark.parametrize("values", [[3], [1, 2], [0, 5, 5, 9], [7] * 19 + [100], list(range(101))])
def test_quantiles_of_counts_are_those_of_the_values(values: list[int]) -> None:
    for share in (0.5, 0.95, 1.0):
        assert quantile(np.bincount(values), share) == np.quantile(values, share, method="inverted_cdf")


def test_a_length_stands_in_the_class_that_holds_it() -> None:
    counts = np.zeros(70_001, np.int64)
    counts[[0, 31, 32, 64, 65_535, 65_536, 70_000]] = (1, 1, 2, 3, 4, 5, 6)
    found = histogram(counts, DOCUMENT_EDGES)
    assert {DOCUMENT_EDGES[i]: int(found[i]) for i in np.flatnonzero(found)} == {
        0: 2,
        32: 2,
        64: 3,
        32_768: 4,
        65_536: 11,
    }
    assert quantile(np.zeros(0, np.int64), 0.5) == 0


def test_the_command_prints_the_numbers_and_writes_pictures(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "tokens",
                "inspect",
                str(tokens),
                "--output",
                str(tmp_path / "pictures"),
                "--samples",
                "1",
                "--verify",
            ]
        )
        == 0
    )
    told = capsys.readouterr().out
    summary = summarise(tokens, samples=0, seed=1)
    documents, sentences = (summary.manifest.counts["train"][name] for name in ("documents", "sentences"))
    assert (
        re.search(rf"^train +{documents:,} +\d+\.\d+% +{sentences:,} +\d", told, re.MULTILINE)
        and "150 documents in 2 shards" in told
    )
    assert (
        "[UNK]: 0 of" in told
        and "the most frequent pieces" in told
        and "every file is as it was written" in told
    )
    for name in ("lengths.png", "pieces.png"):
        assert (tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    assert main(["tokens", "inspect", str(tmp_path)]) == 2


def test_shards_that_the_manifest_does_not_describe_are_refused(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tokens, tmp_path / "tokens")
    shards = sorted((tmp_path / "tokens" / "train").glob("*.arrow"))
    shards[0].write_bytes(shards[1].read_bytes())
    with pytest.raises(UserError, match="not those that the manifest counted"):
        summarise(tmp_path / "tokens", samples=1, seed=1)
    assert main(["tokens", "inspect", str(tmp_path / "tokens"), "--verify"]) == 2
    assert shards[0].name in capsys.readouterr().err
    with pytest.raises(UserError, match="samples cannot be -1"):
        summarise(tokens, samples=-1, seed=1)
