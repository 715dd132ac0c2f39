"""The scorer against other people's, and against deliberate faults."""

from __future__ import annotations

import random
import warnings

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.scheme import IOB2
from seqscore.encoding import get_encoding
from seqscore.validation import validate_labels
from sklearn.metrics import f1_score

from biobert_scale.evaluation.baselines import dictionary_tags, tfidf
from biobert_scale.evaluation.entity_scores import score_tags
from biobert_scale.evaluation.metrics.matches import match_entities
from biobert_scale.evaluation.ner import write_tags
from biobert_scale.evaluation.prediction_files import read_tags
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import (
    read_annotated,
    read_gold,
    read_rows,
    read_sentences,
    task_of,
)
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.scores import (
    REPAIRS,
    Counts,
    count_entities,
    count_orphans,
    entity_spans,
    total,
)
from biobert_scale.evaluation.sequence_scores import decide, gold_of, score_rows

TAGS = st.sampled_from(["B", "I", "O"])
ROWS = st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=14)


def iob2(tags):
    """The nearest valid gold."""
    return [
        ("B" if tag == "I" and before == "O" else tag)
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]


def conlleval(gold, predicted):
    """The CoNLL script's own rules, chunk by chunk (Tjong Kim Sang and De Meulder 2003): when a chunk ends,
    when one begins.

    Written from its description, tag by tag, without our notion of spans.
    """
    correct = found = gold_chunks = 0
    in_correct = False
    previous = ("O", "O")
    for pair in [*zip(gold, predicted, strict=True), ("O", "O")]:
        ends = [before != "O" and now in ("B", "O") for before, now in zip(previous, pair, strict=True)]
        starts = [
            now == "B" or (now == "I" and before == "O") for before, now in zip(previous, pair, strict=True)
        ]
        if in_correct:
            if ends[0] and ends[1]:
                correct, in_correct = correct + 1, False
            elif ends[0] != ends[1]:
                in_correct = False
        if starts[0] and starts[1]:
            in_correct = True
        gold_chunks, found = gold_chunks + starts[0], found + starts[1]
        previous = pair
    return Counts(correct, found - correct, gold_chunks - correct)


def gold_spans_of(labels, encoding):
    """seqscore's mentions of valid labels."""
    mentions = encoding.decode_labels(labels)
    return {(mention.span.start, mention.span.end) for mention in mentions}


def ours(gold, predicted, repair):
    return total(
        count_entities(
            [{s[1:] for s in entity_spans(g)} for g in gold],
            [{s[1:] for s in entity_spans(p, repair)} for p in predicted],
        )
    )


@given(st.lists(ROWS, min_size=1, max_size=6))
@settings(max_examples=1500, deadline=None)
def test_the_conlleval_convention_counts_as_we_do(corpus):
    gold, predicted = ([[row[side] for row in rows] for rows in corpus] for side in (0, 1))
    gold = [iob2(tags) for tags in gold]
    assert ours(gold, predicted, "conlleval") == sum(
        (conlleval(g, p) for g, p in zip(gold, predicted, strict=True)), Counts()
    )


@given(st.lists(ROWS, min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
def test_precision_recall_and_f1_are_seqevals_under_both_repairs(corpus):
    gold = [[f"{tag}-X" if tag != "O" else tag for tag in iob2([row[0] for row in rows])] for rows in corpus]
    predicted = [[f"{row[1]}-X" if row[1] != "O" else "O" for row in rows] for rows in corpus]
    if all(tag == "O" for tags in (*gold, *predicted) for tag in tags):
        return  # seqeval cannot count a corpus without any tag in strict mode
    for repair, options in (("conlleval", {}), ("discard", {"mode": "strict", "scheme": IOB2})):
        counts = ours(
            [[t[0] for t in tags] for tags in gold], [[t[0] for t in tags] for tags in predicted], repair
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = [
                100 * m(gold, predicted, average="micro", zero_division=0, **options)
                for m in (
                    seqeval.metrics.precision_score,
                    seqeval.metrics.recall_score,
                    seqeval.metrics.f1_score,
                )
            ]
        assert [counts.precision, counts.recall, counts.f1] == pytest.approx(theirs, abs=1e-9)


@given(st.lists(TAGS, max_size=30))
@settings(max_examples=500, deadline=None)
def test_orphans_are_what_the_repairs_differ_in(tags):
    added = len(entity_spans(tags)) - len(entity_spans(tags, "discard"))
    assert 0 <= added <= count_orphans(tags) and (added > 0) == (count_orphans(tags) > 0)
    assert count_orphans(iob2(tags)) == 0
    encoding = get_encoding("BIO")
    typed = [tag if tag == "O" else f"{tag}-X" for tag in tags]
    assert validate_labels(typed, encoding).is_valid() == (count_orphans(tags) == 0) if tags else True


@pytest.fixture(scope="module")
def ncbi(real_data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("ncbi")
    prepare(real_data / "ner" / "ncbi_disease_pubtator", directory)
    return directory


def spans_by_sentence(rows):
    return {
        str(number): {(start, end, kind) for kind, start, end in entity_spans(row)}
        for number, row in enumerate(rows)
    }


def test_real_predictions_score_as_seqeval_nervaluate_and_conlleval_score_them(ncbi, tmp_path):
    train, test, gold = (
        read_sentences(ncbi, "NCBI-disease", "train"),
        read_sentences(ncbi, "NCBI-disease", "test"),
        read_gold(ncbi, "NCBI-disease", "test"),
    )
    rng = random.Random(1)
    tags = [
        [rng.choice("BIO") if rng.random() < 0.1 else tag for tag in row]
        for row in dictionary_tags(train, test)
    ]
    counts = ours([s.tags for s in test], tags, "conlleval")
    assert counts == sum((conlleval(s.tags, row) for s, row in zip(test, tags, strict=True)), Counts())
    typed = [
        [[tag if tag == "O" else f"{tag}-X" for tag in row] for row in rows]
        for rows in ([s.tags for s in test], tags)
    ]
    assert counts.f1 == pytest.approx(100 * seqeval.metrics.f1_score(*typed), abs=1e-9)
    assert sum(map(count_orphans, tags)) > 100, "output as noisy as this is what the repairs differ in"
    encoding = get_encoding("BIO")
    for repair in REPAIRS:
        theirs = [gold_spans_of(encoding.repair_labels(row, repair), encoding) for row in typed[1]]
        assert theirs == [{span[1:] for span in entity_spans(row, repair)} for row in tags]
    strict = 100 * seqeval.metrics.f1_score(*typed, mode="strict", scheme=IOB2)
    assert ours([s.tags for s in test], tags, "discard").f1 == pytest.approx(strict, abs=1e-9)
    matches = match_entities(*map(spans_by_sentence, typed))
    by_nervaluate = Evaluator(*typed, tags=["X"], loader="list").evaluate()["overall"]
    for name in ("strict", "exact", "partial"):
        assert matches[name]["f1"] == pytest.approx(100 * by_nervaluate[name].f1, abs=1e-9)
        assert matches[name]["incorrect"] == by_nervaluate[name].incorrect
        assert matches[name]["missed"] == by_nervaluate[name].missed
    assert matches["strict"]["f1"] < matches["partial"]["f1"] < matches["type"]["f1"]
    whole = score_tags(test, gold, tags)
    assert whole["scores"]["conlleval"]["tp"] + whole["scores"]["conlleval"]["fn"] == 960
    assert abs(whole["score"] - counts.f1) < 0.2, (
        "document characters and tags differ only in mentions that tags cannot express"
    )
    write_tags(tmp_path / "x.tsv", test, tags)
    assert read_tags(tmp_path / "x.tsv", test) == (tags, 0)


def test_gold_under_io_tags_cannot_reach_100(real_data, tmp_path):
    """The known ceiling: two adjacent mentions melt into one where tags have no B."""
    (tmp_path / "in" / "NCBI-disease").mkdir(parents=True)
    for path in (real_data / "ner" / "iob" / "NCBI-disease").glob("*.tsv"):
        (tmp_path / "in" / "NCBI-disease" / path.name).write_bytes(path.read_bytes())
    manifest = prepare(tmp_path / "in", tmp_path / "out")
    assert (
        manifest.counts["NCBI-disease"]["published"]
        and manifest.counts["NCBI-disease"]["test"]["sentences"] == 940
    )
    test, gold = (
        read_sentences(tmp_path / "out", "NCBI-disease", "test"),
        read_gold(tmp_path / "out", "NCBI-disease", "test"),
    )
    assert score_tags(test, gold, [s.tags for s in test])["score"] == 100.0
    assert score_tags(test, gold, [["I" if tag == "B" else tag for tag in s.tags] for s in test])[
        "score"
    ] == pytest.approx(99.22, abs=0.005)


@pytest.mark.slow
def test_all_iob_files_have_their_published_sizes(real_data, tmp_path):
    manifest = prepare(real_data / "ner" / "iob", tmp_path)
    assert all(counts["published"] for counts in manifest.counts.values()) and len(manifest.counts) == 3
    found = {
        task: [counts[split]["mentions"] for split in ("train", "dev", "test")]
        for task, counts in manifest.counts.items()
    }
    assert found == {
        "BC5CDR-chem": [5203, 5347, 5385],
        "BC5CDR-disease": [4182, 4246, 4424],
        "NCBI-disease": [5134, 787, 960],
    }


def test_perfect_tags_lose_only_what_is_counted_as_lost(ncbi):
    test, gold = read_sentences(ncbi, "NCBI-disease", "test"), read_gold(ncbi, "NCBI-disease", "test")
    perfect = score_tags(test, gold, [sentence.tags for sentence in test])["scores"]["conlleval"]
    assert (
        perfect["fn"] <= 1
        and perfect["tp"] + perfect["fn"]
        == sum(len(d.mentions) for d in read_annotated(ncbi, "NCBI-disease", "test"))
        == 960
    )


def sentence(*tags):
    tokens = [f"w{number}" for number in range(len(tags))]
    starts = [4 * number for number in range(len(tags))]
    return TaggedSentence(
        pmid="1", sentence=0, tokens=tokens, starts=starts, ends=[s + 2 for s in starts], tags=list(tags)
    )


@given(st.lists(TAGS, min_size=2, max_size=20), st.data())
@settings(max_examples=300, deadline=None)
def test_a_dropped_prediction_changes_recall_and_never_the_support(tags, data):
    gold_tags = iob2(tags)
    whole = sentence(*gold_tags)
    gold = {"1": {(whole.starts[a], whole.ends[b - 1]) for _, a, b in entity_spans(gold_tags)}}
    cut = data.draw(st.integers(0, len(tags) - 1))
    predicted = gold_tags[:cut] + ["O"] * (len(tags) - cut)
    for repair in REPAIRS:
        counts = score_tags([whole], gold, [predicted])["scores"][repair]
        assert counts["tp"] + counts["fn"] == len(gold["1"])
    if any(tag != "O" for tag in gold_tags[cut:]):
        assert score_tags([whole], gold, [predicted])["scores"]["conlleval"]["recall"] < 100.0


MUTANTS = {
    "a boundary moved by one token": lambda spans: {(a, b + 1) for a, b in spans},
    "one entity forgotten": lambda spans: set(sorted(spans)[1:]),
    "one entity invented": lambda spans: spans | {(900, 901)},
    "two entities joined": lambda spans: {(min(a for a, _ in spans), max(b for _, b in spans))},
}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_kind_of_error_costs_points(name):
    gold = [{(0, 2), (4, 6)}]
    assert total(count_entities(gold, gold)).f1 == 100.0
    assert total(count_entities(gold, [MUTANTS[name](set(gold[0]))])).f1 < 100.0


def test_real_documents_score_as_scikit_learn_scores_them(real_data, tmp_path):
    prepare(real_data / "hoc", tmp_path)
    task = task_of(tmp_path, "HoC")
    train, test = (read_rows(tmp_path, task, split) for split in ("train", "test"))
    predicted, gold = decide(task, tfidf(task, train, test)), gold_of(task, test)
    assert score_rows(task, test, predicted)["score"] == pytest.approx(
        100 * f1_score(gold, predicted, average="micro", zero_division=0), abs=1e-9
    )
    assert score_rows(task, test, gold)["score"] == 100.0
