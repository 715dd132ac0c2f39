"""Sequences a second of one worker, beside the ways that others make them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

from benchmarks.data import bert_instances
from benchmarks.data.records import SampleRace
from benchmarks.turns import Contestant, compare
from biobert_scale.config import BatchSizes, DataConfig, LoaderConfig
from biobert_scale.data.loader import StepLoader
from biobert_scale.data.packing import PairBuilder
from biobert_scale.data.philox import PURPOSE_MASKING
from biobert_scale.data.run_stream import PhaseStream, RunStream
from biobert_scale.data.stream import SampleStream
from biobert_scale.data.vocabulary import VocabularyTables
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.tokens.shards import TokenStore

SEED = 1
GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE, RANKS = 256, 2, 16
PEER_BATCH_SIZE = 32
"""Sequences in the peers' batches: about where they are fastest."""
EQUAL = f"this loader, 1 rank, micro-batches of {PEER_BATCH_SIZE}"
EQUAL_WHOLE_WORDS = f"{EQUAL}, whole words"
COLLATOR = "transformers' collator"
COLLATOR_WHOLE_WORDS = f"{COLLATOR}, whole words"
PYTHON = "plain Python, as BERT"
_OFFSETS_BLOCKS = 4096


def measure_samples(
    store: TokenStore, tokenizer: Path, *, max_seq_length: int, repeats: int, seconds: float
) -> SampleRace:
    """All contestants' speeds at one length."""
    config = DataConfig(max_seq_length=max_seq_length)
    tables = VocabularyTables.read(tokenizer, whole_words=True)
    vocabulary = len(tables.continues)
    index = pack_all(store, config)
    documents = bert_instances.read_documents(store, vocabulary)
    contestants = [
        *_ours(store, index, tables, config),
        *collators(store, tokenizer, tables, config),
        _plain_python(documents, tables, vocabulary, config),
    ]
    return {
        "max_seq_length": max_seq_length,
        "samples": len(index),
        "speeds": compare(contestants, repeats=repeats, seconds=seconds),
    }


def pack_all(store: TokenStore, config: DataConfig) -> np.ndarray:
    """The index of a store, in memory: (samples, 2) uint64."""
    builder = PairBuilder(store, config, seed=SEED)
    return np.concatenate([builder.pack(shard) for shard in range(len(store.shards))])


def _ours(
    store: TokenStore, index: np.ndarray, tables: VocabularyTables, config: DataConfig
) -> list[Contestant]:
    streams = {
        whole_words: SampleStream(
            store,
            index,
            tables if whole_words else tables._replace(continues=np.zeros_like(tables.continues)),
            config,
            seed=SEED,
            purpose=PURPOSE_MASKING,
        )
        for whole_words in (False, True)
    }
    sizes = BatchSizes.constant(global_batch_size=GLOBAL_BATCH_SIZE, max_seq_length=config.max_seq_length)

    def contestant(
        name: str,
        *,
        micro_batch_size: int = MICRO_BATCH_SIZE,
        world_size: int = 1,
        workers: int = 1,
        whole_words: bool = False,
    ) -> Contestant:
        def begin(turn: int) -> Generator[tuple[PackedBatch, ...], None, None]:
            with StepLoader(
                RunStream(phases=(PhaseStream(streams[whole_words], micro_batch_size, 0),), sizes=sizes),
                consumed_samples=turn * len(index),
                world_size=world_size,
                rank=world_size // 2,
                prepare=lambda step: tuple(PackedBatch.of(batch) for batch in step.micro_batches),
                config=LoaderConfig(workers=workers),
            ) as loader:
                yield from loader

        return Contestant(
            name=name, sequences=GLOBAL_BATCH_SIZE // world_size, begin=begin, measure=_packed_size
        )

    return [
        contestant(EQUAL, micro_batch_size=PEER_BATCH_SIZE),
        contestant(EQUAL_WHOLE_WORDS, micro_batch_size=PEER_BATCH_SIZE, whole_words=True),
        contestant(f"this loader, 1 rank, micro-batches of {MICRO_BATCH_SIZE}"),
        contestant(f"this loader, 1 rank, micro-batches of {MICRO_BATCH_SIZE}, 2 threads", workers=2),
        contestant(
            f"this loader, one of {RANKS} ranks, micro-batches of {MICRO_BATCH_SIZE}", world_size=RANKS
        ),
    ]


def _packed_size(step: tuple[PackedBatch, ...]) -> tuple[int, int]:
    return sum(sum(batch.sequence_lengths) for batch in step), sum(len(batch.mlm_labels) for batch in step)


def collators(
    store: TokenStore, tokenizer: Path, tables: VocabularyTables, config: DataConfig
) -> list[Contestant]:
    """transformers' collator behind torch's loader: tokens laid end to end and cut into blocks, one sequence
    a block."""
    fast = AutoTokenizer.from_pretrained(tokenizer)
    blocks = cut_into_blocks(store, tables, config.max_seq_length)

    def contestant(name: str, *, columns: dict[str, np.ndarray], whole_words: bool) -> Contestant:
        table = Dataset(pa.table({column: _list_column(values) for column, values in columns.items()}))
        collator = DataCollatorForLanguageModeling(
            fast,
            mlm_probability=config.mlm_probability,
            whole_word_mask=whole_words,
            mask_replace_prob=1.0 if whole_words else 0.8,  # with whole words it has no other choice
            random_replace_prob=0.0 if whole_words else 0.1,
        )
        size = min(PEER_BATCH_SIZE, len(table))

        def begin(turn: int) -> Generator[dict[str, torch.Tensor], None, None]:
            shuffling = torch.Generator().manual_seed(turn)
            while True:
                yield from DataLoader(
                    table,
                    batch_size=size,
                    shuffle=True,
                    drop_last=True,
                    collate_fn=collator,
                    generator=shuffling,
                )

        return Contestant(name=name, sequences=size, begin=begin, measure=_padded_size, pairs=False)

    special = np.isin(blocks, (tables.cls, tables.sep)).astype(np.int8)
    some = blocks[:_OFFSETS_BLOCKS]
    ends = np.cumsum(~tables.continues[some] + 1, axis=1, dtype=np.int32)  # a gap before each word
    return [
        contestant(
            COLLATOR, columns={"input_ids": blocks, "special_tokens_mask": special}, whole_words=False
        ),
        contestant(
            COLLATOR_WHOLE_WORDS,
            columns={
                "input_ids": some,
                "special_tokens_mask": special[:_OFFSETS_BLOCKS],
                "offset_mapping": np.stack([ends - 1, ends], axis=-1),
            },
            whole_words=True,
        ),
    ]


def cut_into_blocks(store: TokenStore, tables: VocabularyTables, length: int) -> np.ndarray:
    """(blocks, length) int32: all documents as [CLS] ... [SEP], end to end, the rest left out."""
    parts: list[np.ndarray] = []
    for shard in store.shards:
        bounds = shard.token_offsets
        ends = np.repeat(bounds[1:-1], 2)
        tokens = np.insert(
            shard.tokens.astype(np.int32), ends, np.tile([tables.sep, tables.cls], len(bounds) - 2)
        )
        parts += [np.array([tables.cls]), tokens, np.array([tables.sep])]
    joined = np.concatenate(parts).astype(np.int32)
    return joined[: len(joined) // length * length].reshape(-1, length)


def _list_column(values: np.ndarray) -> pa.Array:
    """Rows as lists, of lists where `values` has three dimensions."""
    column = pa.array(values.reshape(-1))
    for size in values.shape[:0:-1]:
        offsets = np.arange(0, len(column) + 1, size, dtype=np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


def _padded_size(batch: dict[str, Any]) -> tuple[int, int]:
    return int(batch["attention_mask"].sum()), int((batch["labels"] >= 0).sum())


def _plain_python(
    documents: list[bert_instances.Document], tables: VocabularyTables, vocabulary: int, config: DataConfig
) -> Contestant:
    def begin(turn: int) -> Generator[dict[str, np.ndarray], None, None]:
        return bert_instances.batches(
            documents,
            size=PEER_BATCH_SIZE,
            max_seq_length=config.max_seq_length,
            tables=tables,
            vocabulary=vocabulary,
            mlm_probability=config.mlm_probability,
            seed=turn,
        )

    return Contestant(name=PYTHON, sequences=PEER_BATCH_SIZE, begin=begin, measure=_padded_size)
