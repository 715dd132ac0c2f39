"""Scores of labels and numbers by hand, and what a perfect and an all-negative system score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.sequence_scores import break_down, decide, gold_of, score_rows
from biobert_scale.evaluation.tasks.spec import Source, Task

SOURCE = Source(format="jsonl", train=("a",), dev=("b",), test=("c",))
RELATIONS = Task(
    name="r",
    kind="relations",
    sources=(SOURCE,),
    metric="micro_f1",
    labels=("up", "none", "down"),
    negative="none",
)
QUESTIONS = Task(
    name="q", kind="question_answering", sources=(SOURCE,), metric="accuracy", labels=("yes", "no", "maybe")
)
SEVERAL = Task(
    name="s",
    kind="classification",
    sources=(SOURCE,),
    metric="micro_f1",
    labels=("a", "b", "c"),
    multi_label=True,
)
SIMILARITY = Task(name="n", kind="similarity", sources=(SOURCE,), metric="pearson")


def rows_of(*labels):
    return [
        Row(id=f"{number}", document=f"d{number // 2}", texts=["One text."], label=label)
        for number, label in enumerate(labels)
    ]


def one_hot(task, *labels):
    return np.array([[label == each for each in task.labels] for label in labels])


KINDS = {
    "relations": (RELATIONS, rows_of("up", "none", "down", "none", "up", "up")),
    "questions": (QUESTIONS, rows_of("yes", "no", "maybe", "yes")),
    "single": (replace(QUESTIONS, kind="classification", metric="micro_f1"), rows_of("yes", "no", "maybe")),
    "several": (SEVERAL, rows_of(["a"], [], ["a", "c"])),
    "examples": (replace(SEVERAL, metric="example_f1"), rows_of(["a"], [], ["a", "c"])),
    "similarity": (SIMILARITY, rows_of(4.0, 0.25, 1.5)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_answers_score_100(kind):
    task, rows = KINDS[kind]
    found = score_rows(task, rows, gold_of(task, rows))
    assert found["score"] == pytest.approx(100.0, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "answer", "due"),
    [
        ("relations", [0.1, 0.8, 0.1], 0.0),
        ("questions", [0.0, 1.0, 0.0], 25.0),
        ("several", [0.1, 0.2, 0.5], 0.0),
        ("examples", [0.1, 0.2, 0.5], 0.0),
        ("similarity", [2.0], 0.0),
    ],
)
def test_one_answer_to_everything_scores_what_it_should(kind, answer, due):
    task, rows = KINDS[kind]
    assert score_rows(task, rows, decide(task, np.array([answer] * len(rows))))["score"] == due


def test_the_negative_label_is_no_prediction_and_a_wrong_label_costs_twice():
    rows = rows_of("up", "up", "none", "down", "none")
    answers = one_hot(RELATIONS, "up", "down", "up", "none", "none")
    found = score_rows(RELATIONS, rows, answers)
    assert {name: found["scores"]["micro"][name] for name in ("tp", "fp", "fn")} == {
        "tp": 1,
        "fp": 2,
        "fn": 2,
    }
    assert found["scores"]["accuracy"]["accuracy"] == 40.0
    assert list(break_down(RELATIONS, rows, answers)["by_type"]) == ["up", "down"]


def test_random_answers_score_as_other_libraries_score_them():
    random = np.random.default_rng(0)
    for _ in range(40):
        gold, found = (random.integers(0, 3, 30).tolist() for _ in range(2))
        rows = rows_of(*(RELATIONS.labels[each] for each in gold))
        answers = one_hot(RELATIONS, *(RELATIONS.labels[each] for each in found))
        expected = 100 * f1_score(gold, found, labels=[0, 2], average="micro", zero_division=0)
        assert score_rows(RELATIONS, rows, answers)["score"] == pytest.approx(expected, abs=1e-9)
        numbers, guesses = random.normal(size=20), random.normal(size=20)
        expected = 100 * pearsonr(numbers, guesses).statistic
        assert score_rows(SIMILARITY, rows_of(*numbers.tolist()), guesses)["score"] == pytest.approx(
            expected, abs=1e-9
        )


def test_what_is_counted_is_kept_by_document():
    documents = score_rows(RELATIONS, rows_of("up", "up", "none"), one_hot(RELATIONS, "up", "down", "none"))[
        "documents"
    ]
    assert list(documents) == ["d0", "d1"]
    assert vars(documents["d0"]) == {"tp": 1, "fp": 1, "fn": 1}
    answers = score_rows(QUESTIONS, rows_of("yes", "no", "no"), one_hot(QUESTIONS, "yes", "yes", "no"))
    assert vars(answers["documents"]["d0"]) == {"correct": 1, "total": 2}
    numbers = score_rows(SIMILARITY, rows_of(1.0, 2.0, 3.0), np.array([3.0, 2.0, 5.0]))["documents"]
    assert vars(numbers["d0"]) == {"gold": [1.0, 2.0], "predicted": [3.0, 2.0]}


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_that_no_text_has_are_there_with_zeros(kind):
    task, rows = KINDS[kind]
    by_length = break_down(task, rows, gold_of(task, rows))["by_length"]
    assert [found["documents"] for found in by_length.values()] == [len(rows), 0, 0]
