"""What the tokens hold of each source, and what a run has seen of it."""

from __future__ import annotations

from collections.abc import Sequence

from biobert_scale.data.mixture import count_seen
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


def seen(own: RunSources, consumed: int, seed: int) -> Rows:
    """What the samples consumed so far have shown of each source."""
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
