"""What a corpus holds: counts, rejects by reason, lengths and samples, as text and as pictures."""

from __future__ import annotations

import random
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biobert_scale.corpus.build import STAGE
from biobert_scale.corpus.document import is_private, sources_of
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, read_manifest
from biobert_scale.histograms import draw_bars, text_bars

EDGES = (0, 50, 100, 150, 200, 250, 300, 400, 500, 1000, 2000, 4000, 8000, 16000, 32000)
"""Lower bounds, in words, of the classes of the length histogram; the last one is open."""
_SHOWN_CHARACTERS = 700
_COLOURS = {"medline": "#4269d0", "pmc": "#efb118"}
_OWN_COLOUR = "#3ca951"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A corpus in numbers."""

    directory: Path
    manifest: Manifest
    words: dict[str, NDArray[np.int64]]
    """By source: the number of words of each document."""
    licenses: dict[str, int]
    """Documents by licence group, or own text's licence; `not stated` for those without one (all of MEDLINE).
    """
    samples: list[dict[str, str]]


def summarise(directory: Path, *, samples: int, seed: int, show_private: bool = False) -> Summary:
    """Read a corpus once, shard by shard.

    Args:
        samples: documents to draw, each with the same probability, without repetition.
        show_private: keep those of private sources among them; else they are left out.

    Raises:
        UserError: the directory is no finished corpus.
    """
    if samples < 0:
        raise UserError(f"samples cannot be {samples}", where="corpus inspect", remedy="give 0 or more")
    manifest = read_manifest(directory, STAGE)
    total = manifest.counts["documents"]
    chosen = set(random.Random(seed).sample(range(total), min(samples, total)))
    words: dict[str, list[NDArray[np.int64]]] = {source: [] for source in sources_of(manifest.counts)}
    licenses: Counter[str] = Counter()
    drawn: list[dict[str, str]] = []
    first = 0
    for name in sorted(name for name in manifest.outputs if name.endswith(".parquet")):
        with pq.ParquetFile(directory / name) as shard:
            for batch in shard.iter_batches(2000):
                lengths = pc.list_value_length(pc.utf8_split_whitespace(batch["text"]))
                counts = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
                for source in words:
                    words[source].append(counts[np.asarray(pc.equal(batch["source"], source))])
                licenses.update(batch["license"].to_pylist())
                inside = [row - first for row in sorted(chosen) if first <= row < first + len(batch)]
                for row in batch.take(pa.array(inside, pa.int64())).to_pylist():
                    if show_private or not is_private(row["source"], manifest):
                        drawn.append(row)
                first += len(batch)
    assert first == total
    return Summary(
        directory=directory,
        manifest=manifest,
        words={source: np.concatenate(parts) for source, parts in words.items()},
        licenses={name or "not stated": count for name, count in sorted(licenses.items())},
        samples=drawn,
    )


def histogram(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """(classes,) documents in each class of `EDGES`."""
    return np.bincount(np.searchsorted(EDGES, words, "right") - 1, minlength=len(EDGES))


def render(summary: Summary) -> str:
    """The summary as text."""
    manifest, counts = summary.manifest, summary.manifest.counts
    lines = [
        f"{summary.directory}: {counts['documents']:,} documents of {counts['records']:,} records in"
        f" {counts['files']:,} files",
        "",
        f"{'source':<10}{'records':>14}{'documents':>14}{'words':>16}{'median':>10}{'longest':>10}",
    ]
    for source, words in summary.words.items():
        middle, longest = (int(np.median(words)), int(words.max())) if len(words) else (0, 0)
        records, documents = counts[f"records_{source}"], counts[f"documents_{source}"]
        lines.append(
            f"{source:<10}{records:>14,}{documents:>14,}{int(words.sum()):>16,}{middle:>10,}{longest:>10,}"
        )
    lines += ["", "left out, by reason"]
    lines += [
        f"  {reason:<20}{count:>12,}  {count / counts['records']:7.2%}"
        for reason, count in _by_count(manifest.rejects)
    ]
    lines += ["", "licences"]
    lines += [f"  {name:<20}{count:>12,}" for name, count in summary.licenses.items()]
    for source, words in summary.words.items():
        if len(words):
            lines += ["", f"length of {source} documents, in words", *text_bars(histogram(words), EDGES)]
    if private := [source for source in summary.words if is_private(source, manifest)]:
        lines += ["", f"private, shown with --show-private alone: {', '.join(private)}"]
    for row in summary.samples:
        more = " ..." if len(row["text"]) > _SHOWN_CHARACTERS else ""
        lines += ["", f"{row['id']}  ({row['origin']})"]
        for paragraph in f"{row['text'][:_SHOWN_CHARACTERS]}{more}".split("\n"):
            lines += textwrap.wrap(paragraph, 110, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def draw(summary: Summary, output: Path) -> list[Path]:
    """Write `lengths.png` and `rejects.png`; returns their paths."""
    from matplotlib.figure import Figure

    output.mkdir(parents=True, exist_ok=True)
    filled = {source: words for source, words in summary.words.items() if len(words)}
    lengths = Figure(figsize=(8, 2.6 * len(filled)), layout="constrained")
    panels = np.atleast_1d(lengths.subplots(len(filled), 1))
    for axes, (source, words) in zip(panels, filled.items(), strict=True):
        title = f"{source}: {len(words):,} documents, {int(words.sum()):,} words"
        draw_bars(axes, histogram(words), EDGES, _COLOURS.get(source, _OWN_COLOUR), title)
        axes.set_ylabel("documents")
    axes.set_xlabel("words in the document", fontsize=9)
    rejects = Figure(figsize=(8, 0.8 + 0.35 * (len(summary.manifest.rejects) + 1)), layout="constrained")
    axes = rejects.subplots()
    rows = {"kept": summary.manifest.counts["documents"], **dict(_by_count(summary.manifest.rejects))}
    colours = ["#4269d0" if name == "kept" else "#b3b3b3" for name in rows]
    bars = axes.barh(list(rows), list(rows.values()), color=colours)
    axes.invert_yaxis()
    axes.bar_label(bars, [f"{count:,}" for count in rows.values()], padding=3, fontsize=8)
    axes.set_title(f"what became of {summary.manifest.counts['records']:,} records", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    paths = [output / "lengths.png", output / "rejects.png"]
    for figure, path in zip((lengths, rejects), paths, strict=True):
        figure.savefig(path, dpi=120)
    return paths
