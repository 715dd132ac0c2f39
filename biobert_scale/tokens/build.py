"""Documents in; token shards out: sentences found, split into word pieces, and laid end to end.

One document shard makes one token shard in each split. Runs on datatrove, one task a shard, with completion markers,
so that an interrupted build goes on where it was.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from biobert_scale.config import SlurmConfig, TokensConfig
from biobert_scale.corpus.engine import run_tasks
from biobert_scale.files import MANIFEST, Manifest, begin_stage, describe_inputs, finish_stage, read_manifest, stage_key
from biobert_scale.tokens.sentences import split_sentences
from biobert_scale.tokens.shards import SPLITS, schema, shard_name, token_counts, write_dataset_files, write_shard
from biobert_scale.tokens.vocabulary import STAGE as VOCABULARY_STAGE
from biobert_scale.tokens.vocabulary import load_tokenizer, special_ids

STAGE = "tokens"
_DOCUMENTS_AT_ONCE = 512


def build_tokens(
    corpus: Path, vocabulary: Path, output: Path, config: TokensConfig, *, workers: int = 1, slurm: SlurmConfig | None = None, overwrite: bool = False
) -> Manifest:
    """Write the splits `train` and `validation`, and the tokenizer beside them.

    Args:
        corpus: a finished corpus.
        vocabulary: a finished vocabulary.
        workers: processes at once; the output does not depend on it.
        slurm: run the shards as array jobs instead; `output` is then on a file system that all nodes see.

    Raises:
        UserError: an input is missing or unfinished.
    """
    corpus_manifest = read_manifest(corpus, "corpus")
    entries = read_manifest(vocabulary, VOCABULARY_STAGE).counts["entries"]
    inputs = describe_inputs([corpus, vocabulary])
    key = stage_key(STAGE, inputs, config)
    if manifest := begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return manifest
    sources = [corpus / name for name in sorted(corpus_manifest.outputs) if name.endswith(".parquet")]
    for split in SPLITS:
        (output / split).mkdir(exist_ok=True)
    tokenize = _Tokenize(sources, vocabulary, output, entries, config)
    run_tasks(tokenize, tasks=len(sources), workers=workers, slurm=slurm, work=output / ".work" / "tokens", description="tokenizing")
    write_dataset_files(output, schema(entries), len(sources), key)
    shutil.copytree(vocabulary, output / "tokenizer", dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    shards = {split: [output / split / shard_name(index, len(sources)) for index in range(len(sources))] for split in SPLITS}
    counts: dict[str, Any] = {"vocabulary": entries, "shards": len(sources)}
    for split in SPLITS:
        counts[split] = dict(zip(("documents", "sentences", "tokens"), token_counts(shards[split]), strict=True))
    manifest = finish_stage(
        output, stage=STAGE, key=key, inputs=inputs, config=config, counts=counts,
        outputs=[path for paths in shards.values() for path in paths], libraries=["tokenizers", "sentencex", "pyarrow", "datatrove"],
    )  # fmt: skip
    shutil.rmtree(output / ".work")
    return manifest


class _Tokenize:
    """Task `rank`: document shard `rank`."""

    def __init__(self, sources: list[Path], vocabulary: Path, output: Path, entries: int, config: TokensConfig) -> None:
        self.sources, self.vocabulary, self.output, self.entries, self.config = sources, vocabulary, output, entries, config

    def __call__(self, rank: int) -> None:
        tokenizer = load_tokenizer(self.vocabulary)
        unknown = special_ids(self.vocabulary)["[UNK]"]
        rows: dict[str, tuple[list[str], list[np.ndarray], list[np.ndarray]]] = {split: ([], [], []) for split in SPLITS}
        for ids, texts in _batches(self.sources[rank]):
            for document_id, sentences in zip(ids, _tokenize(tokenizer, texts), strict=True):
                # A sentence of unknown pieces only (a stray symbol) teaches nothing and would be masked as [UNK].
                sentences = [sentence for sentence in sentences if any(token != unknown for token in sentence)]
                if sentences:
                    names, tokens, lengths = rows[split_of(document_id, self.config.validation_fraction)]
                    names.append(document_id)
                    tokens.append(np.concatenate([np.asarray(sentence, np.uint32) for sentence in sentences]))
                    lengths.append(np.asarray([len(sentence) for sentence in sentences], np.uint32))
        for split in SPLITS:
            write_shard(self.output / split / shard_name(rank, len(self.sources)), schema(self.entries), *rows[split])


def _batches(source: Path) -> Iterator[tuple[list[str], list[str]]]:
    for batch in pq.ParquetFile(source).iter_batches(batch_size=_DOCUMENTS_AT_ONCE, columns=["id", "text"]):
        yield batch.column("id").to_pylist(), batch.column("text").to_pylist()


def _tokenize(tokenizer: Tokenizer, texts: list[str]) -> Iterator[list[list[int]]]:
    """For each text, the ids of each of its sentences, special tokens left out."""
    sentences = [[text[start:end] for start, end in split_sentences(text)] for text in texts]
    encodings = iter(tokenizer.encode_batch_fast([sentence for document in sentences for sentence in document], add_special_tokens=False))
    for document in sentences:
        yield [ids for _ in document if (ids := next(encodings).ids)]


def split_of(document_id: str, validation_fraction: float) -> str:
    """`train` or `validation`, by a hash of the id: the same for a document in every build."""
    value = int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest()) / 2**64
    return "validation" if value < validation_fraction else "train"
