from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import normalizers, trainers

from biobert_scale.cli import main
from biobert_scale.config import VocabularyConfig
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, read_json, write_json
from biobert_scale.tokens.vocabulary import (
    _bert_tokenizer,
    _train,
    build_vocabulary,
    compare_vocabularies,
    load_tokenizer,
)
from biobert_scale.tokens.vocabulary_file import SPECIAL_TOKENS, read_entries
from biobert_scale.tokens.vocabulary_report import render
from biobert_scale.tokens.vocabulary_sample import draw, seen
from tests.factories import write_corpus

SPECIAL = "\n".join(SPECIAL_TOKENS)


def write_texts(directory: Path, texts: dict[str, str], *, shards: int = 1) -> Path:
    """A finished corpus of these documents, by id."""
    directory.mkdir(parents=True)
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    names = [f"part-{index:05d}.parquet" for index in range(shards)]
    for index, name in enumerate(names):
        table = pa.Table.from_pylist(
            rows[index::shards], schema=pa.schema([("id", pa.string()), ("text", pa.string())])
        )
        pq.write_table(table, directory / name, row_group_size=7)
    write_json(
        directory / "manifest.json",
        Manifest(
            stage="corpus", key="made up", inputs=[], config={}, counts={}, outputs=dict.fromkeys(names, "")
        ),
    )
    return directory


def many_texts(count: int) -> dict[str, str]:
    generator = random.Random(5)
    return {
        f"pmid:{number}": " ".join(
            f"word{generator.randrange(300)}α" for _ in range(generator.randrange(1, 40))
        )
        for number in range(count)
    }


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stages")
    write_corpus(directory / "corpus", documents=120, shards=3)
    build_vocabulary(directory / "corpus", directory / "vocabulary", VocabularyConfig(size=300))
    return directory


@pytest.mark.parametrize("lowercase", [False, True])
def test_the_transformers_tokenizer_gives_our_ids(stages: Path, tmp_path: Path, lowercase: bool) -> None:
    from transformers import AutoTokenizer

    build_vocabulary(stages / "corpus", tmp_path / "v", VocabularyConfig(size=200, lowercase=lowercase))
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path / "v"), load_tokenizer(tmp_path / "v")
    for text in ("Word12 word3 (WORD7).", "naïve Αβ-catenin 5 mg/kg", "Wörd3", ""):
        assert theirs(text)["input_ids"] == ours.encode(text).ids
    assert theirs.mask_token == "[MASK]" and len(theirs) == 200
    assert (theirs.tokenize("Word12") == theirs.tokenize("wórd12")) == lowercase, (
        "the case is not the one asked for"
    )


def test_the_same_corpus_gives_the_same_vocabulary(stages: Path, tmp_path: Path) -> None:
    """The library's trainer alone does not: it breaks ties by the order of a hash table."""
    again = build_vocabulary(stages / "corpus", tmp_path / "again", VocabularyConfig(size=300))
    assert (
        again.outputs
        == build_vocabulary(stages / "corpus", stages / "vocabulary", VocabularyConfig(size=300)).outputs
    )
    assert "report.json" in again.outputs


@pytest.mark.parametrize("lowercase", [False, True])
def test_normalising_each_character_once_gives_the_vocabulary_of_normalising_all_text(
    tmp_path: Path, lowercase: bool
) -> None:
    """Against the plain way, on text with more characters than the alphabet holds, some of them of several
    parts."""
    generator = random.Random(1)
    strange = [
        chr(point)
        for start, stop in ((0xC0, 0x250), (0x386, 0x500), (0x1E00, 0x2000), (0x4E00, 0x5300))
        for point in range(start, stop)
    ]
    strange += [chr(point) for point in range(0xAC00, 0xD7A3, 41)] + [
        "\u200b",
        "\u2028",
        "\u00a0",
        "\ufffd",
        "İ",
    ]
    words = ["".join(generator.choices("abcdeABCDE-.", k=generator.randrange(1, 9))) for _ in range(300)]
    words += ["a" + char + generator.choice(strange) + "b" for char in strange]
    texts = {str(number): " ".join(generator.choices(words, k=80)) for number in range(200)}
    texts["halves"] = (
        "qr\u09c7 qr\u09cb" + " \u09c7" * 50
    )  # lower-casing takes the second vowel sign apart: a frequent half and a rare one
    corpus = write_texts(tmp_path / "corpus", texts)
    config = VocabularyConfig(size=20_000, lowercase=lowercase)
    training, _ = draw(corpus, training_characters=config.training_characters, measured_characters=1)

    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    normal = [normalizer.normalize_str(text) for text in training.texts()]
    counts = Counter(char for text in normal for char in text if not char.isspace())
    assert len(counts) > 1000, "nothing is left out of the alphabet"
    alphabet = sorted(sorted(counts, key=lambda char: (-counts[char], char))[:1000])
    tokenizer = _bert_tokenizer({}, lowercase)
    first = [*SPECIAL_TOKENS, *alphabet, *(f"##{char}" for char in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.size, min_frequency=2, special_tokens=first, show_progress=False
    )
    rare = {ord(char): " " for char in counts.keys() - set(alphabet)}
    tokenizer.train_from_iterator([text.translate(rare) for text in normal], trainer)
    assert _train(training, config) == sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)


def test_the_draw_depends_neither_on_order_nor_on_shards_and_keeps_to_its_limit(tmp_path: Path) -> None:
    texts = many_texts(200)
    backwards = dict(reversed(texts.items()))
    one, other = write_texts(tmp_path / "one", texts), write_texts(tmp_path / "other", backwards, shards=5)
    order = sorted(
        texts, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8, person=b"vocabulary").digest()
    )
    sums = np.cumsum([len(texts[name]) for name in order])
    for limit in (1, 500, int(sums[80]), int(sums[80]) - 1, 10**9):
        training, measured = draw(one, training_characters=limit, measured_characters=900)
        expected = max(1, int(np.searchsorted(sums, limit, "right")))
        assert list(training.texts()) == [texts[name] for name in order[:expected]]
        assert training.characters == sums[expected - 1]
        assert seen(training, measured) == (len(measured) if limit == 10**9 else 0)
        again, measured_again = draw(other, training_characters=limit, measured_characters=900)
        assert list(again.texts()) == list(training.texts()) and list(measured_again.texts()) == list(
            measured.texts()
        )
        assert 0 < measured.characters <= 900
    training, measured = draw(
        one, training_characters=int(sums[-20]), measured_characters=int(sums[-1] - sums[-50])
    )
    assert seen(training, measured) == 49 - 19, "a part of the sample was trained on"


def test_a_larger_corpus_trains_on_the_text_asked_for_and_is_measured_on_other_documents(
    tmp_path: Path,
) -> None:
    corpus = write_texts(tmp_path / "corpus", many_texts(200))
    limit = 20_000
    manifest = build_vocabulary(corpus, tmp_path / "v", VocabularyConfig(size=300, training_characters=limit))
    assert (
        0.9 * limit < manifest.counts["training_characters"] <= limit
        and manifest.counts["training_documents"] < 200
    )
    assert (
        read_json(tmp_path / "v" / "report.json")["sample"]["documents_seen"]
        == manifest.counts["training_documents"]
    ), "all is measured on"
    with pytest.raises(UserError, match="training_characters cannot be 0"):
        build_vocabulary(corpus, tmp_path / "w", VocabularyConfig(training_characters=0))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_an_existing_vocabulary_keeps_its_ids(stages: Path, tmp_path: Path, line_end: str) -> None:
    entries = ["[PAD]", "alpha", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "beta", "##s", "\u2028", "Y"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "vocab.txt").write_bytes((line_end.join(entries) + line_end).encode())
    for vocabulary, output in (
        (tmp_path / "model" / "vocab.txt", tmp_path / "of file"),
        (tmp_path / "model", tmp_path / "of directory"),
    ):
        manifest = build_vocabulary(stages / "corpus", output, VocabularyConfig(), vocabulary=vocabulary)
        assert load_tokenizer(output).encode("betas alpha Gamma").ids == [3, 6, 7, 1, 2, 4]
        assert read_entries(output) == entries and manifest.counts["entries"] == 10
        assert read_json(output / "report.json")["sample"]["documents_seen"] is None
    shutil.copy(tmp_path / "of file" / "tokenizer.json", tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").unlink()
    assert read_entries(tmp_path / "model") == entries, (
        "a model directory of transformers 5 holds no vocab.txt"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"alpha\n", r"no \[PAD\]"),
        (b"", "is empty"),
        (
            f"{SPECIAL}\nalpha\nbeta\nalpha\n".encode(),
            "'alpha' occurs 2 times in the vocabulary, first on line 6",
        ),
        (f"{SPECIAL}\n\nalpha\n".encode(), "line 6 of the vocabulary is empty"),
        (f"{SPECIAL}\nalpha\n\n".encode(), "line 7 of the vocabulary is empty"),
        (f"{SPECIAL}\nalph\xe4\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_broken_vocabulary_is_told_in_one_line_and_writes_nothing(
    stages: Path, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=says) as told:
        build_vocabulary(
            stages / "corpus", tmp_path / "out", VocabularyConfig(), vocabulary=tmp_path / "vocab.txt"
        )
    assert "\n" not in str(told.value) and not (tmp_path / "out").exists()


def test_what_is_no_vocabulary_at_all_is_told(stages: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bytes").mkdir()
    write_json(tmp_path / "bytes" / "tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": 0}}})
    (tmp_path / "uncased").mkdir()
    (tmp_path / "uncased" / "vocab.txt").write_text(f"{SPECIAL}\nalpha\n")
    write_json(tmp_path / "uncased" / "tokenizer_config.json", {"do_lower_case": True})
    for path, says in (
        ("missing", "no such vocabulary"),
        ("empty", "no vocab.txt"),
        ("bytes", "not a WordPiece"),
        ("uncased", "add --lowercase"),
    ):
        with pytest.raises(UserError, match=says):
            build_vocabulary(
                stages / "corpus", tmp_path / "out", VocabularyConfig(), vocabulary=tmp_path / path
            )
    build_vocabulary(
        stages / "corpus", tmp_path / "out", VocabularyConfig(lowercase=True), vocabulary=tmp_path / "uncased"
    )
    assert load_tokenizer(tmp_path / "out").encode("ÁLPHA").ids == [2, 5, 3]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_texts(tmp_path / "corpus", {"1": "the cats, the dogs", "2": "The Gene gene-X cats"})
    (tmp_path / "cased").mkdir()
    (tmp_path / "cased" / "vocab.txt").write_text(
        "\n".join([SPECIAL, "the", "cat", "##s", "dog", "Gene", "gene", "X", "-", ",", "unused"])
    )
    (tmp_path / "uncased.txt").write_text("\n".join([SPECIAL, "the", "cats", "dog", "gene", "-", "x"]))
    return tmp_path


def test_the_figures_are_those_counted_by_hand(small: Path) -> None:
    build_vocabulary(small / "corpus", small / "out", VocabularyConfig(), vocabulary=small / "cased")
    report = compare_vocabularies(small / "corpus", small / "out", [small / "uncased.txt"])
    # the , the The Gene gene - X: once each but "the"; cats twice; dogs once
    sample = report["sample"]
    assert (sample["words"], sample["spaced_words"], sample["distinct_words"]) == (11, 8, 9)
    assert sample["documents"] == 2 and sample["characters"] == 38
    here, there = report["vocabularies"]
    # the , the Gene gene - X are whole; The is [UNK]; cats, dogs are two pieces
    assert here["tokens"] == 14 and here["pieces_per_word"] == 14 / 11 and here["whole_word_share"] == 7 / 11
    assert (
        here["unknown_word_share"] == 1 / 11
        and here["characters_per_token"] == 38 / 14
        and here["tokens_per_1000_spaced_words"] == 14000 / 8
    )
    assert here["entries_used"] == 9 and here["entries_never_used"] == 1 and here["entries"] == 15
    assert here["longest_used"][:2] == [{"entry": "Gene", "count": 1}, {"entry": "gene", "count": 1}]
    assert here["most_often_split"] == [
        {"word": "cats", "count": 2, "pieces": ["cat", "##s"]},
        {"word": "dogs", "count": 1, "pieces": ["dog", "##s"]},
    ]
    assert (
        there["tokens"] == 11
        and there["unknown_word_share"] == 2 / 11
        and there["entries_used"] == 5
        and there["entries_never_used"] == 1
    )
    [comparison] = report["comparisons"]
    assert (
        comparison["entries_in_both"],
        comparison["entries_only_here"],
        comparison["entries_only_there"],
    ) == (4, 6, 2)
    assert comparison["whole_only_here"] == [{"word": ",", "count": 1, "pieces": ["[UNK]"]}]
    assert comparison["whole_only_there"] == [
        {"word": "cats", "count": 2, "pieces": ["cat", "##s"]},
        {"word": "The", "count": 1, "pieces": ["[UNK]"]},
    ]
    assert report["vocabularies"][0] == read_json(small / "out" / "report.json")["vocabularies"][0]


def test_the_table_is_aligned_and_says_what_was_trained_on(stages: Path) -> None:
    report = compare_vocabularies(
        stages / "corpus", stages / "vocabulary", [stages / "vocabulary" / "vocab.txt"]
    )
    lines = render(report).splitlines()
    assert "measured on 120 documents, 120 of them trained on" in lines[0]
    table = lines[2 : lines.index("", 2)]
    assert (
        len({len(line) for line in table}) == 1
        and table[0].split() == ["this", "vocabulary"]
        and table[1].split() == ["entries", "300", "300"]
    )


def test_comparing_leaves_a_finished_vocabulary_alone(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "tokens",
        "vocabulary",
        "--corpus",
        str(small / "corpus"),
        "--output",
        str(small / "out"),
        "--vocabulary",
        str(small / "cased"),
    ]
    assert main(arguments) == 0
    plain = capsys.readouterr().out
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (small / "out").iterdir()}
    assert main([*arguments, "--compare", str(small / "uncased.txt"), "--compare", str(small / "cased")]) == 0
    compared = capsys.readouterr().out
    assert {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (small / "out").iterdir()
    } == before
    assert (
        "pieces per word" in plain
        and "uncased.txt" not in plain
        and "uncased.txt" in compared
        and "words whole in this, not in uncased.txt" in compared
    )
    assert main([*arguments[:5], str(small / "new"), "--compare", str(small / "nowhere")]) == 2
    assert not (small / "new").exists(), "a mistake in --compare was found only after the work"


def test_another_corpus_is_refused_for_a_comparison(small: Path, stages: Path) -> None:
    build_vocabulary(small / "corpus", small / "out", VocabularyConfig(), vocabulary=small / "cased")
    with pytest.raises(UserError, match="another corpus"):
        compare_vocabularies(stages / "corpus", small / "out", [])


def test_berts_own_vocabulary_is_taken_as_it_is(stages: Path, real_data: Path, tmp_path: Path) -> None:
    theirs = real_data / "bert" / "bert-large-cased"
    manifest = build_vocabulary(stages / "corpus", tmp_path / "out", VocabularyConfig(), vocabulary=theirs)
    assert manifest.counts["entries"] == 28_996
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == (theirs / "vocab.txt").read_bytes()
