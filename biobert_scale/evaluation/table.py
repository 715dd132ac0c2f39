"""The table of scores: means and standard deviations over seeds, baselines beside them, published scores below."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import TASKS
from biobert_scale.evaluation.published import OTHER_PROTOCOLS, REFERENCES
from biobert_scale.evaluation.scores import Counts, paired_bootstrap
from biobert_scale.files import MANIFEST, read_json, read_manifest

_KINDS = ("pre-trained", "random weights", "predictions", "baseline")


def score_table(runs: Path) -> dict[str, Any]:
    """Gather every finished run below a directory.

    Returns:
        `rows`: one per task, protocol and system, with `mean`, `sd` (None for a single run), `seeds`, `scores` (one per
        seed), `interval_95` (of the single run; None for several), `precision`, `recall` (means) and `seconds`; `references`
        and `other_protocols`: published scores. All scores are in percent.

    Raises:
        UserError: there is no finished run.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(runs.rglob("metrics.json")):
        if _is_finished(path):
            run = read_json(path)
            # A fingerprint tells two models of one name apart; data checksums, two versions of a benchmark.
            name = (run["task"], run["kind"], run["model"], run["protocol"], run.get("model_fingerprint"))
            groups[(*name, json.dumps(run["config"], sort_keys=True), run["data"].get("test.jsonl"))].append(run)
    if not groups:
        raise UserError("no finished evaluation", where=runs, remedy="run `biobert-scale evaluate finetune` first, or check the path")
    rows = [_row(group) for group in groups.values()]
    rows.sort(key=lambda row: (TASKS.index(row["task"]), _KINDS.index(row["kind"]), -row["mean"]))
    return {
        "rows": rows,
        "references": [asdict(reference) for reference in REFERENCES],
        "other_protocols": [asdict(reference) for reference in OTHER_PROTOCOLS],
    }


def _is_finished(path: Path) -> bool:
    """Whether a manifest vouches for a file: beside it, or (baselines) up to two directories above."""
    for home in (path.parent, *path.parent.parents[:2]):
        if (home / MANIFEST).is_file():
            return str(path.relative_to(home)) in read_manifest(home).outputs
    return False


def _row(group: list[dict[str, Any]]) -> dict[str, Any]:
    first = group[0]
    scores = [run["score"] for run in group]
    details = [run["scores"].get("conlleval") or run["scores"]["micro"] for run in group]
    return {
        **{name: first[name] for name in ("task", "protocol", "score_name", "kind", "model", "published_data")},
        "mean": statistics.fmean(scores),
        "sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "seeds": [run["seed"] for run in group if run["seed"] is not None],
        "scores": scores,
        "interval_95": first["interval_95"] if len(group) == 1 else None,
        "precision": statistics.fmean(detail["precision"] for detail in details),
        "recall": statistics.fmean(detail["recall"] for detail in details),
        "seconds": sum(run["seconds"] for run in group),
    }


def compare(first: Path, second: Path) -> dict[str, float]:
    """Paired document bootstrap between two finished runs of one task: see `scores.paired_bootstrap`.

    Raises:
        UserError: the runs did not score the same test documents.
    """
    counts = [_documents(run / "documents.jsonl") for run in (first, second)]
    checksums = [read_json(run / "metrics.json")["data"] for run in (first, second)]
    if checksums[0] != checksums[1] or counts[0].keys() != counts[1].keys():
        raise UserError("the two runs scored different data", where=f"{first}, {second}", remedy="compare runs of one task and preparation")
    return paired_bootstrap([list(counts[0].values())], [[counts[1][pmid] for pmid in counts[0]]])


def _documents(path: Path) -> dict[str, Counts]:
    if not path.is_file():
        raise UserError("no finished run", where=path.parent, remedy="name a directory that `biobert-scale evaluate finetune` wrote")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["pmid"]: Counts(row["tp"], row["fp"], row["fn"]) for row in rows}


def render_table(table: dict[str, Any]) -> str:
    """The table as aligned text: one line per system, `mean ± sd (runs)`, and published scores below.

    Those appear for a task only where it was measured on the published set: made-up data is compared with nothing.
    """
    lines = [("task", "system", "score", "F1", "P", "R", "published with the same protocol")]
    for row in table["rows"]:
        spread = f" ± {row['sd']:.2f} ({len(row['scores'])} seeds)" if row["sd"] is not None else ""
        name = row["model"] if row["kind"] == "baseline" else f"{row['model']}, {row['kind']}"
        cells = (f"{row['mean']:.2f}{spread}", f"{row['precision']:.2f}", f"{row['recall']:.2f}", "")
        lines.append((row["task"], name, row["score_name"], *cells))
    for reference in table["references"]:
        for task, score in reference["scores"].items():
            lines.append((task, reference["model"], "", "", "", "", f"{score:.2f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    body = sorted(lines[1:], key=lambda line: (TASKS.index(line[0]), bool(line[-1])))
    comparable = {row["task"] for row in table["rows"] if row["published_data"]}
    chosen = [lines[0], *(line for line in body if not line[-1] or line[0] in comparable)]
    sources = sorted(
        {f"{reference['protocol']}; {reference['source']}" for reference in table["references"] if comparable & reference["scores"].keys()}
    )
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in chosen]
    return "\n".join([*text, "", *(f"published: {source}" for source in sources)]) + "\n"
