from __future__ import annotations

import json

import numpy as np
import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.baselines import (
    crf_tags,
    dictionary_tags,
    majority_label,
    run_baselines,
    tfidf,
    word_features,
)
from biobert_scale.evaluation.entity_scores import score_tags
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import Row, read_gold, read_rows, read_sentences, task_of
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.sequence_scores import decide, score_rows
from biobert_scale.evaluation.table import score_table
from biobert_scale.evaluation.tasks.spec import Source, Task
from tests.factories import write_entities, write_hallmarks


def sentence(text, tags):
    tokens = text.split()
    return TaggedSentence(
        pmid="1",
        sentence=0,
        tokens=tokens,
        starts=[0] * len(tokens),
        ends=[1] * len(tokens),
        tags=tags.split(),
    )


HALLMARKS = Task(
    name="hallmarks",
    kind="classification",
    sources=(Source(format="jsonl", train=("a",), dev=("b",), test=("c",)),),
    metric="micro_f1",
    labels=tuple("abcdefghij"),
    multi_label=True,
)


def row(text, *labels, name="1"):
    return Row(id=name, document=name, texts=[text], label=list(labels))


def test_the_dictionary_prefers_the_longest_name_and_ignores_capitals():
    train = [sentence("leaf palsy hurts", "B I O"), sentence("Palsy hurts", "B O")]
    test = [sentence("LEAF palsy and palsy hurt", "O O O O O")]
    assert dictionary_tags(train, test) == [["B", "I", "O", "B", "O"]]


def test_the_dictionary_leaves_out_words_that_are_seldom_names():
    train = [
        sentence("was seen", "B O"),
        sentence("it was here was there", "O O O O O"),
        sentence("rot", "B"),
    ]
    assert dictionary_tags(train, [sentence("rot was seen", "O O O")], least_share=0.5) == [["B", "O", "O"]]


def test_the_dictionary_leaves_out_names_that_are_words_without_their_capitals():
    train = [sentence("NO rises", "B O"), sentence("gene A rot", "O B I")]
    test = [sentence("no gene a rot", "O O O O")]
    assert dictionary_tags(train, test) == [["B", "O", "B", "I"]] and dictionary_tags(
        train, test, least_characters=3
    ) == [["O", "O", "B", "I"]]


def test_word_features_tell_shapes_and_neighbours_apart():
    first, middle, last = word_features(["Old", "CYP3A4", "rose"])
    assert "s=X0X0" in middle and "w-1=old" in middle and "w1=rose" in middle
    assert "edge-1" in first and "edge1" in last


def test_majority_is_the_training_sets_most_frequent_hallmark():
    train = [row("a", "e"), row("b", "e", "h"), row("c")]
    assert np.flatnonzero(majority_label(HALLMARKS, train, [row("d")])[0]).tolist() == [4]


def test_one_telling_sentence_labels_its_document():
    train = [row(f"rot number {n} kills cells", "h") for n in range(6)]
    train += [row(f"goats number {n} walk home") for n in range(6)]
    test = [row("goats walk home"), row("rot kills cells"), row("goats walk home", name="2")]
    probabilities = tfidf(HALLMARKS, train, test)
    assert (
        probabilities.shape == (2, 10)
        and probabilities[0, 7] > 0.5 > probabilities[1, 7]
        and not probabilities[:, :7].any()
    )


def test_baselines_stand_in_the_table_as_finished_runs(tmp_path):
    write_entities(tmp_path / "in" / "entities")
    write_hallmarks(tmp_path / "in" / "hallmarks")
    prepare(tmp_path / "in", tmp_path / "out")
    manifest = run_baselines(tmp_path / "out", tmp_path / "runs")
    entities, documents = manifest.counts["NCBI-disease"], manifest.counts["HoC"]
    assert entities["no entity"] == 0.0 and entities["dictionary"] == 100.0 and entities["CRF"] > 95.0
    assert documents["TF-IDF documents"] > documents["majority"] > 0.0
    nothing = json.loads((tmp_path / "runs" / "NCBI-disease" / "no-entity" / "metrics.json").read_text())
    assert nothing["scores"]["conlleval"]["fn"] == 32
    rows = score_table(tmp_path / "runs")["rows"]
    assert len(rows) == 7 and all(
        row["kind"] == "baseline" and row["sd"] is None and row["interval_95"] for row in rows
    )
    assert run_baselines(tmp_path / "out", tmp_path / "runs").key == manifest.key
    with pytest.raises(UserError, match="no task 'BC5CDR-chem'"):
        run_baselines(tmp_path / "out", tmp_path / "other", tasks=["BC5CDR-chem"])


@pytest.fixture(scope="module")
def published(real_data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("published")
    prepare(real_data, directory)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "dictionary", "crf"),
    [("NCBI-disease", 59.9, 77.9), ("BC5CDR-disease", 68.8, 74.4), ("BC5CDR-chem", 72.3, 81.6)],
)
def test_baselines_of_names_score_what_such_methods_score(published, task, dictionary, crf):
    train, test, gold = (
        read_sentences(published, task, "train"),
        read_sentences(published, task, "test"),
        read_gold(published, task, "test"),
    )
    assert score_tags(test, gold, dictionary_tags(train, test, least_characters=3))["score"] == pytest.approx(
        dictionary, abs=0.2
    )
    assert score_tags(test, gold, crf_tags(train, test))["score"] == pytest.approx(crf, abs=2)


@pytest.mark.slow
def test_baselines_of_documents_score_what_such_methods_score(published):
    task = task_of(published, "HoC")
    train, test = (read_rows(published, task, split) for split in ("train", "test"))
    parts = [read_rows(published, task, split, by_sentence=True) for split in ("train", "test")]

    def score(probabilities):
        return score_rows(task, test, decide(task, probabilities))["score"]

    assert score(tfidf(task, train, test)) == pytest.approx(72.6, abs=2)
    assert score(tfidf(task, *parts)) == pytest.approx(78.2, abs=2)
    assert 23 < score(majority_label(task, train, test)) < 25
