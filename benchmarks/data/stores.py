"""Token stores and indexes made of a real one for measuring: repeated, joined into one shard, or seen many
times over."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.data.records import SimulatedIndex
from benchmarks.data.samples import pack_all
from biobert_scale.config import DataConfig
from biobert_scale.data.pairs import MAX_CORPUS_TOKENS
from biobert_scale.data.samples import STAGE as SAMPLES_STAGE
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, Manifest, read_manifest, write_json
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.shards import SPLITS, TokenStore, shard_paths

_JOINED_TOKENS = 50_000_000
"""Tokens in the shard that a simulated store holds many times: a shard's usual size."""
_FEWEST_SHARDS = 16
_ROW_BYTES = 16


def require_space(wanted_bytes: float) -> None:
    """See that temporary files of this size fit.

    Raises:
        UserError: they do not.
    """
    directory = tempfile.gettempdir()
    free = shutil.disk_usage(directory).free
    if free < wanted_bytes:
        raise UserError(
            f"{wanted_bytes / 1e9:.1f} GB of temporary files are needed, {free / 1e9:.1f} GB are free",
            where=directory,
            remedy=(
                "set TMPDIR to a larger disk, or lower --index-million-tokens or --scale-million-samples"
            ),
        )


def write_repeated(tokens: Path, target: Path, wanted_tokens: int) -> None:
    """A finished token directory whose training split repeats a real one's until it has `wanted_tokens`.

    Its validation split is the real training split once.
    """
    sources, store = shard_paths(tokens / "train"), TokenStore.open(tokens / "train")
    names = []
    for repeat in range(-(-wanted_tokens // store.tokens)):
        for source in sources:
            names.append(f"{repeat:05d}-{source.name}")
            (target / "train").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / "train" / names[-1])
    _finish_tokens(
        tokens, target, {"train": names, "validation": [f"../train/{name}" for name in names[: len(sources)]]}
    )


def write_abstracts(tokens: Path, target: Path, *, fewest: int) -> bool:
    """One shard of the documents that are abstracts; where there are fewer than `fewest`, of all of them.
    Returns whether it is the former."""
    table = _read(tokens)
    abstracts = table.filter(pc.starts_with(table["id"], "pmid:"))
    found = len(abstracts) >= fewest
    _write_shard(target / "documents.arrow", abstracts if found else table)
    _write_state(target, ["documents.arrow"])
    return found


def write_simulated(
    tokens: Path, target: Path, samples: Path, config: DataConfig, wanted_samples: int
) -> SimulatedIndex:
    """Token and sample directories for `wanted_samples` samples of real pairs; every address is valid.

    The tokens are one shard of real documents that the store maps many times; the index is written out in
    full.
    """
    (target / "train").mkdir(parents=True)
    table = _read(tokens)
    joined_tokens = min(_JOINED_TOKENS, wanted_samples * config.max_seq_length // _FEWEST_SHARDS)
    repeats = -(-joined_tokens // TokenStore.open(tokens / "train").tokens)
    _write_shard(target / "train" / "joined.arrow", pa.concat_tables([table] * repeats))
    _write_state(target / "train", ["joined.arrow"])
    one = TokenStore.open(target / "train")
    rows = pack_all(one, config)
    tiles = -(-wanted_samples // len(rows))
    if tiles * one.tokens > MAX_CORPUS_TOKENS:
        raise UserError(
            f"{wanted_samples:,} samples need more tokens than an index addresses",
            where="--scale-million-samples",
            remedy="ask for fewer",
        )
    _finish_tokens(tokens, target, {split: ["joined.arrow"] * tiles for split in SPLITS})
    samples.mkdir()
    left = wanted_samples
    with open(samples / "train.index", "wb") as stream:
        for tile in range(tiles):
            # Addresses are the lowest bits of both words of a row.
            (rows[:left] + np.uint64(tile * one.tokens)).tofile(stream)
            left -= min(left, len(rows))
    write_json(
        samples / MANIFEST,
        Manifest(
            stage=SAMPLES_STAGE, key="", inputs=[], config={}, counts={"train": {"samples": wanted_samples}}
        ),
    )
    return {
        "samples": wanted_samples,
        "tokens": tiles * one.tokens,
        "shards": tiles,
        "index_bytes": wanted_samples * _ROW_BYTES,
    }


def _read(tokens: Path) -> pa.Table:
    return pa.concat_tables(
        [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in shard_paths(tokens / "train")]
    )


def _write_shard(path: Path, table: pa.Table) -> None:
    """One shard as `tokens.shards` reads it: one record batch in a stream."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (batch,) = table.combine_chunks().to_batches()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_batch(batch)


def _finish_tokens(tokens: Path, target: Path, names: dict[str, list[str]]) -> None:
    shutil.copytree(tokens / "tokenizer", target / "tokenizer")
    for split in SPLITS:
        _write_state(target / split, names[split])
    outputs = {f"train/{name}": "" for name in names["train"]}
    write_json(target / MANIFEST, replace(read_manifest(tokens, TOKENS_STAGE), outputs=outputs))


def _write_state(directory: Path, names: list[str]) -> None:
    write_json(directory / "state.json", {"_data_files": [{"filename": name} for name in names]})
