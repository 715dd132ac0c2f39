from __future__ import annotations

from typing import Any

import pytest

from biobert_scale.errors import UserError
from biobert_scale.recipes import structure_config


@pytest.mark.parametrize(
    ("raw", "where", "what"),
    [
        ({"name": "a", "data": [1]}, "data", "expected a table, found list"),
        ({"name": "a", "training": {"optimizer": None}}, "training.optimizer", "expected a table"),
        ({"name": "a", "evaluation": {"grid": "wide"}}, "evaluation.grid", "expected a table, found str"),
        ({}, "name", "missing configuration key"),
        # Contradictions between sections have the whole name of one of them.
        (
            {"name": "a", "training": {"guards": {"stall_seconds": 1800.0}}},
            "training.guards.stall_seconds",
            "is not below",
        ),
        ({"name": "a", "data": {"sources": 2.0}}, "data.sources", "expected a table of numbers, found float"),
        (
            {"name": "a", "data": {"sources": {"pmc": "2"}}},
            "data.sources",
            "expected a number for pmc, found str '2'",
        ),
        ({"name": "a", "data": {"sources": {"pmc": True}}}, "data.sources", "found bool True"),
        ({"name": "a", "data": {"sources": {"pmc": 0}}}, "data.sources.pmc", r"pmc cannot be 0\.0"),
        ({"name": "a", "data": {"sources": {"pmc": 1001}}}, "data.sources.pmc", "pmc cannot be 1001"),
        # A section that a recipe has twice has the name of the one that is wrong.
        ({"name": "a", "evaluation": {"documents": {"epochs": 0}}}, "evaluation.documents.epochs", "epochs"),
    ],
)
def test_a_problem_has_the_whole_name_of_its_key(raw: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as refused:
        structure_config(raw, where="recipe")
    assert refused.value.where == f"recipe: {where}"
