"""The table of scores: means, standard deviations and intervals over seeds, baselines beside them, published
scores below."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biobert_scale import display
from biobert_scale.config.history import budget_to_current
from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import TASKS
from biobert_scale.evaluation.published import OTHER_PROTOCOLS, REFERENCE_PROTOCOLS, REFERENCES
from biobert_scale.evaluation.scores import Counts, bootstrap_interval, paired_bootstrap
from biobert_scale.files import MANIFEST, read_json, read_manifest, write_atomically, write_json

_KINDS = ("pre-trained", "random weights", "predictions", "baseline")
_DOCUMENTS = "documents.jsonl"
_Run = dict[str, Any]


def score_table(runs: Path) -> dict[str, Any]:
    """Gather every finished run below a directory.

    Returns:
        `rows`: one per task, protocol and system, with `mean`, `sd` (None for a single run), `seeds`,
        `scores` (one per seed), `interval_95` (document bootstrap of the mean; None where the documents'
        counts are gone), `precision`, `recall` (means), `pretraining_step`, `directories` and `seconds`;
        `comparisons`: the best system of each task and protocol with every other (paired document bootstrap);
        `references` and `other_protocols`: published scores. All scores are in percent.

    Raises:
        UserError: there is no finished run.
    """
    groups: dict[tuple[Any, ...], list[_Run]] = defaultdict(list)
    for path in sorted(runs.rglob("metrics.json")):
        run = read_json(path) if _is_finished(path) else {}
        if run.get("task") in TASKS and run.get("split", "test") == "test":
            run["config"] = budget_to_current(run["config"], where=path)
            # A fingerprint keeps two models of one name apart, a checksum two files of predictions, data
            # checksums two versions of a benchmark.
            name = (
                run["task"],
                run["kind"],
                run["model"],
                run["protocol"],
                run.get("model_fingerprint"),
                run.get("predictions_sha256"),
            )
            groups[(*name, *(json.dumps(run[part], sort_keys=True) for part in ("config", "data")))].append(
                run | {"directory": path.parent}
            )
    if not groups:
        raise UserError(
            "no finished evaluation",
            where=runs,
            remedy="run `biobert-scale evaluate finetune` first, or check the path",
        )
    systems = [(_row(group, runs), group) for group in map(_distinct, groups.values())]
    systems.sort(
        key=lambda system: (
            TASKS.index(system[0]["task"]),
            _KINDS.index(system[0]["kind"]),
            -system[0]["mean"],
        )
    )
    return {
        "rows": [row for row, _ in systems],
        "comparisons": _comparisons(systems),
        "references": [asdict(reference) for reference in REFERENCES],
        "other_protocols": [asdict(reference) for reference in OTHER_PROTOCOLS],
    }


def _distinct(group: list[_Run]) -> list[_Run]:
    """One run a seed: a copy, or the same run predicted again, is no further evidence."""
    return (
        list({run["seed"]: run for run in reversed(group)}.values())[::-1]
        if group[0]["seed"] is not None
        else group[:1]
    )


def _is_finished(path: Path) -> bool:
    """Whether a manifest vouches for a file: beside it, or (baselines) up to two directories above."""
    for home in (path.parent, *path.parent.parents[:2]):
        if (home / MANIFEST).is_file():
            return str(path.relative_to(home)) in read_manifest(home).outputs
    return False


def _row(group: list[_Run], runs: Path) -> dict[str, Any]:
    first = group[0]
    scores = [run["score"] for run in group]
    details = [
        run["scores"].get("conlleval")
        or run["scores"]["example" if _measure(first) == "example" else "micro"]
        for run in group
    ]
    return {
        **{
            name: first[name]
            for name in ("task", "protocol", "score_name", "kind", "model", "published_data")
        },
        "mean": statistics.fmean(scores),
        "sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "seeds": [run["seed"] for run in group if run["seed"] is not None],
        "scores": scores,
        "interval_95": _interval(group),
        "precision": statistics.fmean(detail["precision"] for detail in details),
        "recall": statistics.fmean(detail["recall"] for detail in details),
        "pretraining_step": first.get("pretraining_step"),
        "pretraining_run": first.get("pretraining_run"),
        "data": first["data"],
        "config": first["config"],
        "directories": [str(run["directory"].relative_to(runs)) for run in group],
        "seconds": sum(run["seconds"] for run in group),
    }


def _test_data(run: _Run) -> tuple[Any, Any]:
    """What decides a score: two systems may have been trained on other documents and still be compared."""
    return run["data"].get("test.jsonl"), run["data"].get("test.gold.jsonl")


def _measure(run: _Run) -> Any:
    return run.get("measure", "micro")


def _interval(group: list[_Run]) -> list[float] | None:
    counts = _counts(group)
    if counts is None:
        return group[0]["interval_95"] if len(group) == 1 else None
    return list(bootstrap_interval(*counts, measure=_measure(group[0])))


def _counts(group: list[_Run], pmids: list[str] | None = None) -> list[list[Counts]] | None:
    """Every run's counts in one order of documents; None where a run's are gone or of other documents."""
    found = [_documents(run["directory"]) for run in group if (run["directory"] / _DOCUMENTS).is_file()]
    if len(found) < len(group) or any(set(counts) != set(pmids or found[0]) for counts in found):
        return None
    return [[counts[pmid] for pmid in pmids or found[0]] for counts in found]


def _comparisons(systems: list[tuple[dict[str, Any], list[_Run]]]) -> list[dict[str, Any]]:
    """The best system of each task, protocol and version of the data against every other."""
    contests: dict[tuple[Any, ...], list[tuple[dict[str, Any], list[_Run]]]] = defaultdict(list)
    for row, group in systems:
        contests[(row["task"], row["protocol"], *_test_data(group[0]))].append((row, group))
    found = []
    for contest in contests.values():
        best, group = max(contest, key=lambda system: system[0]["mean"])
        pmids = (
            list(_documents(group[0]["directory"])) if (group[0]["directory"] / _DOCUMENTS).is_file() else []
        )
        ours = _counts(group, pmids) if pmids else None
        for other, theirs in contest:
            counts = _counts(theirs, pmids) if pmids else None
            if other is not best and ours and counts:
                names = {
                    "task": best["task"],
                    "protocol": best["protocol"],
                    "first": name_of(best),
                    "second": name_of(other),
                }
                found.append(names | paired_bootstrap(ours, counts, measure=_measure(group[0])))
    return found


def name_of(row: dict[str, Any]) -> str:
    """A row's system in words."""
    if row["kind"] in ("baseline", "predictions"):
        return str(row["model"])
    step = f" at step {row['pretraining_step']:,}" if row.get("pretraining_step") else ""
    return f"{row['model']}{step}, {row['kind']}"


def compare(first: Path, second: Path) -> dict[str, float]:
    """Paired document bootstrap between two finished runs of one task: see `scores.paired_bootstrap`.

    Raises:
        UserError: the runs did not score the same test documents.
    """
    counts = [_documents(run) for run in (first, second)]
    runs = [read_json(run / "metrics.json") for run in (first, second)]
    if (
        runs[0]["data"] != runs[1]["data"]
        or counts[0].keys() != counts[1].keys()
        or _measure(runs[0]) != _measure(runs[1])
    ):
        raise UserError(
            "the two runs scored different data",
            where=f"{first}, {second}",
            remedy="compare runs of one task and preparation",
        )
    ordered = [counts[1][pmid] for pmid in counts[0]]
    return paired_bootstrap([list(counts[0].values())], [ordered], measure=_measure(runs[0]))


def _documents(run: Path) -> dict[str, Counts]:
    path = run / _DOCUMENTS
    if not path.is_file():
        raise UserError(
            "no finished run",
            where=run,
            remedy="name a directory that `biobert-scale evaluate finetune` wrote",
        )
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["pmid"]: Counts(row["tp"], row["fp"], row["fn"]) for row in rows}


def steps_curve(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Rows of one task, protocol, budget, data and pre-training run that differ in the step, in its order;
    step 0 is random weights.

    Only where two or more steps were evaluated.
    """
    curves: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.get("pretraining_step") is not None:
            rest = json.dumps([row["config"], row.get("data"), row.get("pretraining_run")], sort_keys=True)
            curves[(row["task"], row["protocol"], rest)].append(row)
    ordered = {key: sorted(found, key=lambda row: row["pretraining_step"]) for key, found in curves.items()}
    return {
        key: found for key, found in ordered.items() if len({row["pretraining_step"] for row in found}) > 1
    }


def write_table(table: dict[str, Any], output: Path) -> str:
    """Write `table.txt` and `table.json`; returns the text."""
    text = render_table(table)
    write_atomically(output / "table.txt", text)
    write_json(output / "table.json", table)
    return text


def render_table(table: dict[str, Any]) -> str:
    """The table as aligned text: one line per system, `mean ± sd (runs)`; comparisons and published scores
    below.

    Published scores appear for a task only where it was measured on the published set under their protocol:
    made-up data is compared with nothing.
    """
    lines = [("task", "protocol", "system", "score", "F1", "95% interval", "P", "R")]
    for row in table["rows"]:
        spread = f" ± {row['sd']:.2f} ({len(row['scores'])} seeds)" if row["sd"] is not None else ""
        interval = f"{row['interval_95'][0]:.2f} to {row['interval_95'][1]:.2f}" if row["interval_95"] else ""
        numbers = (f"{row['mean']:.2f}{spread}", interval, f"{row['precision']:.2f}", f"{row['recall']:.2f}")
        lines.append(
            (
                row["task"] + ("" if row["published_data"] else " *"),
                row["protocol"],
                name_of(row),
                row["score_name"],
                *numbers,
            )
        )
    note = (
        ""
        if all(row["published_data"] for row in table["rows"])
        else "* not the published set: no published score compares with it"
    )
    return (
        "\n\n".join(
            filter(
                None,
                [_aligned(lines), note, _render_comparisons(table["comparisons"]), *_render_published(table)],
            )
        )
        + "\n"
    )


def _render_comparisons(comparisons: list[dict[str, Any]]) -> str:
    lines = [("task", "protocol", "difference", "95% interval", "share not better", "systems")]
    for found in comparisons:
        verdict = "" if found["low"] > 0 else " (a tie)"
        numbers = (
            f"{found['difference']:+.2f}",
            f"{found['low']:+.2f} to {found['high']:+.2f}{verdict}",
            f"{found['p_not_better']:.4f}",
        )
        lines.append((found["task"], found["protocol"], *numbers, f"{found['first']} - {found['second']}"))
    return "Paired bootstrap over test documents:\n" + _aligned(lines) if comparisons else ""


def _render_published(table: dict[str, Any]) -> list[str]:
    shown = {(row["task"], row["protocol"]) for row in table["rows"] if row["published_data"]}
    comparable = {task for task, protocol in shown if protocol in REFERENCE_PROTOCOLS}
    blocks = []
    for heading, references, tasks in (
        ("Published, same protocol:", table["references"], comparable),
        (
            "Published, other protocols (no row above is comparable unless it names the same):",
            table["other_protocols"],
            {task for task, _ in shown},
        ),
    ):
        known = [reference for reference in references if tasks & reference["scores"].keys()]
        columns = [
            task
            for task in TASKS
            if task in tasks and any(task in reference["scores"] for reference in known)
        ]
        notes = list(dict.fromkeys(f"{reference['protocol']}; {reference['source']}" for reference in known))
        lines: list[tuple[str, ...]] = [("model", *columns, "source")]
        for reference in known:
            scores = (
                f"{reference['scores'][task]:.2f}" if task in reference["scores"] else "-" for task in columns
            )
            place = 1 + notes.index(f"{reference['protocol']}; {reference['source']}")
            lines.append((reference["model"], *scores, f"[{place}]"))
        if known:
            blocks.append(
                "\n".join(
                    [heading, _aligned(lines), *(f"[{place}] {note}" for place, note in enumerate(notes, 1))]
                )
            )
    return blocks


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    return display.text(display.table(lines[1:], header=lines[0]))
