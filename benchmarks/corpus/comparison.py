"""The comparison of all records between the corpus stage's two phases, at the size of PubMed and PMC: time,
and memory over time."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import matplotlib
from matplotlib.figure import Figure

from benchmarks.child import run_alone
from benchmarks.corpus.compare_parts import Compared
from benchmarks.corpus.made_up_parts import Literature, write_parts
from benchmarks.figure import LINE, OURS, PEERS, STYLE, as_png
from benchmarks.result import Conditions, conditions, heading, write_result
from biobert_scale.ranges import within


class ComparisonResult(Conditions):
    """All of it."""

    records: int
    threads: int
    files: int
    signatures: int
    index_bytes: int
    """Of the parts' Parquet files, which hold no texts."""
    signature_bytes: int
    compared: Compared


@within(records="[1000, 1e9]", threads="[1, 1024]")
def comparison(*, output: Path, scratch: Path, records: int = 42_000_000, threads: int = 2) -> None:
    """Measure the comparison of all records, from extracted parts on disk to the list of what is removed.

    Writes dated JSON, Markdown and a picture of memory over time.

    Args:
        output: directory of the results.
        scratch: directory for the made-up parts: 300 bytes of disk a record. They are removed.
        records: citations and articles, 13 to 1.
        threads: of the comparison, and processes that make the parts.
    """
    with TemporaryDirectory(dir=scratch) as directory:
        tasks = write_parts(Literature(records=records), Path(directory), workers=threads)
        parts, signatures = [task.extracted for task in tasks], [task.signatures for task in tasks]
        for path in (*parts, *signatures):
            _drop_from_cache(path)
        arguments = {"records": records, "work": directory, "threads": threads}
        compared = cast(Compared, run_alone("benchmarks.corpus.compare_parts", arguments))
        signature_bytes = sum(path.stat().st_size for path in signatures)
        result: ComparisonResult = {
            **conditions(
                f"comparison --records {records} --threads {threads} --scratch DIR",
                ("numpy", "pyarrow", "numba"),
            ),
            "records": records,
            "threads": threads,
            "files": len(tasks),
            "signatures": signature_bytes // 448,
            "index_bytes": sum(path.stat().st_size for path in parts),
            "signature_bytes": signature_bytes,
            "compared": compared,
        }
    stem = f"comparison-{result['date']}"
    page = comparison_page(result, figure=f"{stem}.png")
    write_result(output, stem, result, page, memory_figure(compared))
    print(page)


def _drop_from_cache(path: Path) -> None:
    """The comparison reads from the disk, as after hours of extracting."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def comparison_page(result: ComparisonResult, *, figure: str) -> str:
    """Render what `comparison` measured.

    Args:
        figure: the picture's file name.
    """
    compared = result["compared"]
    own = max(sample["own"] for sample in compared["samples"])
    ends = [seconds for seconds, _ in compared["steps"][1:]] + [compared["seconds"]]
    lines = [
        *heading("Comparing all records", result, f"{result['threads']} threads"),
        "- The parts are made up (`benchmarks/corpus/made_up_parts.py`); the file cache held none of them",
        "- Memory: resident, of the one process that compares, libraries included. Mapped files count. Other"
        " pages of the file cache do not: the system takes them back when a process needs them",
        "",
        "| | |",
        "|---|---|",
        f"| records, in {result['files']:,} parts | {result['records']:,} |",
        f"| signatures | {result['signatures']:,} |",
        f"| columns on disk | {result['index_bytes'] / 1e9:.1f} GB |",
        f"| signatures on disk | {result['signature_bytes'] / 1e9:.1f} GB |",
        f"| seconds by the clock | {compared['seconds']:.0f} |",
        f"| seconds of CPU time | {compared['cpu_seconds']:.0f} |",
        f"| peak memory | {compared['peak_bytes'] / 2**30:.1f} GiB |",
        f"| the same, mapped files left out | {own / 2**30:.1f} GiB |",
        f"| documents kept | {compared['counts']['documents']:,} |",
        *(f"| left out, {reason} | {number:,} |" for reason, number in compared["rejects"].items()),
        "",
        "| step | begins after, s | takes, s |",
        "|---|---|---|",
        *(
            f"| {what} | {start:.0f} | {end - start:.0f} |"
            for (start, what), end in zip(compared["steps"], ends, strict=True)
        ),
        "",
        f"![Resident memory over time]({figure})",
    ]
    return "\n".join(lines) + "\n"


def memory_figure(compared: Compared) -> bytes:
    """Resident memory over time, with the steps, as a PNG."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 3.6), dpi=150, layout="constrained")
        axes = canvas.subplots()
        seconds = [sample["seconds"] for sample in compared["samples"]]
        own, mapped = ([sample[part] / 2**30 for sample in compared["samples"]] for part in ("own", "mapped"))
        axes.stackplot(
            seconds, own, mapped, labels=["the process' own", "mapped files"], colors=[OURS, PEERS]
        )
        top = compared["peak_bytes"] / 2**30
        bounds = [*(start for start, _ in compared["steps"]), compared["seconds"]]
        for (start, _), (_, what) in zip(pairwise(bounds), compared["steps"], strict=True):
            axes.axvline(start, color=LINE, lw=0.8)
            axes.text(start, top * 1.02, f" {what}", fontsize=6, rotation=20, va="bottom", color=LINE)
        axes.set_ylim(0, top * 1.35)
        axes.set_xlabel("seconds")
        axes.set_ylabel("resident memory, GiB")
        axes.legend(loc="lower right")
        return as_png(canvas)
