"""The faults that tests put into the product: `python -m tests.faults build/faults.jsonl` prints their table,
in Markdown, from the record of `make faults`.

A test names its fault with `@pytest.mark.fault(WHAT, HAPPENS, lost=...)`. The parameters of a parametrised
test may be in these texts as {name}: each case with a text of its own is a fault of its own, and cases with
the same text are one. A test that draws its faults reports them as `record_property("drawn", {"run": ...,
"faults": [[POINT, STEP, STEPS_LOST], ...]})`, one that restarts a run as `record_property("restarts", ...)`,
and one that rebuilds what a power failure leaves as `record_property("power_failure", ...)`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.result import machine, versions
from tests.record import read_record

GROUPS = {
    "tests/cluster/test_corpus": "Array tasks of a corpus on a SLURM cluster",
    "tests/cluster/test_lock": "Two processes in one directory, on a SLURM cluster",
    "tests/cluster/test_singleton": "Two processes in one directory, on a SLURM cluster",
    "tests/cluster": "Training on two nodes of a SLURM cluster",
    "tests/distributed/test_run_lock": "Two processes in one directory",
    "tests/power_failure": "Power failures",
    "tests/unit/test_lock": "Two processes in one directory",
    "tests/distributed": "Training on one machine",
    "tests/unit/training": "Checkpoints, metrics and settings of a run",
    "tests/unit/corpus/test_mirror": "Downloads",
    "tests/unit/corpus": "Corpus, tokens and samples",
    "tests/unit/tokens": "Corpus, tokens and samples",
    "tests/unit/data": "Corpus, tokens and samples",
    "tests/unit/modeling": "Initial weights",
    "tests/unit/evaluation": "Fine-tuning and scores",
    "tests/unit/release": "Releases",
    "tests/unit/tag": "Tagging",
    "tests/": "Stages, files and the machine",
}
"""Headings by the beginning of a test's path; the first that fits."""

INTRODUCTION = """\
Each row is a fault that a test puts into the real program, and what the test then asserts: it fails where
this does not happen. Tests under `cluster/` and `distributed/` put it into whole jobs and runs, those under
`unit/` into a command or the function that has to cope with it. Runs are those of a tiny BERT with real
ranks (gloo), the real launchers, SLURM's own daemons on a cluster of two nodes, and the DeepSpeed engines
that are named. "Lost" is work that has to be done again. Seconds are those of the row's tests."""

DRAWN = """\
## Drawn kills

SIGKILL by the process itself at the point named, points and ranks drawn with a fixed seed. The run is
started again after each, without a person. At the end weights, both moments, every loss, gradient norm and
learning rate equal the undisturbed run's, bit for bit where ranks and engine stay the same. "5 (2)" is a
kill in step 5 that cost two steps which had been taken. "Half pruned" is in the middle of deleting an older
checkpoint, "before the name" between the manifest and the renaming."""


RESTARTS = """\
## Random restarts

One run is ended and started again many times: killed at a drawn point or moment (in start-up, loading,
a step, a save), asked to stop, its newest checkpoint damaged between two starts. After every start no
intact checkpoint is gone and the run resumes from the newest."""

POWER = """\
## Power failures

Every write, renaming, removal and fsync of a program is traced. After each of them, every state is
rebuilt that POSIX lets a power failure leave: what is not synced may be there, missing, empty or cut,
whatever became of what was done before it. Each state is read as the next start would: the old state or
the new one is there, nothing that has its name is broken, and what was said to be done is done. Then
each line of code that syncs is taken out of the trace, and some state breaks."""


def faults_of(item: pytest.Item) -> list[dict[str, str]]:
    """What the marks of a test say, with its parameters put in."""
    values = item.callspec.params if hasattr(item, "callspec") else {}

    def fault(what: str, happens: str, *, lost: str = "nothing") -> dict[str, str]:
        return {"what": what, "happens": happens, "lost": lost}

    return [
        {name: text.format(**values) for name, text in fault(*mark.args, **mark.kwargs).items()}
        for mark in reversed(list(item.iter_markers("fault")))
    ]


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def row(what: str, tests: list[tuple[dict[str, Any], dict[str, str]]]) -> tuple[str, str]:
    """A fault's line, and what became of it: that of its worst test."""
    outcomes = {entry["outcome"] for entry, _ in tests}
    outcome = "failed" if "failed" in outcomes else "passed" if "passed" in outcomes else "skipped"
    (entry, fault), seconds = tests[0], sum(entry["seconds"] for entry, _ in tests)
    name = re.sub(r"\[.*", "", entry["test"].removeprefix("tests/"))
    happens = fault["happens"] if outcome == "passed" else f"**{outcome}**, not counted"
    number = f" ({len(tests)} cases)" if len(tests) > 1 else ""
    columns = (what + number, happens, fault["lost"], f"`{name}`", f"{seconds:.1f}")
    return f"| {' | '.join(map(cell, columns))} |", outcome


def drawn(run: str, faults: list[list[Any]]) -> str:
    """The faults of one run by their points, each with its step and the steps that it cost."""
    points: dict[str, list[str]] = defaultdict(list)
    for point, step, lost in faults:
        points[point].append(f"{step} ({lost})")
    title = f"{len(faults)} kills: {run}"
    lines = [f"| {point} | {', '.join(found)} |" for point, found in sorted(points.items())]
    return "\n".join([f"### {title}", "", "| killed | in step (steps lost) |", "|---|---|", *lines, ""])


def restarted(found: dict[str, Any]) -> str:
    """What was drawn for one run, by kind."""
    title = f"### {found['restarts']} restarts, {found['steps_lost']} steps lost: {found['run']}"
    kinds = sorted(found["faults"].items())
    rows = [f"| {kind} | {row['faults']} | {row['steps_lost']} |" for kind, row in kinds]
    return "\n".join([title, "", "| fault | times | steps lost |", "|---|---:|---:|", *rows, ""])


def power_failures(programs: list[dict[str, Any]]) -> str:
    """What each program wrote, and what a missing sync does."""
    head = [
        "| program | operations | states read | states from which it was run again |",
        "|---|---:|---:|---:|",
    ]
    columns = ("program", "operations", "states", "resumed")
    rows = ["| " + " | ".join(str(program[name]) for name in columns) + " |" for program in programs]
    whole = [sum(program[name] for program in programs) for name in columns[1:]]
    rows.append(f"| together | {' | '.join(map(str, whole))} |")
    breaks: dict[str, dict[str, str]] = defaultdict(dict)
    for program in programs:
        for line, trouble in program["without"].items():
            if trouble:
                trouble = re.sub(r"/\S*/state-\d+/", "", trouble.partition("\n")[0]).removeprefix("assert ")
                breaks[line][program["program"]] = trouble
    without = [
        f"| `{cell(line)}` | {', '.join(found)} | {cell(next(iter(found.values())))} |"
        for line, found in sorted(breaks.items())
    ]
    missing = ["| the line taken out | breaks | the first broken state |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", *missing, *without, ""])


def page(entries: list[dict[str, Any]]) -> str:
    """The table of tests and how they ended."""
    groups: dict[str, dict[str, list[Any]]] = {heading: {} for heading in GROUPS.values()}
    drawings: list[dict[str, Any]] = []
    others: dict[str, list[dict[str, Any]]] = {"restarts": [], "power_failure": []}
    for entry in entries:
        properties = entry.get("properties", [])
        own = [value for name, value in properties if name == "drawn" and entry["outcome"] == "passed"]
        drawings += own
        for name, value in properties:
            if name in others and entry["outcome"] == "passed":
                others[name].append(value)
        heading = next(GROUPS[prefix] for prefix in GROUPS if entry["test"].startswith(prefix))
        for name, fault in properties:
            if name == "fault" and not own:
                groups[heading].setdefault(fault["what"], []).append((entry, fault))
    sections, outcomes, whole = [], [], 0
    for heading, faults in groups.items():
        rows = [row(what, tests) for what, tests in faults.items()]
        outcomes += [outcome for _, outcome in rows]
        whole += sum(outcome == "passed" and "`unit/" not in line for line, outcome in rows)
        if rows:
            survived = sum(outcome == "passed" for _, outcome in rows)
            head = "| fault | what happens | lost | test | seconds |\n|---|---|---|---|---:|"
            sections.append(
                "\n".join([f"## {heading} ({survived})", "", head, *(line for line, _ in rows), ""])
            )
    kills = sum(len(drawing["faults"]) for drawing in drawings)
    restarts = sum(found["restarts"] for found in others["restarts"])
    counts = {outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")}
    here, libraries = machine(), versions(("torch", "deepspeed"))
    days = sorted({entry["date"] for entry in entries})
    return "\n".join(
        [
            f"# Faults survived, {days[-1]}",
            "",
            f"**{counts['passed']} different faults survived**, {whole} of them in whole runs and jobs;"
            f" besides {kills} kills at drawn points and {restarts} restarts of two runs at drawn moments."
            f" {counts['failed']} failed, {counts['skipped']} were skipped here and do not count.",
            "",
            f"- Command: `make faults` ({len(entries)} tests, {' to '.join(sorted({days[0], days[-1]}))}),"
            f" at commit {', '.join(sorted({entry['commit'] for entry in entries}))}",
            f"- Machine: {here['cpu']}, {here['cores']} cores; torch {libraries['torch']},"
            f" deepspeed {libraries['deepspeed']}",
            "",
            INTRODUCTION,
            "",
            *sections,
            *([DRAWN, ""] if drawings else []),
            *(drawn(**drawing) for drawing in drawings),
            *([RESTARTS, ""] if others["restarts"] else []),
            *map(restarted, others["restarts"]),
            *([POWER, "", power_failures(others["power_failure"])] if others["power_failure"] else []),
        ]
    )


if __name__ == "__main__":
    # Of several records, each of its last commit, the later ones replace tests of those before.
    newest = {entry["test"]: entry for path in sys.argv[1:] for entry in read_record(Path(path))}
    print(page(list(newest.values())).rstrip())
