"""Partial, type-agnostic and boundary matches, against nervaluate, seqeval and a maximum matching."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from nervaluate import Evaluator
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from seqeval.metrics import f1_score, precision_score, recall_score

from biobert_scale.evaluation.metrics.entities import Span
from biobert_scale.evaluation.metrics.matches import MATCHINGS, Matching, match_by_type, match_entities
from biobert_scale.evaluation.scores import count_entities, entity_spans, total

pytestmark = pytest.mark.filterwarnings("ignore")  # seqeval warns of every type that nobody predicts
ABS = 1e-9
KINDS = ["Gene", "Plant", "Sign"]
THEIRS: dict[str, Matching] = {"strict": "strict", "exact": "exact", "partial": "partial", "ent_type": "type"}
COUNTS = ("correct", "incorrect", "partial", "missed", "spurious", "possible", "actual")

Tags = list[list[str]]


def noisy(rng: np.random.Generator, tags: list[str]) -> list[str]:
    """Predictions that are near the gold: most tags are kept, some are any other."""
    options = ["O", *(f"{letter}-{kind}" for kind in KINDS for letter in "BI")]
    return [tag if rng.random() < 0.8 else str(rng.choice(options)) for tag in tags]


def corpora(number: int) -> Iterator[tuple[Tags, Tags]]:
    for seed in range(number):
        rng = np.random.default_rng(seed)
        kinds = KINDS[: rng.integers(1, 4)]
        options = ["O", "O", *(f"{letter}-{kind}" for kind in kinds for letter in "BI")]
        gold = [rng.choice(options, rng.integers(1, 25)).tolist() for _ in range(rng.integers(1, 5))]
        random = [rng.choice(options, len(tags)).tolist() for tags in gold]
        yield gold, random if seed % 2 else [noisy(rng, tags) for tags in gold]


def spans(tags: Tags) -> dict[str, set[Span]]:
    return {
        str(number): {(start, end, kind) for kind, start, end in entity_spans(of_document)}
        for number, of_document in enumerate(tags)
    }


def nervaluate_results(gold: dict[str, set[Span]], predicted: dict[str, set[Span]]) -> dict:
    """Of mentions in the order of the text; there the last character belongs to a mention."""
    as_rows = [
        [
            [
                {"label": span[2], "start": span[0], "end": span[1] - 1}  # type: ignore[misc]
                for span in sorted(of_document)
            ]
            for of_document in side.values()
        ]
        for side in (gold, predicted)
    ]
    return Evaluator(*as_rows, tags=KINDS, loader="dict").evaluate()


def assert_same(ours, theirs) -> None:
    assert {name: ours[name] for name in COUNTS} == {name: getattr(theirs, name) for name in COUNTS}
    for name in ("precision", "recall", "f1"):
        assert ours[name] == pytest.approx(100 * getattr(theirs, name), abs=ABS)


def touching(one: set[Span], other: set[Span]) -> int:
    """The most mentions of one side that any of the other shares words with."""
    counts = [sum(a[0] < b[1] and b[0] < a[1] for b in other) for a in one]
    return max(counts, default=0)


@pytest.mark.parametrize("number", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_matches_are_nervaluates_overall_and_by_type(number: int) -> None:
    """Of types where its order decides nothing: nervaluate 1.2.1 takes predictions one by one. One of a wrong
    type can take the gold mention of a later right one, and the nearest mention can be the only one that
    another prediction has."""
    same = fewer = 0
    for gold, predicted in ((spans(gold), spans(found)) for gold, found in corpora(number)):
        theirs, ours = nervaluate_results(gold, predicted), match_entities(gold, predicted)
        by_type = match_by_type(gold, predicted)
        assert by_type.keys() == theirs["entities"].keys()
        for name, matching in THEIRS.items():
            if name != "ent_type":
                assert_same(ours[matching], theirs["overall"][name])
                for kind, found in by_type.items():
                    assert_same(found[matching], theirs["entities"][kind][name])
        of_types = theirs["overall"]["ent_type"]
        if max(max(touching(gold[d], predicted[d]), touching(predicted[d], gold[d])) for d in gold) < 2:
            assert_same(ours["type"], of_types)
            same += 1
        assert ours["type"]["correct"] >= of_types.correct
        assert (ours["type"]["possible"], ours["type"]["actual"]) == (of_types.possible, of_types.actual)
        fewer += ours["type"]["correct"] > of_types.correct
    assert same > number / 10 and fewer > number / 100


def test_the_order_that_costs_nervaluate_a_right_type() -> None:
    gold: dict[str, set[Span]] = {"1": {(0, 4, "Gene")}}
    predicted: dict[str, set[Span]] = {"1": {(0, 2, "Plant"), (2, 4, "Gene")}}
    theirs = nervaluate_results(gold, predicted)["overall"]["ent_type"]
    assert (theirs.correct, theirs.incorrect, theirs.spurious) == (0, 1, 1)
    ours = match_entities(gold, predicted)["type"]
    assert (ours["correct"], ours["incorrect"], ours["spurious"]) == (1, 0, 1)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_no_pairing_of_flat_mentions_has_more_correct_pairs(matching: Matching) -> None:
    for gold, predicted in ((spans(gold), spans(found)) for gold, found in corpora(100)):
        best = 0
        for name in gold:
            agree = [[MATCHINGS[matching](g, p) for p in sorted(predicted[name])] for g in sorted(gold[name])]
            if agree and agree[0]:
                best += int((maximum_bipartite_matching(csr_matrix(agree), "column") >= 0).sum())
        assert match_entities(gold, predicted)[matching]["correct"] == best


@pytest.mark.parametrize("end", ["left", "right"])
def test_one_end_and_type_are_seqevals_entities_of_one_word(end: Matching) -> None:
    """A mention that is cut to its first or last word has nothing left but that end and its type."""
    place = {"left": 0, "right": -1}[end]

    def cut(tags: list[str]) -> list[str]:
        short = ["O"] * len(tags)
        for kind, first, last in entity_spans(tags):
            short[range(first, last)[place]] = f"B-{kind}"
        return short

    for gold, predicted in corpora(100):
        ours = match_entities(spans(gold), spans(predicted))[end]
        if ours["possible"] + ours["actual"] == 0:
            continue
        cut_gold, cut_predicted = list(map(cut, gold)), list(map(cut, predicted))
        due = [
            100 * float(of(cut_gold, cut_predicted, zero_division=0))
            for of in (precision_score, recall_score, f1_score)
        ]
        assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(due, abs=ABS)


def overlapping(rng: np.random.Generator) -> set[Span]:
    starts = rng.integers(0, 12, rng.integers(0, 8)).tolist()
    return {(start, start + int(rng.integers(1, 6)), str(rng.choice(KINDS))) for start in starts}


def test_strict_matches_are_the_score_also_of_mentions_that_overlap() -> None:
    for seed in range(150):
        rng = np.random.default_rng(seed)
        gold, predicted = ({str(n): overlapping(rng) for n in range(3)} for _ in range(2))
        found = match_entities(gold, predicted)
        score = total(count_entities(list(gold.values()), list(predicted.values())))
        assert found["strict"]["correct"] == score.tp
        assert found["strict"]["f1"] == pytest.approx(score.f1, abs=ABS)
        for counts in found.values():
            paired = counts["correct"] + counts["incorrect"] + counts["partial"]
            assert paired + counts["missed"] == counts["possible"] == sum(map(len, gold.values()))
            assert paired + counts["spurious"] == counts["actual"] == sum(map(len, predicted.values()))


def test_every_measure_of_one_mention() -> None:
    gold: set[Span] = {(10, 20, "Gene")}
    expected = {
        (10, 20, "Gene"): "strict exact partial type left right",
        (10, 20, "Plant"): "exact partial",
        (10, 15, "Gene"): "half type left",
        (15, 20, "Gene"): "half type right",
        (10, 15, "Plant"): "half",
        (12, 18, "Gene"): "half type",
        (20, 25, "Gene"): "",
    }
    for span, right in expected.items():
        found = match_entities({"1": gold}, {"1": {span}})
        reached = {name for name, counts in found.items() if counts["f1"] == 100}
        assert reached == set(right.split()) - {"half"}, span
        assert (found["partial"]["f1"] == 50) == ("half" in right)
        assert found["strict"]["spurious"] == (span[0] == 20)


def test_a_task_of_one_type_has_no_table_of_types() -> None:
    spans_: dict[str, set[Span]] = {"1": {(0, 4), (6, 8)}}
    found = match_entities(spans_, {"1": {(0, 4), (7, 8)}})
    assert found["strict"]["correct"] == 1 and found["type"]["correct"] == 2
    assert match_by_type(spans_, spans_) == {}


def test_nothing_to_find_and_nothing_found_scores_zero() -> None:
    assert {counts["f1"] for counts in match_entities({"1": set()}, {"1": set()}).values()} == {0.0}
