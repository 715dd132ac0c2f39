from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biobert_scale.config import TokensConfig, VocabularyConfig
from biobert_scale.tokens.build import build_tokens, split_of
from biobert_scale.tokens.sentences import split_sentences
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.vocabulary import build_vocabulary, load_tokenizer
from tests.helpers import write_corpus


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stages")
    write_corpus(directory / "corpus", documents=120, shards=3)
    build_vocabulary(directory / "corpus", directory / "vocabulary", VocabularyConfig(size=300))
    build_tokens(directory / "corpus", directory / "vocabulary", directory / "tokens", TokensConfig(validation_fraction=0.2))
    return directory


def test_every_document_stands_in_one_split_with_all_its_tokens(stages: Path) -> None:
    from datasets import load_from_disk

    splits = load_from_disk(str(stages / "tokens"))
    tokenizer = load_tokenizer(stages / "vocabulary")
    rows = [row for table in sorted((stages / "corpus").glob("*.parquet")) for row in pq.read_table(table).to_pylist()]
    stored = {row["id"]: (split, row) for split in ("train", "validation") for row in splits[split]}
    assert len(stored) == len(rows) == 120 and len(splits["validation"]) > 5
    for row in rows:
        split, document = stored[row["id"]]
        assert split == split_of(row["id"], 0.2)
        assert sum(document["sentence_lengths"]) == len(document["input_ids"])
        # Sentences never change what the tokenizer makes of the words: it splits at white space first.
        assert document["input_ids"] == tokenizer.encode(row["text"].replace("\n", " "), add_special_tokens=False).ids


def test_the_store_reads_the_same_tokens_without_copies(stages: Path) -> None:
    from datasets import load_from_disk

    table = load_from_disk(str(stages / "tokens"))["train"]
    store = TokenStore.open(stages / "tokens" / "train")
    flat = np.concatenate([np.asarray(row["input_ids"]) for row in table])
    assert store.tokens == len(flat) and store.documents == len(table) and len(store.shards) == 3
    position = 0
    for row in table:
        view = store.read(position, len(row["input_ids"]))
        assert not view.flags.owndata and view.dtype == np.uint16
        assert view.tolist() == row["input_ids"]
        position += len(view)


def test_shards_do_not_depend_on_the_workers(stages: Path, tmp_path: Path) -> None:
    first = build_tokens(stages / "corpus", stages / "vocabulary", tmp_path / "two", TokensConfig(validation_fraction=0.2), workers=2)
    second = build_tokens(stages / "corpus", stages / "vocabulary", stages / "tokens", TokensConfig(validation_fraction=0.2))
    assert first.outputs == second.outputs


def test_an_interrupted_build_repeats_no_finished_shard(stages: Path, tmp_path: Path) -> None:
    """A task that failed leaves the others' completion markers; the next call does only what is missing."""
    from biobert_scale.corpus.engine import run_tasks

    with pytest.raises(ZeroDivisionError):
        run_tasks(_Task(tmp_path, fails_at=2), tasks=4, workers=1, work=tmp_path / "work")
    run_tasks(_Task(tmp_path, fails_at=-1), tasks=4, workers=1, work=tmp_path / "work")
    assert (tmp_path / "calls").read_text() == "0123"


class _Task:
    def __init__(self, directory: Path, fails_at: int) -> None:
        self.directory, self.fails_at = directory, fails_at

    def __call__(self, rank: int) -> None:
        if rank == self.fails_at:
            raise ZeroDivisionError
        with open(self.directory / "calls", "a") as stream:
            stream.write(str(rank))


def test_a_large_vocabulary_gets_wider_ids() -> None:
    from biobert_scale.tokens.shards import schema

    assert schema(65_536).field("input_ids").type == pa.list_(pa.uint16())
    assert schema(65_537).field("input_ids").type == pa.list_(pa.uint32())


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
