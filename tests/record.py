"""Long suites that resume: with `--record FILE`, every test is written down with the commit and how it ended,
and is not run again at that commit unless it failed; `python -m tests.record FILE` prints the record as
Markdown."""

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
    """The commit that is tested, marked where the checkout differs from it in more than the table that `make
    faults` writes."""
    line = ["git", "rev-parse", "--short=12", "HEAD"]
    name = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/faults.md"], cwd=ROOT
    )
    return f"{name}-dirty" if changed.returncode else name


def read_record(path: Path, commit: str | None = None) -> list[dict[str, Any]]:
    """How each test ended last, at a commit or at the last one in the record."""
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    chosen = commit or (entries[-1]["commit"] if entries else "")
    return list({entry["test"]: entry for entry in entries if entry["commit"] == chosen}.values())


class Record:
    """A plugin: leaves out what has passed or was skipped at this commit, and appends how each test ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.commit = path, commit()
        self.seconds: dict[str, float] = defaultdict(float)
        self.done: list[pytest.Item] = []

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self.commit.endswith("-dirty"):  # not the same files, perhaps
            return
        entries = read_record(self.path, self.commit)
        done = {entry["test"] for entry in entries if entry["outcome"] != "failed"}
        self.done = [item for item in items if item.nodeid in done]
        items[:] = [item for item in items if item.nodeid not in done]
        config.hook.pytest_deselected(items=self.done)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if (report.passed and report.when != "call") or "PYTEST_XDIST_WORKER" in os.environ:
            return
        entry = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": round(self.seconds[report.nodeid], 1),
            "commit": self.commit,
            "date": str(datetime.date.today()),
            "properties": report.user_properties,
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
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        files[entry["test"].split("::")[0]].append(entry)

    def count(found: list[dict[str, Any]]) -> list[int]:
        return [
            sum(each["outcome"] == outcome for each in found) for outcome in ("passed", "skipped", "failed")
        ]

    passed, skipped, failed = count(entries)
    days = sorted({entry["date"] for entry in entries})
    lines = [
        f"{passed} tests passed, {skipped} were skipped, {failed} failed, at commit {entries[0]['commit']},"
        f" {' to '.join(days)}.",
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}.",
        "",
        "| file | passed | skipped | failed | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, found in sorted(files.items()):
        seconds = sum(entry["seconds"] for entry in found)
        lines.append(f"| {name} | {' | '.join(map(str, count(found)))} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(pages(Path(sys.argv[1])))
