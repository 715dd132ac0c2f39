"""What the tasks that share one large package take, the first, one in the middle and the last two."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from benchmarks.child import run_alone
from benchmarks.corpus.large_build import write_large_package
from benchmarks.corpus.piece import Piece
from benchmarks.result import Conditions, conditions, heading, write_result
from biobert_scale.corpus.raw import divided, find_raw_files
from biobert_scale.ranges import within


class LargePackageResult(Conditions):
    """All of it."""

    package_bytes: int
    pieces: int
    """Tasks that the package is divided into."""
    measured: list[Piece]


@within(gigabytes="[0.1, 1e3]")
def large_package(*, raw: Path, output: Path, scratch: Path, gigabytes: float = 20) -> None:
    """Measure what the tasks take that share one large package.

    Writes dated JSON and Markdown.

    Args:
        raw: directory of a sample of PMC's packages, at any depth.
        output: directory of the results.
        scratch: directory for the package, which stays there and is not made again.
        gigabytes: XML in the package.
    """
    if not any(scratch.glob("*/*.tar.gz")):
        write_large_package(raw, scratch, gigabytes * 1e9)
    (file,) = find_raw_files(scratch)
    pieces = len(divided(file))
    measured = [
        cast(
            Piece,
            run_alone(
                "benchmarks.corpus.piece", {"raw": str(scratch), "number": number, "scratch": str(scratch)}
            ),
        )
        for number in sorted({0, pieces // 2, max(pieces - 2, 0), pieces - 1})
    ]
    result: LargePackageResult = {
        **conditions(f"large-package --raw DIR --scratch DIR --gigabytes {gigabytes:g}", ("lxml", "isal")),
        "package_bytes": file.path.stat().st_size,
        "pieces": pieces,
        "measured": measured,
    }
    page = large_package_page(result)
    write_result(output, f"large-package-{result['date']}", result, page)
    print(page)


def large_package_page(result: LargePackageResult) -> str:
    """Render what `large_package` measured."""
    lines = [
        *heading("One large package", result),
        f"- A package of {result['package_bytes'] / 1e9:.2f} GB in gzip is {result['pieces']} tasks' work;"
        " each measured one ran alone",
        "- Documents: a real sample in other words (`benchmarks/corpus/other_words.py`)",
        "",
        "| task | articles | XML, MB | expanding what comes before, CPU s | the whole task, CPU s | MB/s"
        " | peak memory, MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for piece in result["measured"]:
        rate = piece["xml_bytes"] / 1e6 / piece["seconds"]
        lines.append(
            f"| {piece['number'] + 1} of {result['pieces']} | {piece['members']:,}"
            f" | {piece['xml_bytes'] / 1e6:,.0f} | {piece['skipping_seconds']:.1f} | {piece['seconds']:.1f}"
            f" | {rate:.1f} | {piece['peak_bytes'] / 1e6:.0f} |"
        )
    return "\n".join([*lines, ""])
