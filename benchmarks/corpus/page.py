"""The corpus benchmark's result as Markdown."""

from __future__ import annotations

import statistics

from benchmarks.corpus.records import CorpusResult, FileMemory, Race, Stage
from benchmarks.result import heading, spread


def corpus_page(result: CorpusResult) -> str:
    """Render what `corpus` measured; medians, with the slowest and the fastest turn beside them."""
    lines = [
        *heading("Reading raw XML", result),
        "- MB/s: expanded XML, 10^6 bytes a second of one core's CPU time; median of the turns (slowest to"
        " fastest)",
    ]
    if result["versions"].get("pubmed-parser") == "absent":
        lines.append("- pubmed-parser is not installed (`pip install -e '.[bench]'`): its rows are missing")
    for race in result["races"]:
        lines += ["", *_race(race)]
    lines += ["", *_stage(result["stage"])]
    if result["memory"]:
        lines += ["", *_memory(result["memory"])]
    return "\n".join(lines) + "\n"


def _race(race: Race) -> list[str]:
    medians = {speed.name: statistics.median(speed.megabytes_per_second) for speed in race.speeds}
    slowest = min(medians.values())
    lines = [
        f"## {race.title}",
        "",
        f"{race.files} files, {race.megabytes:.1f} MB, {race.documents:,} documents. {race.note}".rstrip(),
        "",
    ]
    lines += ["| | MB/s | documents/s | times the slowest |", "|---|---|---|---|"]
    for speed in race.speeds:
        documents = statistics.median(speed.documents_per_second)
        lines.append(
            f"| {speed.name} | {spread(speed.megabytes_per_second)} | {documents:,.0f} |"
            f" {medians[speed.name] / slowest:.1f} |"
        )
    return lines


def _stage(stage: Stage) -> list[str]:
    clock = {name: statistics.median(seconds) for name, seconds in stage.seconds.items()}
    lines = [
        "## The whole stage: read, clean, compare, write",
        "",
        (
            f"{stage.files} files of equal size in each kind, {stage.megabytes:.1f} MB of XML,"
            f" {stage.documents:,} documents kept."
        ),
        "",
        "| | seconds by the clock | MB/s | MB a second of CPU time |",
        "|---|---|---|---|",
    ]
    for name, seconds in stage.seconds.items():
        megabytes = stage.megabytes * (2 if name.startswith("2 builds") else 1)
        cpu = (
            spread([megabytes / taken for taken in stage.cpu_seconds[name]])
            if name in stage.cpu_seconds
            else ""
        )
        lines.append(
            f"| {name} | {spread(seconds)} | {spread([megabytes / taken for taken in seconds])} | {cpu} |"
        )
    one = clock["1 worker"]
    return [
        *lines,
        "",
        (
            f"Two workers are {one / clock['2 workers']:.2f} times as fast as one, starting them included."
            " Two builds that share nothing but the machine together are"
            f" {2 * one / clock['2 builds side by side']:.2f} times as fast as one alone: more a second"
            " worker cannot bring here."
        ),
    ]


def _memory(rows: list[FileMemory]) -> list[str]:
    return [
        "## Memory of reading one MEDLINE file",
        "",
        "A process of its own each; the second file repeats the records of the first.",
        "",
        "| expanded MB | records | peak resident MB | of it before reading |",
        "|---|---|---|---|",
        *(
            f"| {row['expanded_megabytes']:,.0f} | {row['records']:,} | {row['peak_megabytes']:.0f} |"
            f" {row['peak_megabytes_before']:.0f} |"
            for row in rows
        ),
    ]
