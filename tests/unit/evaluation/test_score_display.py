"""What `evaluate score` and `predict` print of a run."""

from __future__ import annotations

from typing import Any

from biobert_scale.display import text
from biobert_scale.evaluation.metrics.entities import Span
from biobert_scale.evaluation.metrics.matches import match_by_type, match_entities
from biobert_scale.evaluation.score_display import score_parts

HEAD: Any = {"task": "genes", "split": "test", "score_name": "entity F1", "score": 50.0}
HEAD |= {"interval_95": (40.0, 60.0), "scores": {}}


def test_entities_have_their_matches_seen_and_new_names_and_the_overlap_with_train() -> None:
    gold: dict[str, set[Span]] = {"1": {(0, 4, "Gene"), (6, 9, "Gene"), (12, 20, "Sign")}}
    found: dict[str, set[Span]] = {"1": {(0, 4, "Gene"), (6, 8, "Gene"), (12, 20, "Gene")}}
    shown = text(
        *score_parts(
            HEAD
            | {
                "matches": match_entities(gold, found),
                "matches_by_type": match_by_type(gold, found),
                "by_familiarity": {
                    "seen": {"recall": 75.0, "tp": 3, "fn": 1},
                    "unseen": {"recall": 0.0, "tp": 0, "fn": 0, "fp": 2},
                },
                "overlap": {"documents": {"in_train": 1, "total": 20}},
                "n_truncated_tokens": 3,
            }
        )
    )
    lines = [line.split() for line in shown.splitlines()]
    assert "strict: both ends and type 33.33 33.33 33.33 1 2 0 0 0".split() in lines
    assert "partial: a common part counts half, any type 83.33 83.33 83.33 2 0 1 0 0".split() in lines
    assert "Sign 0.00 0.00 0.00 0.00 0.00 0.00".split() in lines
    assert "Gene 40.00 40.00 60.00 80.00 80.00 40.00".split() in lines
    assert "recall of mentions by whether train has their name: seen 75.00 of 4\n" in shown
    assert "also in train: 1 of 20 documents" in shown and "n truncated tokens: 3" in shown


def test_labels_have_their_calibration() -> None:
    measured = {"ece": 3.25, "confidence": 91.0, "accuracy": 88.0}
    shown = text(*score_parts(HEAD | {"calibration": measured}))
    assert "calibration error (ECE) 3.25: mean confidence 91.00, right 88.00" in shown
