"""The record of a long suite, and the table of faults: nothing counts that was not seen to pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import faults_of, page
from tests.record import Record, read_record


def entry(test: str, what: str, outcome: str = "passed", **more: object) -> dict[str, Any]:
    fault = {"what": what, "happens": "resumes", "lost": "one step"}
    return {
        "test": test,
        "outcome": outcome,
        "seconds": 1.25,
        "commit": "abc",
        "date": "2026-11-28",
        "properties": [["fault", fault], *more.items()],
    }


def test_only_what_passed_is_counted_and_cases_of_one_text_are_one_fault() -> None:
    table = page(
        [
            entry("tests/cluster/test_a.py::test_x[1]", "a cut"),
            entry("tests/cluster/test_a.py::test_x[2]", "a cut"),
            entry("tests/unit/test_lock.py::test_y", "a rival"),
            entry("tests/unit/test_lock.py::test_z", "no network", "skipped"),
            entry("tests/distributed/test_b.py::test_v", "half", "passed"),
            entry("tests/distributed/test_b.py::test_w", "half", "failed"),
        ]
    )
    assert (
        "**2 different faults survived**, 1 of them in whole runs" in table
        and "1 failed, 1 were skipped" in table
    )
    assert "| a cut (2 cases) | resumes | one step | `cluster/test_a.py::test_x` | 2.5 |" in table
    assert "| no network | **skipped**, not counted |" in table
    assert "| half (2 cases) | **failed**, not counted |" in table
    assert "## Training on two nodes of a SLURM cluster (1)" in table


def test_drawn_faults_are_listed_by_their_points_and_count_for_themselves() -> None:
    drawn = {"run": "two ranks", "faults": [["half a file", "5", "2"], ["half a file", "9", "0"]]}
    table = page([entry("tests/distributed/test_a.py::test_x", "two kills", drawn=drawn)])
    assert "**0 different faults survived**" in table and "besides 2 kills at" in table
    assert "### 2 kills: two ranks" in table and "| half a file | 5 (2), 9 (0) |" in table
    table = page([entry("tests/distributed/test_a.py::test_x", "two kills", "failed", drawn=drawn)])
    assert "besides 0 kills" in table and "| two kills | **failed**, not counted |" in table


def report(test: str, outcome: Any, when: Any = "call") -> pytest.TestReport:
    return pytest.TestReport(test, ("", 0, ""), {}, outcome, None, when, duration=1.0)


def test_a_failed_test_runs_again_and_the_last_outcome_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setattr("tests.record.commit", lambda: "abc")
    record = Record(tmp_path / "build" / "record.jsonl")
    record.pytest_runtest_logreport(report("other", "passed", "setup"))
    assert read_record(record.path) == [], "nothing is known before the test itself"
    name = request.node.nodeid
    silent: Any = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: None))
    for outcome, again in (("failed", True), ("passed", False)):
        record.pytest_runtest_logreport(report(name, outcome))
        items = [request.node]
        record.pytest_collection_modifyitems(silent, items)
        assert bool(items) == again
        assert [(each["test"], each["outcome"]) for each in read_record(record.path)] == [(name, outcome)]


@pytest.mark.parametrize("how", ["cut", "lost"])
def test_a_case_s_own_words_are_in_its_fault(how: str, request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.fault("a file is {how}", "named", lost="nothing but {how}"))
    expected = {"what": f"a file is {how}", "happens": "named", "lost": f"nothing but {how}"}
    assert faults_of(request.node) == [expected]
