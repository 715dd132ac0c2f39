"""The index of samples as a stage: made once for tokens, seed and length, opened at once whatever its
size."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from biobert_scale.config import DataConfig
from biobert_scale.data.packing import PairBuilder
from biobert_scale.data.pairs import MAX_CORPUS_TOKENS, MAX_SAMPLE_TOKENS, unpack
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, fingerprint, read_manifest
from biobert_scale.stage import Stage
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.shards import SPLITS, TokenStore

STAGE = "samples"
_PACKING = "0.1.0"
"""The version of the package that last changed how tokens are packed into samples."""


def build_samples(
    tokens: Path, output: Path, config: DataConfig, *, seed: int, workers: int = 0, overwrite: bool = False
) -> Manifest:
    """Write the index of samples of both splits; a finished one is left alone, and one that
    another process is writing is waited for.

    Args:
        tokens: finished token shards.
        workers: threads (0: one for each core); the output does not depend on it.

    Raises:
        UserError: fewer than two documents in a split, a corpus too large for the index, or a directory that
            holds the index of other tokens or settings.
    """
    key = index_fingerprint(tokens, config, seed=seed)
    if (
        not overwrite
        and (output / "manifest.json").exists()
        and (finished := read_manifest(output, STAGE)).key != key
    ):
        raise UserError(
            f"the samples here have the fingerprint {finished.key[:16]}, those of the tokens and settings"
            f" given {key[:16]}",
            where=output,
            remedy=(
                f"give the tokens and the settings that it was begun with ({tokens} has changed, or data.* or"
                " seed), or another directory"
            ),
        )
    with Stage(
        output,
        STAGE,
        inputs=[{"name": tokens.name, "sha256": read_manifest(tokens, TOKENS_STAGE).key}],
        config={"data": config, "seed": seed},
        key=key,
        overwrite=overwrite,
        reads=[tokens],
        wait=True,
    ) as stage:
        if stage.finished is not None:
            return stage.finished
        counts, files = {}, []
        for split in SPLITS:
            store = TokenStore.open(tokens / split)
            if store.documents < 2:
                raise UserError(
                    f"the {split} split has {store.documents} document(s); a random next sentence needs two",
                    where=tokens,
                    remedy="build a larger corpus, or hold out a larger tokens.validation_fraction",
                )
            if store.tokens > MAX_CORPUS_TOKENS or config.max_seq_length > MAX_SAMPLE_TOKENS:
                raise UserError(
                    f"the index addresses {MAX_CORPUS_TOKENS:,} tokens and samples of {MAX_SAMPLE_TOKENS:,}",
                    where=tokens,
                    remedy="divide the corpus, or shorten data.max_seq_length",
                )
            counts[split] = _write_index(
                output / f"{split}.index",
                PairBuilder(store, config, seed=seed),
                workers or os.cpu_count() or 1,
            )
            files.append(output / f"{split}.index")
        return stage.finish(counts=counts, outputs=files, libraries=["numpy", "numba"])


def _write_index(path: Path, builder: PairBuilder, workers: int) -> dict[str, int]:
    counts = dict.fromkeys(("samples", "random_next", "short_targets", "tokens_in_samples"), 0)
    with open(path, "wb") as stream:
        for rows in tqdm(
            _in_order(builder, workers),
            total=len(builder.store.shards),
            desc=f"samples, {path.stem}",
            disable=None,
        ):
            rows.tofile(stream)
            pairs = unpack(rows)
            found = (
                len(rows),
                pairs.is_random.sum(),
                pairs.is_short.sum(),
                (pairs.a_length + pairs.b_length).sum(),
            )
            counts = {
                name: count + int(more) for (name, count), more in zip(counts.items(), found, strict=True)
            }
    return counts


def _in_order(builder: PairBuilder, workers: int) -> Iterator[np.ndarray]:
    """The shards' rows in order, few of them at a time in memory."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[np.ndarray]] = deque()
        for shard in range(len(builder.store.shards)):
            ahead.append(pool.submit(builder.pack, shard))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def open_index(samples: Path, split: str) -> np.ndarray:
    """(samples, 2) uint64, memory-mapped; `pairs.unpack` reads its rows.

    Raises:
        UserError: the directory holds no finished index, or a file of it is not whole.
    """
    manifest, path = read_manifest(samples, STAGE), samples / f"{split}.index"
    wanted = manifest.counts[split]["samples"]
    if not path.is_file() or path.stat().st_size != wanted * 16:
        raise UserError(
            f"not the {wanted:,} samples that the manifest counts",
            where=path,
            remedy="remove the directory; the index is then built again",
        )
    return np.asarray(np.memmap(path, np.uint64, "r")).reshape(-1, 2)


def index_fingerprint(tokens: Path, config: DataConfig, *, seed: int) -> str:
    """What the pairs follow from: the tokens' content, how they are packed, the seed. Not where the tokens
    are."""
    outputs = {
        name: digest
        for name, digest in read_manifest(tokens, TOKENS_STAGE).outputs.items()
        if name.endswith(".arrow")
    }
    packing = {
        name: getattr(config, name)
        for name in ("max_seq_length", "short_sequence_probability", "random_next_probability")
    }
    # Not `stage_key`: a run outlives the package's version, and its samples with it.
    return fingerprint(
        {
            "stage": STAGE,
            "version": _PACKING,
            "inputs": [{"tokens": fingerprint(outputs)}],
            "config": {"packing": packing, "seed": seed},
        }
    )
