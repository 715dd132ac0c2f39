"""What the tokens hold of each source, and what a run has seen of it."""

from __future__ import annotations

from biobert_scale.data.mixture import count_seen
from biobert_scale.report.markup import Html, number, percent, table
from biobert_scale.report.sources import Sources


def held_by_source(sources: Sources) -> Html:
    """Documents and tokens by source, both splits; nothing where the tokens do not know their sources."""
    rows: list[tuple[object, ...]] = []
    samples = sources.samples_by_source.samples if sources.samples_by_source else {}
    for split, held in sources.tokens_by_source.items():
        of_all = sum(run.tokens for run in held.values())
        for name, documents, sentences, tokens in held.values():
            found = number(samples[name]) if split == "train" and name in samples else "–"
            counts = (number(documents), number(sentences), number(tokens))
            rows.append((f"{split}, {name}", *counts, percent(tokens, of_all), found))
    head = ("split, source", "documents", "sentences", "tokens", "share of tokens", "samples")
    return table("token-sources", "Token shards by source", head, rows) if rows else Html("")


def seen_by_source(sources: Sources) -> Html:
    """What the samples consumed so far have shown of each source."""
    own, seed = sources.samples_by_source, sources.setting("seed")
    if own is None or seed is None:
        return Html("")
    consumed = int(sources.training[-1]["consumed_samples"])
    seen, an_epoch = count_seen(own.epoch, consumed, seed=seed), dict.fromkeys(own.samples, 0)
    for name, samples in own.epoch:
        an_epoch[name] += samples
    rows = [
        (
            name,
            number(samples),
            f"{an_epoch[name] / samples:.4g}",
            number(seen[name]),
            percent(seen[name], consumed),
            f"{seen[name] / samples:.3f}",
        )
        for name, samples in own.samples.items()
    ]
    head = (
        "source",
        "samples",
        "times in an epoch",
        "samples seen",
        "share of all seen",
        "times each was seen",
    )
    epochs = consumed / own.samples_an_epoch
    return table("seen-sources", f"Samples seen of each source, in {epochs:.2f} epochs", head, rows)
