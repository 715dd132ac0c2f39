from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.data import bert_instances
from benchmarks.data.balance import measure_balance
from benchmarks.data.samples import collators, cut_into_blocks
from benchmarks.data.stores import require_space, write_abstracts, write_repeated, write_simulated
from biobert_scale.config import DataConfig, TokensConfig, VocabularyConfig
from biobert_scale.data.pairs import Pair, pack_row, unpack
from biobert_scale.data.samples import open_index
from biobert_scale.data.stream import SampleStream
from biobert_scale.data.vocabulary import VocabularyTables
from biobert_scale.errors import UserError
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.vocabulary import build_vocabulary
from tests.factories import write_corpus

LENGTH = 64
CONFIG = DataConfig(max_seq_length=LENGTH)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus, vocabulary and tokens of made-up abstracts."""
    found = tmp_path_factory.mktemp("data")
    write_corpus(found / "corpus", documents=300, shards=2)
    build_vocabulary(found / "corpus", found / "vocabulary", VocabularyConfig(size=300))
    build_tokens(
        found / "corpus", found / "vocabulary", found / "tokens", TokensConfig(validation_fraction=0.1)
    )
    return found


@pytest.fixture(scope="module")
def store(directory: Path) -> TokenStore:
    return TokenStore.open(directory / "tokens" / "train")


@pytest.fixture(scope="module")
def tables(directory: Path) -> VocabularyTables:
    return VocabularyTables.read(directory / "tokens" / "tokenizer", whole_words=True)


def command(directory: Path, output: Path, *options: str) -> list[str]:
    return [
        "data",
        "--corpus",
        str(directory / "corpus"),
        "--vocabulary",
        str(directory / "vocabulary"),
        "--output",
        str(output),
        *options,
    ]


@pytest.mark.slow
def test_the_result_holds_every_measurement_of_the_same_corpus(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (
        "--repeats 1 --max-seq-length 64 --turn-seconds 0.05 --index-million-tokens 0.1"
        " --scale-million-samples 0.02"
    )
    before = set(Path(tempfile.gettempdir()).glob("biobert-scale-*"))
    assert main(command(directory, tmp_path, *small.split())) == 0
    assert set(Path(tempfile.gettempdir()).glob("biobert-scale-*")) <= before
    (page,) = tmp_path.glob("data-*.md")
    text, result = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert capsys.readouterr().out.strip().endswith(text.strip())
    assert str(tmp_path) not in text and str(directory) not in text

    assert [race["max_seq_length"] for race in result["samples"]] == [64, 16]
    for race in result["samples"]:
        speeds = {speed["name"]: speed for speed in race["speeds"]}
        assert len(speeds) == 8 and sum(name.startswith("this loader") for name in speeds) == 5
        for name, speed in speeds.items():
            assert (
                name in text
                and len(speed["sequences_per_cpu_second"]) == len(speed["sequences_per_second"]) == 1
            )
            assert min(speed["sequences_per_cpu_second"]) > 0
            full = speed["tokens_per_sequence"] == race["max_seq_length"]
            assert full == (not speed["pairs"]) == name.startswith("transformers"), (
                "the collator's blocks are full and no pairs"
            )
            share = speed["predictions_per_sequence"] / speed["tokens_per_sequence"]
            assert 0.10 < share < 0.19, (name, share)
    assert [(row["max_seq_length"], row["documents"]) for row in result["labels"][::2]] == [
        (64, "all"),
        (16, "all"),
        (64, "abstracts"),
    ]
    assert all(len(row["accuracy"]) == 5 and 0.3 < row["random_share"] < 0.8 for row in result["labels"])
    index = result["index"]
    assert (
        index["tokens"] >= 100_000
        and index["samples"] > index["tokens"] / LENGTH
        and len(index["packing_cpu_seconds"]) == 1
    )
    assert {workers: len(seconds) for workers, seconds in index["stage_seconds"].items()} == {"1": 1, "2": 1}
    ours, theirs = result["tokenizing"]["speeds"]
    assert ours["tokens"] == theirs["tokens"] > result["corpus"]["tokens"], (
        "the same pieces, with the validation split"
    )
    assert result["large"]["samples"] == 20_000
    assert [row["sequences"] for row in result["large"]["first_step"]] == [256, 16]
    by_length, at_random = result["balance"]["ways"].values()
    assert 1 <= by_length["step"]["mean"] < at_random["step"]["mean"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--repeats", "0"], "--repeats cannot be 0"),
        (["--max-seq-length", "5000"], "--max-seq-length cannot be 5000"),
        (["--scale-million-samples", "0"], "--scale-million-samples cannot be 0"),
        (["--scale-million-samples", "1e6"], "GB are free"),
    ],
)
def test_a_senseless_number_is_refused_before_any_work(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(command(directory, tmp_path, *options)) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_full_disk_is_refused_before_it_is_filled() -> None:
    require_space(1)
    with pytest.raises(UserError, match="are free"):
        require_space(1e18)


def test_the_plain_builder_reads_the_stores_documents(store: TokenStore, tables: VocabularyTables) -> None:
    documents = bert_instances.read_documents(store, len(tables.continues))
    assert len(documents) == store.documents and sum(map(len, documents)) == store.sentences
    tokens = [token for document in documents for sentence in document for token in sentence]
    assert tokens == np.concatenate([shard.tokens for shard in store.shards]).tolist()


@pytest.mark.parametrize("maximum", [13, 61])
def test_the_plain_builders_pairs_are_berts(maximum: int) -> None:
    # A token's number is its document's and its place in it.
    lengths = random.Random(0)
    documents = []
    for document in range(40):
        place = itertools.count(document * 10_000)
        documents.append(
            [[next(place) for _ in range(lengths.randint(1, 20))] for _ in range(lengths.randint(1, 30))]
        )
    found = [
        (number, *pair)
        for number in range(40)
        for pair in bert_instances.pairs(documents, number, maximum=maximum, rng=random.Random(number))
    ]
    assert 0.45 < sum(is_random for *_, is_random in found) / len(found) < 0.75
    assert any(len(a) + len(b) == maximum for _, a, b, _ in found)
    for number, a, b, is_random in found:
        assert a and b and len(a) + len(b) <= maximum
        assert {token // 10_000 for token in a} == {number}
        assert len({token // 10_000 for token in b}) == 1 and (b[0] // 10_000 != number) == is_random
        assert is_random or b[0] > a[-1], "a true B follows A"
    # Where nothing has to be truncated, all that is not used is put back: every token is in an A or a
    # true B once.
    long = [
        pair
        for number in range(40)
        for pair in bert_instances.pairs(documents, number, maximum=10_000, rng=random.Random(number))
    ]
    stand = [token for a, b, is_random in long for token in (a if is_random else a + b)]
    assert sorted(stand) == [token for document in documents for sentence in document for token in sentence]


def test_the_plain_builder_masks_ordinary_positions_only(tables: VocabularyTables) -> None:
    rng = random.Random(3)
    ordinary = tables.replacements.tolist()
    kinds = {"mask": 0, "kept": 0, "other": 0}
    for _ in range(300):
        a, b = ([rng.choice(ordinary) for _ in range(rng.randint(1, 40))] for _ in range(2))
        made = bert_instances.instance(
            a,
            b,
            is_random=True,
            tables=tables,
            vocabulary=len(tables.continues),
            mlm_probability=0.15,
            rng=rng,
        )
        whole = [tables.cls, *a, tables.sep, *b, tables.sep]
        assert len(made.input_ids) == len(made.token_type_ids) == len(whole)
        assert made.token_type_ids == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        assert not set(made.positions) & {0, len(a) + 1, len(whole) - 1} and len(set(made.positions)) == len(
            made.positions
        )
        assert abs(len(made.positions) - 0.15 * len(whole)) <= 0.5 or len(made.positions) == 1
        restored = list(made.input_ids)
        for position, label in zip(made.positions, made.labels, strict=True):
            token = made.input_ids[position]
            kinds["mask" if token == tables.mask else "kept" if token == label else "other"] += 1
            restored[position] = label
        assert restored == whole
    total = sum(kinds.values())
    assert kinds["mask"] / total == pytest.approx(0.8, abs=0.05) and kinds["kept"] / total == pytest.approx(
        0.1, abs=0.04
    )


def test_the_plain_builders_batches_are_padded_rows(store: TokenStore, tables: VocabularyTables) -> None:
    vocabulary = len(tables.continues)
    documents = bert_instances.read_documents(store, vocabulary)
    made = bert_instances.batches(
        documents,
        size=8,
        max_seq_length=LENGTH,
        tables=tables,
        vocabulary=vocabulary,
        mlm_probability=0.15,
        seed=0,
    )
    for batch in itertools.islice(made, 20):
        lengths = batch["attention_mask"].sum(axis=1)
        assert batch["input_ids"].shape == batch["labels"].shape == (8, LENGTH) and lengths.max() <= LENGTH
        assert (batch["input_ids"][np.arange(8), lengths - 1] == tables.sep).all() and (
            batch["input_ids"][:, 0] == tables.cls
        ).all()
        assert (
            not (batch["labels"][batch["attention_mask"] == 0] >= 0).any()
            and ((batch["labels"] >= 0).sum(axis=1) > 0).all()
        )
        assert set(batch["next_sentence_label"].tolist()) <= {0, 1}


def test_a_repeated_store_holds_the_real_documents_again_and_again(
    directory: Path, store: TokenStore, tmp_path: Path
) -> None:
    write_repeated(directory / "tokens", tmp_path, 5 * store.tokens - 1)
    repeated = TokenStore.open(tmp_path / "train")
    assert (repeated.tokens, repeated.documents) == (5 * store.tokens, 5 * store.documents)
    last = repeated.shards[-1].tokens
    assert np.array_equal(last, store.shards[-1].tokens)
    assert TokenStore.open(tmp_path / "validation").tokens == store.tokens


def test_every_sample_of_the_simulated_index_is_a_real_pair(
    directory: Path, store: TokenStore, tmp_path: Path
) -> None:
    simulated = write_simulated(
        directory / "tokens", tmp_path / "tokens", tmp_path / "samples", CONFIG, 30_000
    )
    large, index = TokenStore.open(tmp_path / "tokens" / "train"), open_index(tmp_path / "samples", "train")
    assert (
        simulated["samples"] == len(index) == 30_000
        and simulated["tokens"] == large.tokens
        and simulated["shards"] == len(large.shards) > 1
    )
    tile = large.tokens // len(large.shards)
    first, pairs = unpack(index), unpack(index[-1:])
    assert first.a_start.max() >= (simulated["shards"] - 1) * tile, "the last shard is used too"
    size = int(np.searchsorted(first.a_start, tile))  # the first shard's samples
    original = unpack(index[(len(index) - 1) % size :][:1])
    for name in ("a", "b"):
        start, length = int(getattr(pairs, f"{name}_start")[0]), int(getattr(pairs, f"{name}_length")[0])
        assert np.array_equal(
            large.read(start, length), large.read(int(getattr(original, f"{name}_start")[0]), length)
        )
    stream = SampleStream.open(tmp_path / "tokens", tmp_path / "samples", CONFIG, seed=1)
    assert (
        sum(
            len(batch.nsp_labels)
            for batch in stream.step(
                29_900, global_batch_size=64, micro_batch_size=2, world_size=4, rank=1
            ).micro_batches
        )
        == 16
    )


def test_abstracts_are_known_by_their_ids(directory: Path, store: TokenStore, tmp_path: Path) -> None:
    assert write_abstracts(directory / "tokens", tmp_path / "few", fewest=2)
    assert not write_abstracts(directory / "tokens", tmp_path / "all", fewest=store.documents + 1)
    for name in ("few", "all"):  # the made-up documents are all abstracts
        written = TokenStore.open(tmp_path / name)
        assert len(written.shards) == 1 and (written.documents, written.tokens) == (
            store.documents,
            store.tokens,
        )


def test_balance_is_measured_as_a_step_waits() -> None:
    # 128 long and 128 short samples: balanced by length, each micro-batch gets one of each.
    index = np.zeros((256, 2), np.uint64)
    for k in range(256):
        tokens = 30 if k % 2 else 1
        pack_row(index, k, Pair(0, tokens, 0, tokens, False, False))
    found = measure_balance(index, steps=3)
    by_length, at_random = found["ways"]["balanced by length"], found["ways"]["at random"]
    assert found["mean_length"] == 34 and all(
        ratio == {"mean": 1, "worst": 1} for ratio in by_length.values()
    )
    assert at_random["micro_batch"]["mean"] > 1.5, "two long samples against one of each"
    assert (
        1
        < at_random["rank"]["worst"]
        < at_random["step"]["worst"]
        <= at_random["micro_batch"]["worst"]
        <= 2 * 63 / 5
    )


def test_the_collators_blocks_hold_all_documents_end_to_end(
    store: TokenStore, tables: VocabularyTables
) -> None:
    blocks = cut_into_blocks(store, tables, LENGTH)
    documents = bert_instances.read_documents(store, len(tables.continues))
    wanted = [
        token
        for document in documents
        for token in (tables.cls, *itertools.chain.from_iterable(document), tables.sep)
    ]
    assert blocks.size > len(wanted) - LENGTH and blocks.reshape(-1).tolist() == wanted[: blocks.size]


def test_the_collator_for_whole_words_knows_where_words_begin(
    directory: Path, store: TokenStore, tables: VocabularyTables
) -> None:
    tokens, words = collators(store, directory / "tokens" / "tokenizer", tables, CONFIG)
    parted = {tokens.name: 0, words.name: 0}
    for item in (tokens, words):
        for batch in itertools.islice(item.begin(0), 5):
            labels = batch["labels"].numpy()
            masked = labels >= 0
            original = np.where(masked, labels, batch["input_ids"].numpy())
            continues = tables.continues[original[:, 1:]] & (original[:, :-1] != tables.cls)
            parted[item.name] += int((continues & (masked[:, 1:] != masked[:, :-1])).sum())
    assert parted[words.name] == 0 < parted[tokens.name]
