"""The table of scores: means, standard deviations and intervals over seeds, baselines beside them, published
scores below."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from biobert_scale import display
from biobert_scale.config import FinetuneConfig
from biobert_scale.config.history import budget_to_current
from biobert_scale.errors import UserError
from biobert_scale.evaluation.metrics.bootstrap import (
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap,
    read_statistics,
)
from biobert_scale.evaluation.prepared import KINDS
from biobert_scale.evaluation.published import REFERENCE_PROTOCOLS, other_protocols, references
from biobert_scale.evaluation.records import Comparison, RunMetrics, ScoreRow, ScoreTable
from biobert_scale.evaluation.scores import Measure, Statistics
from biobert_scale.evaluation.tasks.spec import Kind
from biobert_scale.files import MANIFEST, files_below, read_json, read_manifest, write_atomically, write_json

_KINDS = ("pre-trained", "random weights", "predictions", "baseline")
_DOCUMENTS = "documents.jsonl"
_SYSTEM = ("task", "kind", "model", "protocol", "model_fingerprint", "predictions_sha256", "config", "data")
"""What runs of one system share. A fingerprint keeps two models of one name apart, a checksum two files of
predictions, data checksums two versions of a benchmark."""


class _Run(NamedTuple):
    directory: Path
    metrics: RunMetrics
    pretraining_step: int | None
    pretraining_run: str | None


class _System(NamedTuple):
    row: ScoreRow
    runs: list[_Run]
    """One for each seed."""


def score_table(runs: Path) -> ScoreTable:
    """Gather every finished run below a directory: a row for each task, protocol and system, and the best
    system of each task and protocol compared with every other (paired document bootstrap).

    Raises:
        UserError: there is no finished run.
    """
    groups: dict[tuple[Hashable, ...], list[_Run]] = defaultdict(list)
    for path in files_below(runs):
        if path.name != "metrics.json" or not _is_finished(path):
            continue
        run = read_json(path)
        if run.get("split", "test") == "test":
            run["config"] = budget_to_current(run["config"], where=path)
            name = tuple(json.dumps(run.get(part), sort_keys=True) for part in _SYSTEM)
            origin = run.get("pretraining_step"), run.get("pretraining_run")
            groups[name].append(_Run(path.parent, run, *origin))
    if not groups:
        remedy = "run `biobert-scale evaluate finetune` first, or check the path"
        raise UserError("no finished evaluation", where=runs, remedy=remedy)
    systems = [_System(_row(group, runs), group) for group in map(_distinct, groups.values())]
    systems.sort(key=_place)
    _tell_apart(systems)
    return {
        "rows": [system.row for system in systems],
        "comparisons": _comparisons(systems),
        "references": references(),
        "other_protocols": other_protocols(),
    }


def _place(system: _System) -> tuple[int, str, int, float]:
    row, run = system.row, system.runs[0].metrics
    # What older runs do not say, the names of their scores do.
    named: Kind = "entities" if run["score_name"] == "entity F1" else "classification"
    task_kind = run.get("task_kind", named)
    return KINDS.index(task_kind), row["task"], _KINDS.index(row["kind"]), -row["mean"]


def _tell_apart(systems: list[_System]) -> None:
    """Give rows that would have one name the settings in which they differ, and their model's other tasks
    the same settings: a name means one system everywhere."""
    alike: dict[tuple[str, str, str], list[_System]] = defaultdict(list)
    for system in systems:
        row = system.row
        alike[name_of(row), row["task"], row["protocol"]].append(system)
    differing: dict[str, dict[str, None]] = defaultdict(dict)
    for (name, _, _), group in alike.items():
        found = [_settings(system) for system in group]
        for key in dict.fromkeys(key for settings in found for key in settings):
            if len({settings.get(key) for settings in found}) > 1:
                differing[name][key] = None
    for (name, _, _), group in alike.items():
        for system in group:
            settings = _settings(system)
            parts = [settings[key] for key in differing[name] if key in settings]
            system.row["distinction"] = ", ".join(parts)


def _settings(system: _System) -> dict[str, str]:
    """What makes a system, in words: settings that are not the defaults, and checksums."""
    run, usual = system.runs[0].metrics, asdict(FinetuneConfig())
    given = {name: value for name, value in run["config"].items() if value != usual.get(name)}
    origin = {"model": run.get("model_fingerprint"), "predictions": run.get("predictions_sha256")}
    checksums = origin | {f"{run['task']}/{file}": digest for file, digest in run["data"].items()}
    return {name: option_text(name, value) for name, value in given.items()} | {
        name: f"{name} {str(value)[:8]}" for name, value in checksums.items() if value
    }


def option_text(name: str, value: Any) -> str:
    """A setting of fine-tuning as on the command line; several values are a grid's."""
    section, values = ("grid.", value) if isinstance(value, list | tuple) else ("", [value])
    return " ".join([f"--{section}{name.replace('_', '-')}", *map(str, values)])


def _distinct(group: list[_Run]) -> list[_Run]:
    """One run a seed: a copy, or the same run predicted again, is no further evidence."""
    return list({run.metrics["seed"]: run for run in reversed(group)}.values())[::-1]


def _is_finished(path: Path) -> bool:
    """Whether a manifest vouches for a file: beside it, or (baselines) up to two directories above."""
    for home in (path.parent, *path.parent.parents[:2]):
        if (home / MANIFEST).is_file():
            return str(path.relative_to(home)) in read_manifest(home).outputs
    return False


def _row(group: list[_Run], directory: Path) -> ScoreRow:
    runs = [run.metrics for run in group]
    first, scores = runs[0], [run["score"] for run in runs]
    details = [run["scores"].get(_measure(first)) or run["scores"]["conlleval"] for run in runs]
    return {
        "task": first["task"],
        "protocol": first["protocol"],
        "score_name": first["score_name"],
        "kind": first["kind"],
        "model": first["model"],
        "distinction": "",
        "published_data": first["published_data"],
        "mean": statistics.fmean(scores),
        "sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "seeds": [run["seed"] for run in runs if run["seed"] is not None],
        "scores": scores,
        "interval_95": _interval(group),
        "precision": _mean([detail.get("precision") for detail in details]),
        "recall": _mean([detail.get("recall") for detail in details]),
        "pretraining_step": group[0].pretraining_step,
        "pretraining_run": group[0].pretraining_run,
        "data": first["data"],
        "config": first["config"],
        "directories": [str(run.directory.relative_to(directory)) for run in group],
        "seconds": sum(run["seconds"] for run in runs),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _measure(run: RunMetrics) -> Measure:
    return run.get("measure", "micro")


def _interval(group: list[_Run]) -> list[float] | None:
    counts = _counts(group)
    if counts is None:
        return list(group[0].metrics["interval_95"]) if len(group) == 1 else None
    return list(bootstrap_interval(*counts, measure=_measure(group[0].metrics)))


def _counts(group: list[_Run], pmids: list[str] | None = None) -> list[list[Statistics]] | None:
    """Every run's counts in one order of documents; None where a run's are gone or of other documents."""
    found = [
        _documents(run.directory, _measure(run.metrics))
        for run in group
        if (run.directory / _DOCUMENTS).is_file()
    ]
    if len(found) < len(group) or any(set(counts) != set(pmids or found[0]) for counts in found):
        return None
    return [[counts[pmid] for pmid in pmids or found[0]] for counts in found]


def _comparisons(systems: list[_System]) -> list[Comparison]:
    """The best system of each task, protocol and version of the test data against every other; two systems
    may have been trained on other documents and still be compared."""
    contests: dict[tuple[Hashable, ...], list[_System]] = defaultdict(list)
    for row, group in systems:
        data = row["data"]
        contest = row["task"], row["protocol"], data.get("test.jsonl"), data.get("test.gold.jsonl")
        contests[contest].append(_System(row, group))
    found: list[Comparison] = []
    for rivals in contests.values():
        best, group = max(rivals, key=lambda system: system.row["mean"])
        if not (group[0].directory / _DOCUMENTS).is_file():
            continue
        pmids = list(_documents(group[0].directory, _measure(group[0].metrics)))
        ours = _counts(group, pmids)
        for other, theirs in rivals:
            counts = _counts(theirs, pmids)
            if other is not best and ours and counts:
                difference = paired_bootstrap(ours, counts, measure=_measure(group[0].metrics))
                found.append(
                    {
                        "task": best["task"],
                        "protocol": best["protocol"],
                        "first": name_of(best),
                        "second": name_of(other),
                        **difference,
                    }
                )
    return found


def name_of(row: ScoreRow) -> str:
    """A row's system in words."""
    step = f" at step {row['pretraining_step']:,}" if row["pretraining_step"] else ""
    kind = "" if row["kind"] in ("baseline", "predictions") else row["kind"]
    return ", ".join(filter(None, (row["model"] + step, kind, row["distinction"])))


def compare(first: Path, second: Path) -> PairedDifference:
    """Paired document bootstrap between two finished runs of one task: see `bootstrap.paired_bootstrap`.

    Raises:
        UserError: the runs did not score the same test documents.
    """
    for run in (first, second):
        if not (run / _DOCUMENTS).is_file():
            remedy = "name a directory that `biobert-scale evaluate finetune` wrote"
            raise UserError("no finished run", where=run, remedy=remedy)
    runs: list[RunMetrics] = [read_json(run / "metrics.json") for run in (first, second)]
    counts = [_documents(run, _measure(found)) for run, found in zip((first, second), runs, strict=True)]
    data = [(run["data"], _measure(run)) for run in runs]
    if data[0] != data[1] or counts[0].keys() != counts[1].keys():
        remedy = "compare runs of one task and preparation"
        raise UserError("the two runs scored different data", where=f"{first}, {second}", remedy=remedy)
    ordered = [counts[1][pmid] for pmid in counts[0]]
    return paired_bootstrap([list(counts[0].values())], [ordered], measure=_measure(runs[0]))


def _documents(run: Path, measure: Measure) -> dict[str, Statistics]:
    rows = [json.loads(line) for line in (run / _DOCUMENTS).read_text(encoding="utf-8").splitlines()]
    return {row.pop("pmid"): read_statistics(row, measure) for row in rows}


class Curve(NamedTuple):
    """What checkpoints on one curve of scores share."""

    task: str
    protocol: str
    settings: str
    """Budget, data and pre-training run, as JSON."""


def steps_curve(rows: list[ScoreRow]) -> dict[Curve, list[ScoreRow]]:
    """Rows of one task, protocol, budget, data and pre-training run that differ in the step, in its order;
    step 0 is random weights.

    Only where two or more steps were evaluated.
    """
    curves: dict[Curve, dict[int, list[ScoreRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if (step := row["pretraining_step"]) is not None:
            settings = json.dumps([row["config"], row["data"], row["pretraining_run"]], sort_keys=True)
            curves[Curve(row["task"], row["protocol"], settings)][step].append(row)
    return {
        curve: [row for step in sorted(found) for row in found[step]]
        for curve, found in curves.items()
        if len(found) > 1
    }


def write_table(table: ScoreTable, output: Path) -> str:
    """Write `table.txt` and `table.json`; returns the text."""
    text = render_table(table)
    write_atomically(output / "table.txt", text)
    write_json(output / "table.json", table)
    return text


def render_table(table: ScoreTable) -> str:
    """The table as aligned text: one line per system, `mean ± sd (runs)`; comparisons and published scores
    below.

    Published scores appear for a task only where it was measured on the published set under their protocol:
    made-up data is compared with nothing.
    """
    lines = [("task", "protocol", "system", "metric", "score", "95% interval", "P", "R")]
    for row in table["rows"]:
        spread = f" ± {row['sd']:.2f} ({len(row['scores'])} seeds)" if row["sd"] is not None else ""
        interval = "{:.2f} to {:.2f}".format(*row["interval_95"]) if row["interval_95"] else ""
        numbers = (f"{row['mean']:.2f}{spread}", interval, _number(row["precision"]), _number(row["recall"]))
        task = row["task"] + ("" if row["published_data"] else " *")
        lines.append((task, row["protocol"], name_of(row), row["score_name"], *numbers))
    blocks = [_aligned(lines)]
    if not all(row["published_data"] for row in table["rows"]):
        blocks.append("* not the published set: no published score compares with it")
    if table["comparisons"]:
        blocks.append(_render_comparisons(table["comparisons"]))
    return "\n\n".join([*blocks, *_render_published(table)]) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _render_comparisons(comparisons: list[Comparison]) -> str:
    lines = [("task", "protocol", "difference", "95% interval", "share not better", "systems")]
    for found in comparisons:
        verdict = "" if found["low"] > 0 else " (a tie)"
        numbers = (
            f"{found['difference']:+.2f}",
            f"{found['low']:+.2f} to {found['high']:+.2f}{verdict}",
            f"{found['p_not_better']:.4f}",
        )
        lines.append((found["task"], found["protocol"], *numbers, f"{found['first']} - {found['second']}"))
    return "Paired bootstrap over test documents:\n" + _aligned(lines)


def _render_published(table: ScoreTable) -> list[str]:
    shown = {(row["task"], row["protocol"]) for row in table["rows"] if row["published_data"]}
    comparable = {task for task, protocol in shown if protocol in REFERENCE_PROTOCOLS}
    blocks = []
    for heading, published, tasks in (
        ("Published, same protocol:", table["references"], comparable),
        (
            "Published, other protocols (no row above is comparable unless it names the same):",
            table["other_protocols"],
            {task for task, _ in shown},
        ),
    ):
        known = [reference for reference in published if tasks & reference.scores.keys()]
        if not known:
            continue
        named = dict.fromkeys(row["task"] for row in table["rows"])
        columns = [task for task in named if task in tasks and any(task in each.scores for each in known)]
        notes = list(dict.fromkeys(f"{reference.protocol}; {reference.source}" for reference in known))
        lines: list[tuple[str, ...]] = [("model", *columns, "source")]
        for each in known:
            scores = (f"{each.scores[task]:.2f}" if task in each.scores else "-" for task in columns)
            place = 1 + notes.index(f"{each.protocol}; {each.source}")
            lines.append((each.model, *scores, f"[{place}]"))
        numbered = [f"[{place}] {note}" for place, note in enumerate(notes, 1)]
        blocks.append("\n".join([heading, _aligned(lines), *numbered]))
    return blocks


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    return display.text(display.table(lines[1:], header=lines[0]))
