"""What the tokens hold of each source, and what a run has seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from biobert_scale.data.mixture import count_seen
from biobert_scale.data.stream import phase_seed
from biobert_scale.report.sources import RunSources, Sources
from biobert_scale.report.templates import percent

Rows = Sequence[tuple[str, ...]]


def held(run: Sources) -> Rows:
    """Documents and tokens by source, both splits; empty where the tokens do not know their sources."""
    rows = []
    samples = run.samples_by_source.samples if run.samples_by_source else {}
    for split, of_split in run.tokens_by_source.items():
        of_all = sum(source.tokens for source in of_split.values())
        for name, documents, sentences, tokens in of_split.values():
            found = f"{samples[name]:,}" if split == "train" and name in samples else "–"
            counts = (f"{documents:,}", f"{sentences:,}", f"{tokens:,}")
            rows.append((f"{split}, {name}", *counts, percent(tokens, of_all), found))
    return rows


class Seen(NamedTuple):
    """A table of the page."""

    title: str
    rows: Rows


def seen(own: RunSources, consumed: int, seed: int) -> list[Seen]:
    """What the samples consumed so far have shown of each source; a table for each phase that has begun."""
    phases, tables = [own, *own.later_phases], []
    ends = [phase.first_sample for phase in own.later_phases]
    for number, (phase, end) in enumerate(zip(phases, [*ends, consumed], strict=True)):
        samples = min(end, consumed) - phase.first_sample
        if samples > 0:
            title = f"Samples seen of each source, in {samples / phase.samples_an_epoch:.2f} epochs"
            title += f" of phase {number + 1}" * bool(ends)
            tables.append(Seen(title, _seen(phase, samples, phase_seed(seed, number))))
    return tables


def _seen(own: RunSources, consumed: int, seed: int) -> Rows:
    seen_of, an_epoch = count_seen(own.epoch, consumed, seed=seed), dict.fromkeys(own.samples, 0)
    for name, samples in own.epoch:
        an_epoch[name] += samples
    return [
        (
            name,
            f"{samples:,}",
            f"{an_epoch[name] / samples:.4g}",
            f"{seen_of[name]:,}",
            percent(seen_of[name], consumed),
            f"{seen_of[name] / samples:.3f}",
        )
        for name, samples in own.samples.items()
    ]
