from __future__ import annotations

import pytest

from biobert_scale.release.card import hub_result


@pytest.mark.parametrize(
    ("score_name", "task_type", "metric_type"),
    [
        ("entity F1", "token-classification", "f1"),
        ("word macro-F1", "token-classification", "f1"),
        ("micro-F1", "text-classification", "f1"),
        ("accuracy", "text-classification", "accuracy"),
        ("Pearson correlation", "text-classification", "pearsonr"),
    ],
)
def test_hubs_are_given_the_kind_of_anybody_s_task_and_its_metric(score_name, task_type, metric_type):
    found = hub_result("Mine", score_name, "best-epoch", [50.0, 51.0])
    assert (found.task_type, found.metric_type, found.metric_value) == (task_type, metric_type, 50.5)
