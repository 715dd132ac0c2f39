"""BLURB's averages, and what is said where there can be none."""

from __future__ import annotations

from typing import Any

import pytest

from biobert_scale.evaluation.blurb_table import (
    BlurbTable,
    average,
    blurb_table,
    blurb_tasks,
    published_systems,
    render,
    render_markdown,
)

PUBLISHED = {
    "BioBERT-base v1.1": 80.34,
    "PubMedBERT (abstracts)": 81.16,
    "BioLinkBERT-base": 83.39,
    "BioLinkBERT-large": 84.30,
}
"""BLURB scores as they were published."""


def run(task: str, score: float, seed: int = 1) -> Any:
    return {"task": task, "seed": seed, "score": score}


def whole(without: str = "") -> list[Any]:
    return [run(name, 50.0 + place) for place, name in enumerate(blurb_tasks()) if name != without]


def line(text: str, name: str) -> list[str]:
    """The cells of the last row that has a name."""
    return [line for line in text.splitlines() if f" {name} " in line][-1].split()


def test_the_published_scores_of_the_tasks_give_the_published_totals() -> None:
    assert len(blurb_tasks()) == 13
    totals = {system["name"]: system["total"] for system in published_systems()}
    assert totals == pytest.approx(PUBLISHED, abs=0.0051)


def test_types_are_averaged_first_and_count_alike() -> None:
    groups = {name: task.group for name, task in blurb_tasks().items()}
    averages, total = average({name: float(group == "entities") for name, group in groups.items()})
    assert averages["entities"] == 1.0 and set(averages) == set(groups.values())
    assert total == pytest.approx(1 / 6), "the mean of 13 tasks would be 5 / 13"
    averages, total = average({name: 1.0 for name in groups if name != "DDI"})
    assert "relations" not in averages and len(averages) == 5 and total is None


def test_a_whole_table_has_a_total_and_says_how_many_runs_there_were() -> None:
    runs = [*whole(), run("BIOSSES", 90.0, seed=2)]
    table = blurb_table("mine", runs)
    mine = table["systems"][0]
    assert mine["total"] == average(mine["scores"])[1] and not table["withheld"]
    text = render(table)
    (total,) = (row.split() for row in text.splitlines() if row.startswith("BLURB  "))
    assert total[1:3] == ["average", f"{mine['total']:.2f}"]
    assert "Fewer runs than the published means have, 2 of 10: BIOSSES." in text and "withheld" not in text
    assert "± " in " ".join(line(text, "BIOSSES")) and "±" not in " ".join(line(text, "HoC"))


@pytest.mark.parametrize(
    ("problems", "failed", "says"),
    [
        ({"BioASQ": "its files were not prepared"}, {}, "BioASQ: its files were not prepared."),
        ({"BioASQ": "not the published set"}, {}, "BioASQ: not the published set."),
        ({}, {"BioASQ": ["seed 2: loss"]}, "BioASQ: 1 of 2 runs failed (seed 2: loss)."),
        ({"BioASQ": "made up"}, {"BioASQ": ["a", "b"]}, "BioASQ: 2 of 3 runs failed (a; b), made up."),
    ],
)
def test_without_one_task_there_is_no_total_and_the_reason_is_printed(
    problems: dict[str, str], failed: dict[str, list[str]], says: str
) -> None:
    table = blurb_table("mine", whole(), problems, failed)
    assert (
        table["systems"][0]["total"] is None and "question answering" not in table["systems"][0]["averages"]
    )
    assert f"BLURB score withheld: {says}" in render(table)
    assert any(cell == "*" for cell in line(render(table), "BioASQ")), "a score that does not count is marked"


def test_options_that_are_not_as_published_are_named() -> None:
    table = blurb_table("mine", whole(), changed=["--grid.learning-rate 0.001", "--max-seq-length 32"])
    assert "Not as published: --grid.learning-rate 0.001, --max-seq-length 32." in render(table)
    assert "Not as published" not in render(blurb_table("mine", whole()))


def test_a_task_without_a_run_is_named() -> None:
    table: BlurbTable = blurb_table("mine", whole(without="GAD"))
    assert table["withheld"] == "GAD: no run"
    row = next(row for row in render_markdown(table).splitlines() if "| GAD |" in row)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:6] == ["-", "0 of 5", "82.36"], "published scores are beside a missing one"
    assert {row.count("|") for row in render_markdown(table).splitlines() if row.startswith("|")} == {10}
