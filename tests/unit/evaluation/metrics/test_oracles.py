"""Every measure against scikit-learn, scipy or seqeval, on thousands of random answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import seqeval.metrics
from scipy.stats import pearsonr
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

from biobert_scale.evaluation.metrics.bootstrap import score_of
from biobert_scale.evaluation.metrics.calibration import (
    BINS,
    multi_label_calibration,
    single_label_calibration,
)
from biobert_scale.evaluation.metrics.labels import (
    accuracy,
    count_answers,
    count_labels,
    example_based_f1,
    micro_f1,
)
from biobert_scale.evaluation.metrics.similarity import pearson
from biobert_scale.evaluation.metrics.words import count_words, word_macro_f1, word_scores
from biobert_scale.evaluation.scores import Values

pytestmark = pytest.mark.filterwarnings("ignore")  # seqeval warns of every type that nobody predicts
ABS = 1e-9


def draws(number: int) -> Iterator[np.random.Generator]:
    yield from (np.random.default_rng(seed) for seed in range(number))


def one_hot(numbers: np.ndarray, labels: int) -> np.ndarray:
    return np.eye(labels, dtype=bool)[numbers]


def test_micro_f1_without_the_negative_label_and_accuracy_are_scikit_learns() -> None:
    for rng in draws(1000):
        labels, size = int(rng.integers(2, 7)), int(rng.integers(1, 40))
        skew = rng.dirichlet(np.ones(labels) * 0.5)  # rare labels, and sets without any positive one
        gold, predicted = rng.choice(labels, size, p=skew), rng.choice(labels, size, p=skew)
        without = [one_hot(each, labels)[:, 1:] for each in (gold, predicted)]
        theirs = precision_recall_fscore_support(
            gold, predicted, labels=range(1, labels), average="micro", zero_division=0
        )
        ours = micro_f1(*without)
        assert (
            [ours[key] for key in ("precision", "recall", "f1")]
            == pytest.approx(  # type: ignore[literal-required]
                [100 * float(each) for each in theirs[:3]], abs=ABS
            )
        )
        assert score_of(count_labels(*without), "micro") == pytest.approx(ours["f1"], abs=ABS)
        whole = [one_hot(each, labels) for each in (gold, predicted)]
        due = 100 * accuracy_score(gold, predicted)
        assert accuracy(*whole)["accuracy"] == pytest.approx(due, abs=ABS)
        assert score_of(count_answers(*whole), "accuracy") == pytest.approx(due, abs=ABS)


def test_micro_and_example_based_f1_of_several_labels_are_scikit_learns() -> None:
    for rng in draws(600):
        shape = int(rng.integers(1, 20)), int(rng.integers(2, 11))
        gold, predicted = rng.random(shape) < rng.random(), rng.random(shape) < rng.random()
        assert micro_f1(gold, predicted)["f1"] == pytest.approx(
            100 * f1_score(gold, predicted, average="micro", zero_division=0), abs=ABS
        )
        assert accuracy(gold, predicted)["accuracy"] == pytest.approx(
            100 * accuracy_score(gold, predicted), abs=ABS
        )
        labelled = gold.any(1)
        if labelled.any():
            precision, recall = (
                100 * of(gold[labelled], predicted[labelled], average="samples", zero_division=0)
                for of in (precision_score, recall_score)
            )
            both = precision + recall
            due = 2 * precision * recall / both if both else 0.0
            assert example_based_f1(gold, predicted)["f1"] == pytest.approx(due, abs=ABS)
            assert score_of(count_labels(gold, predicted), "example") == pytest.approx(due, abs=ABS)


def test_pearson_is_scipys_at_every_scale() -> None:
    for rng in draws(1000):
        size = int(rng.integers(3, 60))
        # Numbers far from zero that hardly vary are what one-pass formulas fail on.
        offset, scale = 10.0 ** rng.integers(-3, 4), 10.0 ** rng.integers(-4, 4)
        gold = np.round(rng.random(size) * 4, 1)
        predicted = offset + scale * (rng.normal() * gold + rng.normal(size=size))
        if np.ptp(gold) == 0:
            continue
        due = 100 * pearsonr(gold, predicted).statistic
        assert pearson(gold.tolist(), predicted.tolist())["pearson"] == pytest.approx(due, abs=ABS)
        cuts = np.sort(rng.integers(0, size, 3))  # pairs of one document are drawn together
        documents = [
            Values(x.tolist(), y.tolist())
            for x, y in zip(np.split(gold, cuts), np.split(predicted, cuts), strict=True)
        ]
        assert score_of(documents, "pearson") == pytest.approx(due, abs=ABS)


@pytest.mark.parametrize("predicted", [[0.1] * 4, [2.0, 2.0, 2.0, 2.0], [1e300] * 4])
def test_numbers_that_do_not_vary_correlate_with_nothing(predicted: list[float]) -> None:
    assert pearson([1.0, 2.0, 3.0, 4.0], predicted)["pearson"] == 0.0
    assert pearson(predicted, [1.0, 2.0, 3.0, 4.0])["pearson"] == 0.0


def test_words_score_as_seqeval_scores_words_that_are_entities_each() -> None:
    kinds = ["O", "I-PAR", "I-INT", "I-OUT"]
    for rng in draws(600):
        documents = [
            rng.choice(kinds[: rng.integers(2, 5)], (2, rng.integers(1, 15))).tolist()
            for _ in range(rng.integers(1, 5))
        ]
        ours = [count_words(*document) for document in documents]
        gold, predicted = (
            [[tag.replace("I-", "B-") for tag in document[side]] for document in documents] for side in (0, 1)
        )
        if all(tag == "O" for tags in (*gold, *predicted) for tag in tags):
            continue
        due = 100 * seqeval.metrics.f1_score(gold, predicted, average="macro", zero_division=0)
        each = seqeval.metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
        assert word_macro_f1(ours)["f1"] == pytest.approx(due, abs=ABS)
        assert score_of(ours, "macro") == pytest.approx(due, abs=ABS)
        for kind, found in word_scores(ours).items():
            assert found["recall"] == pytest.approx(100 * each[kind]["recall"], abs=ABS)
            assert found["precision"] == pytest.approx(100 * each[kind]["precision"], abs=ABS)


def ece(confidence: np.ndarray, right: np.ndarray) -> float:
    """From scikit-learn's reliability curve and the number of decisions in each of its bins."""
    share, mean = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    numbers = np.bincount(bins, minlength=BINS)
    return float(100 * (np.abs(share - mean) * numbers[numbers > 0]).sum() / len(right))


def test_the_calibration_error_is_that_of_scikit_learns_curve() -> None:
    for rng in draws(600):
        labels, size = int(rng.integers(2, 6)), int(rng.integers(1, 60))
        probabilities = rng.dirichlet(np.ones(labels), size)
        gold = one_hot(rng.integers(0, labels, size), labels)
        best = probabilities.argmax(1)
        right = gold[np.arange(size), best]
        if len(set(right.tolist())) == 2:  # the curve needs both
            found = single_label_calibration(probabilities, gold)
            assert found["ece"] == pytest.approx(ece(probabilities.max(1), right), abs=ABS)
            assert found["accuracy"] == pytest.approx(100 * right.mean(), abs=ABS)
        several = rng.random((size, labels)) < 0.3
        answers = rng.random((size, labels))
        confidence, hits = np.maximum(answers, 1 - answers).ravel(), ((answers > 0.5) == several).ravel()
        if len(set(hits.tolist())) == 2:
            due = ece(confidence, hits)
            assert multi_label_calibration(answers, several)["ece"] == pytest.approx(due, abs=ABS)


def test_certain_and_right_answers_are_calibrated() -> None:
    gold = one_hot(np.array([0, 1, 1]), 2)
    assert single_label_calibration(gold.astype(float), gold) == {
        "ece": 0.0,
        "confidence": 100.0,
        "accuracy": 100.0,
    }
