"""Long suites that resume: with `--record FILE`, every test that passed is written down with the commit, and
is not run again at that commit; `python -m tests.record FILE` prints the record as Markdown."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """The commit that is tested, marked where the checkout differs from it."""
    line = ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def read_record(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Record:
    """A plugin: leaves out what has passed at this commit, and appends what passes."""

    def __init__(self, path: Path) -> None:
        self.path, self.commit = path, commit()
        self.seconds: dict[str, float] = defaultdict(float)
        self.done: list[pytest.Item] = []

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self.commit.endswith("-dirty"):  # not the same files, perhaps
            return
        passed = {entry["test"] for entry in read_record(self.path) if entry["commit"] == self.commit}
        self.done = [item for item in items if item.nodeid in passed]
        items[:] = [item for item in items if item.nodeid not in passed]
        config.hook.pytest_deselected(items=self.done)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        over = report.skipped or (report.when == "call" and report.passed)
        if not over or "PYTEST_XDIST_WORKER" in os.environ:
            return
        entry = {
            "test": report.nodeid,
            "outcome": "skipped" if report.skipped else "passed",
            "seconds": round(self.seconds[report.nodeid], 1),
            "commit": self.commit,
            "date": str(datetime.date.today()),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as stream:
            stream.write(json.dumps(entry) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.done:
            session.exitstatus = pytest.ExitCode.OK  # all of them have passed before


def pages(path: Path) -> str:
    """The record of the last commit in it, a row a file."""
    entries = read_record(path)
    last = entries[-1]["commit"]
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        if entry["commit"] == last:
            files[entry["test"].split("::")[0]].append(entry)
    chosen = [entry for found in files.values() for entry in found]
    passed = sum(entry["outcome"] == "passed" for entry in chosen)
    days = sorted({entry["date"] for entry in chosen})
    lines = [
        f"{passed} tests passed, {len(chosen) - passed} were skipped, at commit {last}, {' to '.join(days)}.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}.",
        "",
        "| file | passed | skipped | seconds |",
        "|---|---|---|---|",
    ]
    for name, found in sorted(files.items()):
        good = sum(entry["outcome"] == "passed" for entry in found)
        seconds = sum(entry["seconds"] for entry in found)
        lines.append(f"| {name} | {good} | {len(found) - good} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(pages(Path(sys.argv[1])))
