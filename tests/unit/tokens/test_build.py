from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.config import TokensConfig, VocabularyConfig
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, Manifest, read_manifest, sha256_file, write_json
from biobert_scale.tokens import shards
from biobert_scale.tokens.build import build_tokens, split_of, verify_tokens
from biobert_scale.tokens.pieces import WordPieces, tokenize_documents
from biobert_scale.tokens.sentences import split_sentences
from biobert_scale.tokens.shards import Rows, TokenStore, schema, shard_name
from biobert_scale.tokens.sources import SourceRun, read_runs, totals
from biobert_scale.tokens.vocabulary import build_vocabulary, load_tokenizer
from tests.factories import write_corpus


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stages")
    write_corpus(directory / "corpus", documents=120, shards=3)
    build_vocabulary(directory / "corpus", directory / "vocabulary", VocabularyConfig(size=300))
    build_tokens(
        directory / "corpus",
        directory / "vocabulary",
        directory / "tokens",
        TokensConfig(validation_fraction=0.2),
    )
    return directory


def test_every_document_stands_in_one_split_with_all_its_tokens(stages: Path) -> None:
    from datasets import load_from_disk

    splits = load_from_disk(str(stages / "tokens"))
    tokenizer = load_tokenizer(stages / "vocabulary")
    rows = [
        row
        for table in sorted((stages / "corpus").glob("*.parquet"))
        for row in pq.read_table(table).to_pylist()
    ]
    stored = {row["id"]: (split, row) for split in ("train", "validation") for row in splits[split]}
    assert len(stored) == len(rows) == 120 and len(splits["validation"]) > 5
    for row in rows:
        split, document = stored[row["id"]]
        assert split == split_of(row["id"], 0.2)
        assert sum(document["sentence_lengths"]) == len(document["input_ids"])
        # Sentences never change what the tokenizer makes of the words: it splits at white space first.
        assert (
            document["input_ids"]
            == tokenizer.encode(row["text"].replace("\n", " "), add_special_tokens=False).ids
        )


def test_a_shard_holds_its_documents_source_by_source(tmp_path: Path) -> None:
    write_corpus(tmp_path / "mixed", documents=60, shards=2, sources=("notes", "pmc", "pmc"))
    build_vocabulary(tmp_path / "mixed", tmp_path / "vocabulary", VocabularyConfig(size=300))
    config = TokensConfig(validation_fraction=0.2)
    build_tokens(tmp_path / "mixed", tmp_path / "vocabulary", tmp_path / "tokens", config)
    found = read_manifest(tmp_path / "tokens")
    for split in ("train", "validation"):
        runs, row = [], 0
        for path in shards.shard_paths(tmp_path / "tokens" / split):
            with pa.memory_map(str(path)) as source:
                rows = pa.ipc.open_stream(source).read_all().to_pylist()
            sources = ["pmc" if int(row["id"].removeprefix("pmid:")) % 3 else "notes" for row in rows]
            assert sorted(sources) in (sources, sources[::-1])
            for name, group in itertools.groupby(zip(sources, rows, strict=True), lambda pair: pair[0]):
                own = [row for _, row in group]
                # Within a source the documents keep their order.
                assert [row["id"] for row in own] == sorted(
                    (row["id"] for row in own), key=lambda name: int(name.removeprefix("pmid:"))
                )
                lengths = [len(row["sentence_lengths"]) for row in own]
                tokens = [len(row["input_ids"]) for row in own]
                assert all(sum(row["sentence_lengths"]) == len(row["input_ids"]) for row in own)
                runs.append(SourceRun(name, len(own), sum(lengths), sum(tokens)))
            row += len(rows)
        assert row == found.counts[split]["documents"]
        assert totals(read_runs(tmp_path / "tokens" / split)) == totals(runs)
        assert f"{split}/sources.json" in found.outputs


def test_the_sources_change_no_byte_of_the_shards(tmp_path: Path) -> None:
    """A run that began before the shards knew their sources resumes on shards that do."""
    write_corpus(tmp_path / "known", documents=60, shards=2)
    shutil.copytree(tmp_path / "known", tmp_path / "unknown")
    for path in (tmp_path / "unknown").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns("source"), path)
    outputs = {path.name: sha256_file(path) for path in (tmp_path / "unknown").glob("*.parquet")}
    write_json(
        tmp_path / "unknown" / MANIFEST,
        Manifest(stage="corpus", key="k", inputs=[], config={}, counts={}, outputs=outputs),
    )
    build_vocabulary(tmp_path / "known", tmp_path / "vocabulary", VocabularyConfig(size=300))
    built = [
        build_tokens(tmp_path / name, tmp_path / "vocabulary", tmp_path / f"{name}-tokens", TokensConfig())
        for name in ("known", "unknown")
    ]
    known, unknown = (
        {name: digest for name, digest in manifest.outputs.items() if name.endswith(".arrow")}
        for manifest in built
    )
    assert known == unknown and len(known) == 4
    assert read_runs(tmp_path / "known-tokens" / "train") and not read_runs(
        tmp_path / "unknown-tokens" / "train"
    )


def write_texts(directory: Path, *texts: str, files: int = 1) -> Path:
    """A finished corpus of these texts; document n has the id `n`."""
    directory.mkdir(parents=True)
    names = [f"part-{index:05d}.parquet" for index in range(files)]
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    columns = pa.schema([("id", pa.string()), ("text", pa.string())])
    for index, name in enumerate(names):
        part = rows[index * len(texts) // files : (index + 1) * len(texts) // files]
        pq.write_table(pa.Table.from_pylist(part, schema=columns), directory / name)
    outputs = {name: sha256_file(directory / name) for name in names}
    write_json(
        directory / MANIFEST,
        Manifest(stage="corpus", key="made up", inputs=[], config={}, counts={}, outputs=outputs),
    )
    return directory


def stored(tokens: Path) -> dict[str, dict[str, Any]]:
    """All documents of both splits, by id."""
    from datasets import load_from_disk

    return {row["id"]: row for table in load_from_disk(str(tokens)).values() for row in table}


def test_documents_left_out_are_counted_by_reason(stages: Path, tmp_path: Path) -> None:
    texts = [
        "",
        " \n\t ",
        "\x00\u200b\ufffd",
        "\u16a0 \u16a1\u16a2",
        "Word1 word2.\n\u16a0\u16a1\nWord3 \u16a0.",
        "Word4.",
    ]
    corpus = write_texts(tmp_path / "corpus", *texts)
    manifest = build_tokens(
        corpus, stages / "vocabulary", tmp_path / "tokens", TokensConfig(validation_fraction=1e-9)
    )
    assert manifest.rejects == {"no_text": 3, "unknown_pieces_only": 1}
    counts = manifest.counts
    assert (
        counts["documents"]
        == 6
        == counts["train"]["documents"] + counts["validation"]["documents"] + sum(manifest.rejects.values())
    )
    rows, tokenizer = stored(tmp_path / "tokens"), load_tokenizer(stages / "vocabulary")
    assert sorted(rows) == ["4", "5"] and counts["unknown_sentences"] == 1
    expected = [
        tokenizer.encode(text, add_special_tokens=False).ids for text in ("Word1 word2.", "Word3 \u16a0.")
    ]
    assert rows["4"]["input_ids"] == expected[0] + expected[1] and rows["4"]["sentence_lengths"] == [
        len(ids) for ids in expected
    ]


def test_a_sentence_of_any_length_stays_whole(stages: Path, tmp_path: Path) -> None:
    corpus = write_texts(tmp_path / "corpus", "word1 word2 " * 5000 + "word3.")
    build_tokens(corpus, stages / "vocabulary", tmp_path / "tokens", TokensConfig(validation_fraction=1e-9))
    (row,) = stored(tmp_path / "tokens").values()
    assert row["sentence_lengths"] == [len(row["input_ids"])] and len(row["input_ids"]) > 10_000


def test_a_large_vocabulary_gets_wider_ids(stages: Path, tmp_path: Path) -> None:
    assert schema(65_536).field("input_ids").type == pa.list_(pa.uint16())
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(65_600))]) + "\n"
    )
    build_vocabulary(
        stages / "corpus", tmp_path / "vocabulary", VocabularyConfig(), vocabulary=tmp_path / "vocab.txt"
    )
    corpus = write_texts(tmp_path / "corpus", "w65599 w0")
    build_tokens(corpus, tmp_path / "vocabulary", tmp_path / "tokens", TokensConfig(validation_fraction=1e-9))
    store = TokenStore.open(tmp_path / "tokens" / "train")
    assert store.shards[0].tokens.dtype == np.uint32 and store.read(0, 2).tolist() == [65_604, 5]


def test_a_corpus_without_documents_to_train_on_is_refused(stages: Path, tmp_path: Path) -> None:
    for number, texts in enumerate(([], ["\u16a0"])):
        corpus = write_texts(tmp_path / f"corpus{number}", *texts)
        with pytest.raises(UserError, match=f"no document is left to train on of {len(texts)}"):
            build_tokens(corpus, stages / "vocabulary", tmp_path / f"tokens{number}", TokensConfig())
    with pytest.raises(UserError, match="no document is left to train on of 0"):
        build_tokens(
            write_texts(tmp_path / "none", files=0), stages / "vocabulary", tmp_path / "out", TokensConfig()
        )
    with pytest.raises(UserError, match="validation_fraction cannot be"):
        TokensConfig(validation_fraction=1.5)
    with pytest.raises(UserError, match="--workers cannot be 0"):
        build_tokens(stages / "corpus", stages / "vocabulary", tmp_path / "out2", TokensConfig(), workers=0)


def test_shards_without_documents_of_a_split_still_open(stages: Path, tmp_path: Path) -> None:
    from datasets import load_from_disk

    first = next(
        str(n) for n in range(100) if split_of(str(n), 0.05) == "validation"
    )  # the rest are for training
    corpus = write_texts(tmp_path / "corpus", *("Word1." for _ in range(int(first) + 1)), files=4)
    manifest = build_tokens(
        corpus, stages / "vocabulary", tmp_path / "tokens", TokensConfig(validation_fraction=0.05)
    )
    assert (
        manifest.counts["validation"]["documents"]
        == 1
        == len(load_from_disk(str(tmp_path / "tokens"))["validation"])
    )
    store = TokenStore.open(tmp_path / "tokens" / "validation")
    assert (
        len(store.shards) == 1
        and store.documents == store.sentences == 1
        and store.tokens == len(store.read(0, store.tokens))
    )
    build_tokens(corpus, stages / "vocabulary", tmp_path / "none", TokensConfig(validation_fraction=1e-9))
    empty = TokenStore.open(tmp_path / "none" / "validation")
    assert (empty.shards, empty.documents, empty.sentences, empty.tokens) == ((), 0, 0, 0)
    assert len(load_from_disk(str(tmp_path / "none"))["validation"]) == 0


def test_the_store_reads_the_same_tokens_without_copies(stages: Path) -> None:
    from datasets import load_from_disk

    table = load_from_disk(str(stages / "tokens"))["train"]
    store = TokenStore.open(stages / "tokens" / "train")
    assert (
        store.tokens == sum(len(row["input_ids"]) for row in table)
        and store.documents == len(table)
        and len(store.shards) == 3
    )
    assert store.sentences == sum(len(row["sentence_lengths"]) for row in table)
    address = 0
    for number, row in enumerate(table):
        view = store.read(address, len(row["input_ids"]))
        assert not view.flags.owndata and view.dtype == np.uint16
        assert view.tolist() == row["input_ids"]
        which = int(np.searchsorted(store.document_starts, number, "right")) - 1
        shard, inside = store.shards[which], number - store.document_starts[which]
        assert store.token_starts[which] + shard.token_offsets[inside] == address
        sentences = slice(*shard.sentence_offsets[inside : inside + 2])
        assert shard.sentence_lengths[sentences].tolist() == row["sentence_lengths"]
        address += len(view)


def test_the_store_opens_files_that_datasets_wrote_anew(stages: Path, tmp_path: Path) -> None:
    """Of several record batches in a file."""
    from datasets import load_from_disk

    table = load_from_disk(str(stages / "tokens"))["train"]
    table.select(range(10, 60)).save_to_disk(str(tmp_path / "some"), num_shards=2)
    rows = table.data.table.slice(7, 20)
    with pa.ipc.new_stream(str(tmp_path / "some" / "state.arrow"), rows.schema) as writer:
        writer.write_table(rows, max_chunksize=6)
    store = TokenStore.open(tmp_path / "some")
    assert (
        store.read(0, len(table[10]["input_ids"])).tolist() == table[10]["input_ids"]
        and store.documents == 50
    )
    write_json(tmp_path / "some" / "state.json", {"_data_files": [{"filename": "state.arrow"}]})
    store = TokenStore.open(tmp_path / "some")
    assert all(shard.token_offsets[0] == shard.sentence_offsets[0] == 0 for shard in store.shards)
    tokens = np.concatenate([shard.tokens for shard in store.shards])
    assert tokens.tolist() == [token for row in table.select(range(7, 27)) for token in row["input_ids"]]


def test_a_piece_of_a_longer_array_begins_at_its_own_tokens(stages: Path) -> None:
    """Arrow's own writer moves such offsets to zero; other writers need not."""
    rows = (
        pa.ipc.open_stream((stages / "tokens" / "train" / shard_name(0, 3)).read_bytes())
        .read_all()
        .to_batches()[0]
    )
    whole, piece = shards._view(rows), shards._view(rows.slice(4, 3))
    assert piece.token_offsets[0] == piece.sentence_offsets[0] == 0 and len(piece.token_offsets) == 4
    assert piece.tokens.tolist() == whole.tokens[whole.token_offsets[4] : whole.token_offsets[7]].tolist()
    assert (
        piece.sentence_lengths.tolist()
        == whole.sentence_lengths[whole.sentence_offsets[4] : whole.sentence_offsets[7]].tolist()
    )


@pytest.mark.fault("a token shard cut anywhere, missing or of other content", "one line with its name")
def test_a_damaged_shard_is_told_in_one_line(stages: Path, tmp_path: Path) -> None:
    shutil.copytree(stages / "tokens" / "train", tmp_path / "train")
    path = tmp_path / "train" / shard_name(1, 3)
    whole = path.read_bytes()
    other = pa.BufferOutputStream()
    with pa.ipc.new_stream(other, pa.schema([("text", pa.string())])):
        pass
    schema_end = 8 + int.from_bytes(
        whole[4:8], "little"
    )  # cut here, it would be a sound file without documents
    cuts = [*(len(whole) * cut // 37 for cut in range(37)), schema_end, len(whole) - 8]
    for damage in (*(whole[:cut] for cut in cuts), b"text" * 100, other.getvalue().to_pybytes()):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=path.name) as told:
            TokenStore.open(tmp_path / "train")
        assert "\n" not in str(told.value)
    for position in random.Random(5).sample(range(len(whole) - 8), 100):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 64]) + whole[position + 1 :])
        with contextlib.suppress(UserError):  # a flipped bit in a token is for `verify_tokens` to see
            TokenStore.open(tmp_path / "train")
    path.unlink()
    with pytest.raises(UserError, match=r"missing.*data-00001"):
        TokenStore.open(tmp_path / "train")
    (tmp_path / "train" / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"state\.json"):
        TokenStore.open(tmp_path / "train")
    with pytest.raises(UserError, match="no token shards"):
        TokenStore.open(tmp_path)


@pytest.mark.fault("one bit of a token shard flipped, or the shard missing", "found by its checksum, named")
def test_verification_names_the_file_that_is_not_as_it_was_written(stages: Path, tmp_path: Path) -> None:
    shutil.copytree(stages / "tokens", tmp_path / "tokens")
    verify_tokens(tmp_path / "tokens")
    path = tmp_path / "tokens" / "validation" / shard_name(2, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged.*{path.name}"):
        verify_tokens(tmp_path / "tokens")
    path.unlink()
    with pytest.raises(UserError, match=f"missing.*{path.name}"):
        verify_tokens(tmp_path / "tokens")
    with pytest.raises(UserError, match="no such directory"):
        verify_tokens(tmp_path / "nothing")


def test_a_shard_too_large_for_arrow_is_refused(tmp_path: Path) -> None:
    rows = Rows(schema(300))
    rows.token_offsets.append(1 << 31)
    with pytest.raises(UserError, match="characters_per_shard"):
        rows.write(tmp_path / "shard")


@pytest.mark.fault("the corpus changes between two starts of a token build", "refused, never mixed")
def test_a_corpus_that_changed_is_not_mixed_with_the_old_one(stages: Path, tmp_path: Path) -> None:
    corpus = write_texts(tmp_path / "corpus", "Word1.", "Word2.", files=2)
    damaged = corpus / "part-00001.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-50])
    arguments = (stages / "vocabulary", tmp_path / "tokens", TokensConfig(validation_fraction=1e-9))
    with pytest.raises(UserError, match=f"SHA-256.*{damaged.name}"):
        build_tokens(corpus, *arguments)
    assert len(list((tmp_path / "tokens" / ".work" / "tasks" / "completions").iterdir())) == 1
    shutil.rmtree(corpus)
    write_texts(corpus, "Word1.", "Word2.", "Word3.", files=2)
    with pytest.raises(UserError, match="begun output of 'tokens' from other inputs"):
        build_tokens(corpus, *arguments)
    assert build_tokens(corpus, *arguments, overwrite=True).counts["documents"] == 3
    shutil.copytree(stages / "vocabulary", tmp_path / "vocabulary")
    (tmp_path / "vocabulary" / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"SHA-256.*tokenizer\.json"):
        build_tokens(corpus, tmp_path / "vocabulary", tmp_path / "others", TokensConfig())


def test_shards_do_not_depend_on_the_workers(stages: Path, tmp_path: Path) -> None:
    first = build_tokens(
        stages / "corpus",
        stages / "vocabulary",
        tmp_path / "two",
        TokensConfig(validation_fraction=0.2),
        workers=2,
    )
    second = build_tokens(
        stages / "corpus", stages / "vocabulary", stages / "tokens", TokensConfig(validation_fraction=0.2)
    )
    assert first.outputs == second.outputs
    files = {
        str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*") if path.is_file()
    }
    assert files == {MANIFEST, *first.outputs}


@pytest.mark.parametrize("whom", ["worker", pytest.param("everybody", marks=pytest.mark.slow)])
@pytest.mark.fault(
    "SIGKILL during a token build: {whom}",
    "the same command finishes it, same bytes",
    lost="the tasks at hand",
)
def test_bytes_are_the_same_after_a_kill_and_a_restart(stages: Path, tmp_path: Path, whom: str) -> None:
    write_corpus(tmp_path / "corpus", documents=4000, shards=16)
    expected = build_tokens(tmp_path / "corpus", stages / "vocabulary", tmp_path / "whole", TokensConfig())
    command = [sys.executable, "-m", "biobert_scale.cli", "tokens", "build", "--workers", "2"]
    for name, path in (
        ("corpus", tmp_path / "corpus"),
        ("vocabulary", stages / "vocabulary"),
        ("output", tmp_path / "out"),
    ):
        command += [f"--{name}", str(path)]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while (
        process.poll() is None
        and not list((tmp_path / "out" / "train").glob("data-*"))
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    if whom == "worker":
        # The workers are children of the server that they were forked from.
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.ppid() != process.pid
        ]
        workers[0].kill()
        assert (
            process.stderr is not None
            and "was killed by SIGKILL" in process.stderr.read()
            and process.wait() == 1
        )
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / "out" / MANIFEST).exists(), "it was killed too late to show anything"
    (tmp_path / "out" / "train" / f".{shard_name(3, 16)}.4242.part").write_bytes(
        b"what a killed writer leaves"
    )
    finished = list((tmp_path / "out" / ".work" / "tasks" / "completions").glob("*"))
    kept = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out" / "train" / shard_name(int(mark.name), 16) for mark in finished)
    }
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert read_manifest(tmp_path / "out") == expected
    assert all(path.stat().st_mtime_ns == time_written for path, time_written in kept.items()), (
        "a finished shard was written again"
    )
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {
        path.name for path in (tmp_path / "whole").rglob("*")
    }
    verify_tokens(tmp_path / "out")


@pytest.fixture(scope="module", params=[False, True], ids=["cased", "lower case"])
def pieces(
    request: pytest.FixtureRequest, stages: Path, tmp_path_factory: pytest.TempPathFactory
) -> WordPieces:
    directory = tmp_path_factory.mktemp("vocabularies") / "vocabulary"
    characters = "abcdefghé́中≠=(.-[]MASK01αß̇i"
    entries = dict.fromkeys(
        [*characters, *(f"##{character}" for character in characters), "ab", "##cd", "##MASK"]
    )
    directory.with_suffix(".txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *entries]) + "\n"
    )
    build_vocabulary(
        stages / "corpus",
        directory,
        VocabularyConfig(lowercase=request.param),
        vocabulary=directory.with_suffix(".txt"),
    )
    tokenizer = load_tokenizer(directory)
    tokenizer.encode_special_tokens = True  # as words, which is what the pieces are compared with
    return WordPieces(tokenizer, np.dtype(np.uint16))


_odd = st.sampled_from(
    "abcdABCD \u00e9e\u0301\u0338\u0345=\u2260\u0130\u1e9e\u03a3\u03c2\u4e2d\u3002\u00a0\u2028\u200b"
    "\x00\x0b\x1c\x85\t\r\ufffd([.-,'\"_~\uac01\U0001f600\u00bd\ufb01"
)
_whole = st.sampled_from(["[MASK]", "[SEP]", "##cd", "a" * 99, "ab" * 60])
_texts = st.lists(st.one_of(_odd, st.characters(), _whole), max_size=40).map("".join)


@settings(deadline=None, max_examples=400)
@given(text=_texts)
def test_pieces_are_the_librarys(pieces: WordPieces, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    library = pieces.tokenizer.encode_batch([text], add_special_tokens=False)[0].ids
    assert np.frombuffer(b"".join(pieces[word] for word in text.split(" ")), np.uint16).tolist() == library
    lines = [pieces.tokenizer.encode(line, add_special_tokens=False).ids for line in text.split("\n")]
    (sentences,) = tokenize_documents(pieces, [text])
    assert np.frombuffer(b"".join(sentences), np.uint16).tolist() == [token for ids in lines for token in ids]


def test_pieces_are_the_librarys_when_words_are_forgotten(
    pieces: WordPieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biobert_scale.tokens.pieces._WORDS_KEPT", 3)
    pieces.clear()
    text = "ab (cd) a.b-c ab ab, d.e (f) " * 20 + "a" * 300
    found = np.frombuffer(b"".join(pieces[word] for word in text.split(" ")), np.uint16)
    assert found.tolist() == pieces.tokenizer.encode(text, add_special_tokens=False).ids
    assert 0 < len(pieces) <= 3


def test_names_of_special_tokens_in_a_text_are_words(pieces: WordPieces) -> None:
    """A [SEP] inside a document would end a segment, and a [MASK] would be asked of the model."""
    (sentences,) = tokenize_documents(pieces, ["a [MASK] b[SEP] [PAD]"])
    assert not set(np.frombuffer(b"".join(sentences), np.uint16).tolist()) & {0, 2, 3, 4}


def test_pieces_of_real_articles_are_the_librarys(real_data: Path, tmp_path: Path) -> None:
    vocabulary = real_data / "bert" / "bert-large-cased" / "vocab.txt"
    write_corpus(tmp_path / "corpus", documents=5)
    build_vocabulary(tmp_path / "corpus", tmp_path / "vocabulary", VocabularyConfig(), vocabulary=vocabulary)
    with tarfile.open(next((real_data / "pmc").glob("*.tar.gz"))) as archive:
        members = [member for member in itertools.islice(archive, 60) if member.name.endswith(".xml")]
        raw = [archive.extractfile(member).read().decode() for member in members]  # type: ignore[union-attr]
    texts = [re.sub(r"<[^>]*>", " ", xml)[:50_000] for xml in raw]
    assert len(texts) > 20
    pieces = WordPieces(load_tokenizer(tmp_path / "vocabulary"), np.dtype(np.uint16))
    found = [b"".join(sentences) for sentences in tokenize_documents(pieces, texts)]
    encodings = pieces.tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [np.frombuffer(ids, np.uint16).tolist() for ids in found] == [
        encoding.ids for encoding in encodings
    ]


@pytest.mark.parametrize(
    "sentences",
    [
        ["The strain was E. coli in all cases (Fig. 1).", "It grew well."],
        ["A dose of 5 mg i.v. was given.", "No effect was seen (p < 0.05)."],
        ["Smith et al. described it first.", "Others did not."],
        ["As reported by Smith et al. (2010), it failed.", "See Figs. 2 and 3 for details."],
        ["Growth of S. aureus vs. E. coli was slow (approx. 2.5 h).", "B. subtilis grew faster."],
        ["The change was small (P = 0.03 vs. 0.9).", "It was approx. 3.5-fold."],
        ["In Fig. 2A, arrows mark cells.", "No. 5 was lost."],
        ["It rose to 3.5 mg.", "p53 was bound to DNA."],
        ["We measured mRNA levels.", "mTOR was inhibited."],
        ["Was it safe?", "It was."],
        ["RESULTS: Ten of 20 patients (i.e. half) survived.", "CONCLUSIONS: Treatment helps."],
        ["This holds for D. melanogaster, i.e. the fruit fly.", "It is small."],
        ["Dr. Jones examined St. Mary's patients.", "All were well."],
        ["Subsp. nov. was found at ca. 5 metres.", "It was rare."],
        ["Bacillus spp. and Figs. S1 and S2 (Refs. 3, 4) were compared.", "They agreed."],
        ["We isolated Bacillus spp.", "They were rare."],
        ["One line"],
    ],
)
def test_sentence_boundaries_of_biomedical_text(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


def test_sentences_cover_every_visible_character() -> None:
    generator = random.Random(3)
    for _ in range(300):
        text = "".join(generator.choice("aB1. \n\t(?!)é\u00a0\u3002") for _ in range(generator.randrange(60)))
        spans = split_sentences(text)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        covered = "".join(text[start:end] for start, end in spans)
        assert "".join(covered.split()) == "".join(text.split())
        assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
