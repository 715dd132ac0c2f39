"""Which source of the corpus each document comes from, and how often the documents of a source are seen.

The documents of a shard are in the order of their sources, so a few runs of documents describe a split. They
have a file of their own beside the shards, whose bytes are the same with and without it. Shards that an older
version wrote have no such file: they can be trained on, without weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from biobert_scale.errors import UserError
from biobert_scale.files import read_json, write_json
from biobert_scale.tokens.shards import SPLITS

SOURCES = "sources.json"
"""In each split's directory: the runs of its documents, in order."""
_ALSO_CALLED = {"pubmed": "medline"}
"""What people call a source -> what the corpus calls it."""


class SourceRun(NamedTuple):
    """Documents of one source that follow each other, and how much is in them."""

    source: str
    documents: int
    sentences: int
    tokens: int


def write_runs(split: Path, runs: Iterable[SourceRun]) -> Path:
    """Write a split's runs, neighbours of one source joined; returns the file's path."""
    joined = [_sum(source, group) for source, group in itertools.groupby(runs, lambda run: run.source)]
    write_json(split / SOURCES, [run._asdict() for run in joined])
    return split / SOURCES


def read_runs(split: Path) -> tuple[SourceRun, ...]:
    """A split's runs; none where the shards do not know their documents' sources.

    Raises:
        UserError: the file is damaged.
    """
    if not (split / SOURCES).is_file():
        return ()
    try:
        return tuple(SourceRun(**run) for run in read_json(split / SOURCES))
    except TypeError:
        raise UserError(
            "not a list of sources", where=split / SOURCES, remedy="restore it, or build the tokens again"
        ) from None


def totals(runs: Iterable[SourceRun]) -> dict[str, SourceRun]:
    """All of each source, in the order in which they first appear."""
    groups: dict[str, list[SourceRun]] = {}
    for run in runs:
        groups.setdefault(run.source, []).append(run)
    return {source: _sum(source, group) for source, group in groups.items()}


def _sum(source: str, runs: Iterable[SourceRun]) -> SourceRun:
    documents, sentences, tokens = map(sum, zip(*(run[1:] for run in runs), strict=True))
    return SourceRun(source, documents, sentences, tokens)


def source_weights(split: Path, wanted: Mapping[str, float]) -> dict[str, float]:
    """The weight of every source of a split, in the order in which they first appear.

    Args:
        wanted: `data.sources`. A source that it does not name has a weight of 1: it is seen once in an epoch,
            as without a table.

    Returns:
        Nothing where all weights are 1: this is the stream without weights.

    Raises:
        UserError: the shards do not know their sources, or have no source of a name.
    """
    if not wanted:
        return {}
    names = list(totals(read_runs(split)))
    if not names:
        raise UserError(
            "the token shards do not hold their documents' sources, which data.sources weights",
            where=split,
            remedy="build the tokens again with this version (`tokens build --overwrite`), or leave it out",
        )
    named = {}
    for name, weight in wanted.items():
        also = _ALSO_CALLED.get(name, name)
        named[also if name not in names and also not in wanted else name] = weight
    for name in named:
        if name not in names:
            raise UserError(
                f"no document comes from the source {name!r}",
                where=f"data.sources, {split}",
                remedy=f"name sources that the tokens hold: {', '.join(sorted(names))}",
            )
    weights = {name: float(named.get(name, 1)) for name in names}
    return weights if any(weight != 1 for weight in weights.values()) else {}


def render_sources(directory: Path, wanted: Mapping[str, float]) -> str:
    """What token shards hold of each source, as text, and what an epoch holds of it where sources have
    weights; empty where the shards do not know their sources.

    Raises:
        UserError: see `source_weights`.
    """
    weights = source_weights(directory / "train", wanted)
    lines = [
        f"{'split':<12}{'source':<16}{'documents':>14}{'sentences':>16}{'tokens':>18}{'share':>9}"
        + f"{'weight':>9}{'in an epoch':>13}" * bool(weights)
    ]
    for split in SPLITS:
        found = totals(read_runs(directory / split)).values()
        of_all = sum(run.tokens for run in found)
        of_epoch = sum(run.tokens * weights.get(run.source, 1) for run in found)
        for source, documents, sentences, tokens in found:
            line = (
                f"{split:<12}{source:<16}{documents:>14,}{sentences:>16,}{tokens:>18,}{tokens / of_all:>9.1%}"
            )
            if weights and split == "train":
                line += f"{weights[source]:>9g}{tokens * weights[source] / of_epoch:>13.1%}"
            lines.append(line)
    return "\n".join(lines) if len(lines) > 1 else ""
