"""Samples as the trainer gets them, for a person: both segments, the label, and what was masked by what."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path

import numpy as np

from biobert_scale.config import DataConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.data.packing import PairBuilder
from biobert_scale.data.pairs import Pairs, unpack
from biobert_scale.data.philox import PURPOSE_VALIDATION
from biobert_scale.data.stream import SampleStream
from biobert_scale.data.vocabulary import VocabularyTables
from biobert_scale.errors import UserError
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.sources import read_runs
from biobert_scale.tokens.vocabulary import load_tokenizer


def render_samples(tokens: Path, config: DataConfig, *, seed: int, samples: int) -> str:
    """Statistics of the held-out split's samples, and some of them written out.

    The index is made in memory, of the validation split alone: nothing is written, and a large corpus takes
    seconds.

    Raises:
        UserError: no finished tokens, or fewer than two held-out documents.
    """
    store = TokenStore.open(tokens / "validation")
    if store.documents < 2:
        raise UserError(
            f"the validation split has {store.documents} document(s); a pair needs two",
            where=tokens,
            remedy="hold out a larger tokens.validation_fraction",
        )
    builder = PairBuilder(store, config, seed=seed)
    index = np.concatenate([builder.pack(shard) for shard in range(len(store.shards))])
    stream = SampleStream(
        store,
        index,
        VocabularyTables.read(tokens / "tokenizer", whole_words=config.whole_word_masking),
        config,
        seed=seed,
        purpose=PURPOSE_VALIDATION,
        runs=read_runs(tokens / "validation"),
    )
    lines = _statistics(unpack(index), config)
    if stream.runs:
        sizes = stream.sources.sizes().items()
        lines += [f"  from {source:<13}{size:,} ({size / len(index):.2%})" for source, size in sizes]
    if samples:
        chosen = np.random.default_rng(seed).permutation(len(index))[:samples]
        (batch,) = stream.micro_batches([np.zeros_like(chosen)], [chosen])
        pieces = {token: piece for piece, token in load_tokenizer(tokens / "tokenizer").get_vocab().items()}
        lines += [
            "",
            "[MASK=word] predict the word; [other=word] another entry replaces it; [word=word] it remains",
        ]
        for k in range(len(chosen)):
            lines += ["", *_sample(batch, k, pieces)]
    return "\n".join(lines)


def _statistics(pairs: Pairs, config: DataConfig) -> list[str]:
    lengths = pairs.lengths
    full = np.mean(lengths > 0.95 * config.max_seq_length)
    return [
        f"{len(lengths):,} held-out samples of at most {config.max_seq_length} tokens",
        (
            f"  tokens            mean {lengths.mean():.1f}, median {np.median(lengths):.0f}, {full:.1%}"
            " nearly full"
        ),
        f"  random next       {pairs.is_random.mean():.2%} (wanted {config.random_next_probability:.0%})",
        f"  short targets     {pairs.is_short.mean():.2%} (wanted {config.short_sequence_probability:.0%})",
        (
            f"  padding spared    {1 - lengths.mean() / config.max_seq_length:.1%} of what rows of"
            f" {config.max_seq_length} would hold"
        ),
    ]


def _sample(batch: MicroBatch, k: int, pieces: dict[int, str]) -> list[str]:
    begin, end = batch.cu_seqlens[k : k + 2].tolist()
    original = {
        int(position): int(label)
        for position, label in zip(batch.mlm_positions, batch.mlm_labels, strict=True)
        if begin <= position < end
    }
    words: tuple[list[str], list[str]] = ([], [])
    for position in range(begin, end):
        piece, segment = pieces[int(batch.input_ids[position])], words[int(batch.token_type_ids[position])]
        continued = pieces[original.get(position, int(batch.input_ids[position]))].startswith("##")
        text = (
            f"[{piece.strip('[]')}={pieces[original[position]]}]"
            if position in original
            else piece.removeprefix("##")
        )
        if continued and segment:
            segment[-1] += text
        else:
            segment.append(text)
    kind = "B comes from another document" if batch.nsp_labels[k] else "B follows A"
    lines = [f"sample {batch.indices[k]}: {kind}; {end - begin} tokens, {len(original)} predicted"]
    return lines + list(
        itertools.chain(
            *(
                textwrap.wrap(f"{name} {' '.join(text)}", 110, initial_indent="  ", subsequent_indent="    ")
                for name, text in zip("AB", words, strict=True)
            )
        )
    )
