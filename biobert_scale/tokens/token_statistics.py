"""What token shards hold: counts, lengths, pieces and documents, as text and as pictures."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, read_manifest
from biobert_scale.histograms import draw_bars, text_bars
from biobert_scale.tokens.build import STAGE
from biobert_scale.tokens.shards import SPLITS, TokenShard, TokenStore
from biobert_scale.tokens.sources import read_runs
from biobert_scale.tokens.vocabulary import load_tokenizer, special_ids

DOCUMENT_EDGES = (0, 32, 64, 96, *sorted([128 << n for n in range(10)] + [192 << n for n in range(7)]))
"""Lower bounds, in tokens, of the classes of the histogram of documents; the last one is open."""
SENTENCE_EDGES = (*range(0, 130, 10), 150, 200, 300, 512)
"""The same of sentences."""
_PIECES_SHOWN = 40
_SENTENCES_SHOWN = 12
_TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A sentence to show, decoded."""

    tokens: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document to show."""

    id: str
    split: str
    sentences: list[Sentence]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Token shards in numbers. The counts by value are (largest value + 1,) int64 over both splits."""

    directory: Path
    manifest: Manifest
    document_tokens: NDArray[np.int64]
    """How many documents have 0, 1, 2, ... tokens."""
    document_sentences: NDArray[np.int64]
    """How many documents have 0, 1, 2, ... sentences."""
    sentence_tokens: NDArray[np.int64]
    """How many sentences have 0, 1, 2, ... tokens."""
    piece_counts: NDArray[np.int64]
    """(vocabulary,) how often each piece occurs in the texts."""
    pieces: list[str]
    """The vocabulary, by id."""
    unknown: int
    """The id of [UNK]."""
    samples: list[Document]


def summarise(directory: Path, *, samples: int, seed: int, show_private: bool = False) -> Summary:
    """Read token shards once.

    Args:
        samples: documents of both splits to draw, each with the same probability, without repetition.
        show_private: keep those of private sources among them; else they are left out.

    Raises:
        UserError: the directory holds no finished token shards, or a damaged one.
    """
    if samples < 0:
        raise UserError(f"samples cannot be {samples}", where="tokens inspect", remedy="give 0 or more")
    manifest = read_manifest(directory, STAGE)
    tokenizer = load_tokenizer(directory / "tokenizer")
    stores = {split: TokenStore.open(directory / split) for split in SPLITS}
    for split, store in stores.items():
        counted = manifest.counts[split]
        if (store.documents, store.tokens) != (counted["documents"], counted["tokens"]):
            what = "the shards are not those that the manifest counted"
            raise UserError(what, where=directory / split, remedy="build the tokens again")
    entries = manifest.counts["vocabulary"]
    by_value = [np.zeros(0, np.int64) for _ in range(3)]
    piece_counts = np.zeros(entries, np.int64)
    shards = [shard for store in stores.values() for shard in store.shards]
    for shard in tqdm(shards, desc="counting", disable=None):
        lengths = (np.diff(shard.token_offsets), np.diff(shard.sentence_offsets), shard.sentence_lengths)
        by_value = [_add(total, np.bincount(values)) for total, values in zip(by_value, lengths, strict=True)]
        piece_counts += _count_pieces(shard, entries, directory)
    return Summary(
        directory=directory,
        manifest=manifest,
        document_tokens=by_value[0],
        document_sentences=by_value[1],
        sentence_tokens=by_value[2],
        piece_counts=piece_counts,
        pieces=[str(tokenizer.id_to_token(index)) for index in range(entries)],
        unknown=special_ids(directory / "tokenizer")["[UNK]"],
        samples=_draw_documents(
            directory, stores, tokenizer, samples, seed, set() if show_private else private_sources(manifest)
        ),
    )


def private_sources(manifest: Manifest) -> set[str]:
    """The private sources of finished token shards."""
    return set((manifest.config or {}).get("private_sources", ()))


def _add(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    longer[: len(shorter)] += shorter
    return longer


def _count_pieces(shard: TokenShard, entries: int, where: Path) -> NDArray[np.int64]:
    counts = np.zeros(entries, np.int64)
    for start in range(0, len(shard.tokens), _TOKENS_AT_ONCE):
        found = np.bincount(shard.tokens[start : start + _TOKENS_AT_ONCE], minlength=entries)
        if len(found) > entries:
            what = f"a token id of {len(found) - 1}, beyond the vocabulary's {entries}"
            raise UserError(what, where=where, remedy="build the tokens again")
        counts += found
    return counts


def _draw_documents(
    directory: Path,
    stores: dict[str, TokenStore],
    tokenizer: Tokenizer,
    samples: int,
    seed: int,
    hidden: set[str],
) -> list[Document]:
    from datasets import load_from_disk

    total = sum(store.documents for store in stores.values())
    chosen = sorted(random.Random(seed).sample(range(total), min(samples, total)))
    drawn, first = [], 0
    for split, store in stores.items():
        inside = [row - first for row in chosen if first <= row < first + store.documents]
        if hidden:
            runs = read_runs(directory / split)
            ends = np.cumsum([run.documents for run in runs])
            inside = [row for row in inside if runs[np.searchsorted(ends, row, "right")].source not in hidden]
        for fields in load_from_disk(str(directory / split)).select(inside) if inside else ():
            ids = iter(fields["input_ids"])
            sentences = []
            for length in fields["sentence_lengths"]:
                text = tokenizer.decode(list(itertools.islice(ids, length)), skip_special_tokens=False)
                sentences.append(Sentence(tokens=length, text=text))
            drawn.append(Document(id=fields["id"], split=split, sentences=sentences))
        first += store.documents
    return drawn


def quantile(counts: NDArray[np.int64], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed; 0 of nothing.

    Args:
        counts: (largest value + 1,) how many have each value.
    """
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum())) if counts.sum() else 0


def histogram(counts: NDArray[np.int64], edges: tuple[int, ...]) -> NDArray[np.int64]:
    """(classes,) how many fall into each class, of the counts by value."""
    classes = np.searchsorted(edges, np.arange(len(counts)), "right") - 1
    return np.bincount(classes, weights=counts, minlength=len(edges)).astype(np.int64)


def render(summary: Summary) -> str:
    """The summary as text."""
    counts, rejects = summary.manifest.counts, summary.manifest.rejects
    lines = [
        f"{summary.directory}: {counts['documents']:,} documents in {counts['shards']:,} shards,"
        f" vocabulary of {counts['vocabulary']:,}",
        "",
        f"{'split':<12}{'documents':>14}{'share':>9}{'sentences':>16}{'tokens':>18}",
    ]
    for split in SPLITS:
        documents, sentences, tokens = (counts[split][unit] for unit in ("documents", "sentences", "tokens"))
        share = documents / counts["documents"]
        lines.append(f"{split:<12}{documents:>14,}{share:>9.3%}{sentences:>16,}{tokens:>18,}")
    lines += [f"left out, {reason}: {number:,} documents" for reason, number in sorted(rejects.items())]
    lines += [f"left out of the others: {counts['unknown_sentences']:,} sentences of unknown pieces only", ""]
    lines.append(f"{'':<24}{'median':>10}{'95 %':>10}{'longest':>12}")
    for name, by_value in (
        ("tokens a document", summary.document_tokens),
        ("sentences a document", summary.document_sentences),
        ("tokens a sentence", summary.sentence_tokens),
    ):
        half, most = quantile(by_value, 0.5), quantile(by_value, 0.95)
        lines.append(f"{name:<24}{half:>10,}{most:>10,}{len(by_value) - 1:>12,}")
    unknown, tokens = int(summary.piece_counts[summary.unknown]), int(summary.piece_counts.sum())
    unused = int(np.count_nonzero(summary.piece_counts == 0))
    lines += ["", f"[UNK]: {unknown:,} of {tokens:,} tokens ({unknown / tokens:.4%})"]
    lines += [f"pieces that never occur: {unused:,} of {counts['vocabulary']:,}"]
    for name, by_value, edges in _histograms(summary):
        lines += ["", f"length of {name}, in tokens", *text_bars(histogram(by_value, edges), edges)]
    lines += ["", "the most frequent pieces", *_frequent(summary)]
    if private := private_sources(summary.manifest):
        lines += ["", f"private, shown with --show-private alone: {', '.join(sorted(private))}"]
    for document in summary.samples:
        tokens = sum(sentence.tokens for sentence in document.sentences)
        lines += ["", f"{document.id}  ({document.split}, {tokens:,} tokens)"]
        lines += [f"{shown.tokens:>6} | {shown.text}" for shown in document.sentences[:_SENTENCES_SHOWN]]
        if (more := len(document.sentences) - _SENTENCES_SHOWN) > 0:
            lines.append(f"       ... and {more:,} more sentences")
    return "\n".join(lines)


class _Histogram(NamedTuple):
    name: str
    by_value: NDArray[np.int64]
    edges: tuple[int, ...]


def _histograms(summary: Summary) -> list[_Histogram]:
    return [
        _Histogram("documents", summary.document_tokens, DOCUMENT_EDGES),
        _Histogram("sentences", summary.sentence_tokens, SENTENCE_EDGES),
    ]


def _frequent(summary: Summary) -> list[str]:
    shares = summary.piece_counts / summary.piece_counts.sum()
    order = np.argsort(-summary.piece_counts, kind="stable")[:_PIECES_SHOWN]
    shown = [f"{summary.pieces[i]} {shares[i]:.2%}" for i in order if shares[i]]
    rows = (shown[start : start + 5] for start in range(0, len(shown), 5))
    return ["  " + "".join(f"{piece:<22}" for piece in row).rstrip() for row in rows]


def draw(summary: Summary, output: Path) -> list[Path]:
    """Write `lengths.png` and `pieces.png`; returns their paths."""
    from matplotlib.figure import Figure

    output.mkdir(parents=True, exist_ok=True)
    lengths = Figure(figsize=(8, 5.6), layout="constrained")
    for axes, (name, by_value, edges) in zip(lengths.subplots(2, 1), _histograms(summary), strict=True):
        counts = histogram(by_value, edges)
        title = f"{counts.sum():,} {name}, half of them of at most {quantile(by_value, 0.5):,} tokens"
        draw_bars(axes, counts, edges, "#4269d0", title)
        axes.set_ylabel(name)
        axes.set_xlabel(f"tokens in the {name[:-1]}", fontsize=9)
    pieces = Figure(figsize=(8, 4), layout="constrained")
    axes = pieces.subplots()
    ranked = np.sort(summary.piece_counts)[::-1]
    used = int(np.count_nonzero(ranked))
    axes.loglog(np.arange(1, used + 1), ranked[:used], color="#4269d0")
    title = f"{ranked.sum():,} tokens of {used:,} different pieces of {len(ranked):,}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("rank of the piece", fontsize=9)
    axes.set_ylabel("occurrences")
    axes.spines[["top", "right"]].set_visible(False)
    paths = [output / "lengths.png", output / "pieces.png"]
    for figure, path in zip((lengths, pieces), paths, strict=True):
        figure.savefig(path, dpi=120)
    return paths
