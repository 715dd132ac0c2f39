from __future__ import annotations

import warnings

import numpy as np
import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from seqeval.scheme import IOB2
from seqscore.encoding import get_encoding
from seqscore.validation import validate_labels
from sklearn.metrics import f1_score, precision_score, recall_score

from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval, paired_bootstrap, score_of
from biobert_scale.evaluation.metrics.labels import count_labels, example_based_f1
from biobert_scale.evaluation.scores import (
    REPAIRS,
    Counts,
    count_entities,
    entity_spans,
    total,
)

PLAIN = st.sampled_from(["B", "I", "O"])
TYPED = st.sampled_from(["B-X", "I-X", "B-Y", "I-Y", "O"])
# Sentences as pairs of gold and predicted tags.
PAIR = st.lists(st.tuples(TYPED, TYPED), min_size=1, max_size=12).map(
    lambda pairs: tuple(map(list, zip(*pairs, strict=True)))
)
CORPUS = st.lists(PAIR, min_size=1, max_size=5)


def ours(corpus, repair):
    gold = [set(entity_spans(gold, repair)) for gold, _ in corpus]
    return total(count_entities(gold, [set(entity_spans(predicted, repair)) for _, predicted in corpus]))  # type: ignore[arg-type]


def theirs(corpus, **options):
    measures = (seqeval.metrics.precision_score, seqeval.metrics.recall_score, seqeval.metrics.f1_score)
    gold, predicted = [list(tags) for tags in zip(*corpus, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(
            100 * measure(gold, predicted, average="micro", zero_division=0, **options)
            for measure in measures
        )


@given(CORPUS)
@settings(max_examples=150, deadline=None)
def test_conlleval_repair_agrees_with_seqeval_default(corpus):
    counts = ours(corpus, "conlleval")
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx(theirs(corpus), rel=0, abs=1e-9)


@given(CORPUS)
@settings(max_examples=150, deadline=None)
def test_discard_repair_agrees_with_seqeval_strict_iob2(corpus):
    if not any(tag != "O" for pair in corpus for tags in pair for tag in tags):
        return  # seqeval's strict mode cannot count a corpus without any tag
    counts = ours(corpus, "discard")
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx(
        theirs(corpus, mode="strict", scheme=IOB2), rel=0, abs=1e-9
    )


@pytest.mark.parametrize("repair", REPAIRS)
@given(tags=st.lists(TYPED, min_size=1, max_size=15))
@settings(max_examples=150, deadline=None)
def test_repairs_agree_with_seqscore(repair, tags):
    encoding = get_encoding("BIO")
    result = validate_labels(tags, encoding, repair=repair)
    mentions = encoding.decode_labels(tags if result.is_valid() else result.repaired_labels)
    assert entity_spans(tags, repair) == [
        (mention.type, mention.span.start, mention.span.end) for mention in mentions
    ]


@given(st.lists(PLAIN, max_size=20))
def test_plain_tags_mean_the_same_as_tags_of_one_type(tags):
    typed = [tag if tag == "O" else f"{tag}-X" for tag in tags]
    for repair in REPAIRS:
        assert [span[1:] for span in entity_spans(tags, repair)] == [
            span[1:] for span in entity_spans(typed, repair)
        ]


def test_orphan_inside_tags_count_only_with_conlleval():
    tags = ["O", "I", "I", "O", "B", "I", "B"]
    assert entity_spans(tags) == [("", 1, 3), ("", 4, 6), ("", 6, 7)]
    assert entity_spans(tags, "discard") == [("", 4, 6), ("", 6, 7)]


def test_predicting_nothing_keeps_the_gold_in_the_count():
    assert total(count_entities([{(0, 3), (5, 9)}, {(1, 2)}], [set(), set()])) == Counts(tp=0, fp=0, fn=3)
    assert Counts(0, 0, 3).f1 == 0.0 and Counts().f1 == 0.0


MATRICES = st.integers(1, 12).flatmap(lambda n: st.tuples(arrays(bool, (n, 10)), arrays(bool, (n, 10))))


@given(MATRICES)
@settings(max_examples=150, deadline=None)
def test_document_scores_agree_with_scikit_learn(pair):
    gold, predicted = pair
    assert total(count_labels(gold, predicted)).f1 == pytest.approx(
        100 * f1_score(gold, predicted, average="micro", zero_division=0), rel=0, abs=1e-9
    )
    labelled = gold.any(1)
    found = example_based_f1(gold, predicted)
    if labelled.any():
        options = {"average": "samples", "zero_division": 0}
        assert found["precision"] == pytest.approx(
            100 * precision_score(gold[labelled], predicted[labelled], **options), rel=0, abs=1e-9
        )
        assert found["recall"] == pytest.approx(
            100 * recall_score(gold[labelled], predicted[labelled], **options), rel=0, abs=1e-9
        )
    assert found["documents"] == labelled.sum()


@given(MATRICES)
@settings(max_examples=150, deadline=None)
def test_the_resampled_measure_is_the_one_that_is_reported(pair):
    counts = count_labels(*pair)
    assert score_of(counts, "micro") == pytest.approx(total(counts).f1, abs=1e-9)
    assert score_of(counts, "example") == pytest.approx(example_based_f1(*pair)["f1"], abs=1e-9)


def test_perfect_answers_score_100_where_documents_carry_no_label():
    gold = np.zeros((5, 10), dtype=bool)
    gold[0, 3] = gold[2, 1] = True
    assert total(count_labels(gold, gold)).f1 == 100.0 and example_based_f1(gold, gold)["f1"] == 100.0


def test_bootstrap_interval_holds_the_score_and_narrows_with_more_documents():
    rng = np.random.default_rng(0)
    few = [Counts(int(tp), int(fp), int(fn)) for tp, fp, fn in rng.integers(0, 8, (30, 3))]
    low, high = bootstrap_interval(few)
    assert low < total(few).f1 < high
    narrow_low, narrow_high = bootstrap_interval(few * 16)
    assert narrow_high - narrow_low < (high - low) / 3
    assert bootstrap_interval([Counts(4, 0, 0)] * 5) == (100.0, 100.0)


def test_paired_bootstrap_sees_a_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(1)
    worse = [Counts(int(tp), 2, 3) for tp in rng.integers(0, 30, 60)]
    better = [Counts(count.tp + 1, 2, 2) for count in worse]
    found = paired_bootstrap([better], [worse])
    assert found["difference"] == pytest.approx(total(better).f1 - total(worse).f1)
    assert 0 < found["low"] < found["difference"] < found["high"] and found["p_not_better"] == 0.0
    assert bootstrap_interval(worse)[1] > bootstrap_interval(better)[0]
    assert paired_bootstrap([worse], [worse])["p_not_better"] == 1.0
