"""The corpus benchmark's result as Markdown."""

from __future__ import annotations

import statistics
from typing import Any


def corpus_page(result: dict[str, Any]) -> str:
    """Render what `bench_corpus` measured; medians, with the slowest and the fastest turn beside them."""
    machine, versions = result["machine"], result["versions"]
    lines = [
        f"# Reading raw XML, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}",
        "- MB/s: expanded XML, 10^6 bytes a second of one core's CPU time; median of the turns (slowest to fastest)",
    ]
    if versions.get("pubmed-parser") == "absent":
        lines.append("- pubmed-parser is not installed (`pip install 'biobert_scale[bench]'`): its rows are missing")
    for race in result["races"]:
        lines += ["", *_race(race)]
    lines += ["", *_stage(result["stage"])]
    if result["memory"]:
        lines += ["", *_memory(result["memory"])]
    return "\n".join(lines) + "\n"


def _race(race: dict[str, Any]) -> list[str]:
    medians = {speed["name"]: statistics.median(speed["megabytes_per_second"]) for speed in race["speeds"]}
    slowest = min(medians.values())
    lines = [f"## {race['title']}", "", f"{race['files']} files, {race['megabytes']:.1f} MB, {race['documents']:,} documents. {race['note']}".rstrip(), ""]
    lines += ["| | MB/s | documents/s | times the slowest |", "|---|---|---|---|"]
    for speed in race["speeds"]:
        documents = statistics.median(speed["documents_per_second"])
        lines.append(f"| {speed['name']} | {_spread(speed['megabytes_per_second'])} | {documents:,.0f} | {medians[speed['name']] / slowest:.1f} |")
    return lines


def _stage(stage: dict[str, Any]) -> list[str]:
    speeds: dict[str, list[float]] = {}
    lines = [
        "## The whole stage: read, clean, resolve, write",
        "",
        f"{stage['files']} files of equal size, {stage['megabytes']:.1f} MB of XML, {stage['documents']:,} documents kept; by the clock.",
        "",
        "| workers | seconds | seconds of a build of almost nothing | MB/s of each worker beyond that |",
        "|---|---|---|---|",
    ]
    for workers, turns in stage["runs"].items():
        seconds, start = [run["seconds"] for run in turns], [run["start_seconds"] for run in turns]
        speeds[workers] = [stage["megabytes"] / max(taken - statistics.median(start), 1e-9) / int(workers) for taken in seconds]
        lines.append(f"| {workers} | {_spread(seconds)} | {_spread(start)} | {_spread(speeds[workers])} |")
    ratio = statistics.median(speeds["2"]) / statistics.median(speeds["1"])
    return [*lines, "", f"Beyond the start, each of two workers does {ratio:.2f} times the work of a worker alone. Other work on the machine is in all of it."]


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## Memory of reading one MEDLINE file",
        "",
        "A process of its own each; the second file repeats the records of the first.",
        "",
        "| expanded MB | records | peak resident MB | of it before reading |",
        "|---|---|---|---|",
        *(
            f"| {row['expanded_megabytes']:,.0f} | {row['records']:,} | {row['peak_megabytes']:.0f} | {row['peak_megabytes_before']:.0f} |"
            for row in rows
        ),
    ]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
