"""Small inputs that the stages' tests share."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biobert_scale.config import DataConfig, TokensConfig, VocabularyConfig
from biobert_scale.data.samples import build_samples
from biobert_scale.files import Manifest, sha256_file, write_json
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.shards import TokenShard, TokenStore
from biobert_scale.tokens.vocabulary import build_vocabulary


def write_corpus(directory: Path, *, documents: int, shards: int = 1) -> None:
    """A finished corpus of made-up documents whose words depend on a topic."""
    directory.mkdir(parents=True)
    generator = random.Random(0)
    rows = []
    for number in range(documents):
        topic = generator.randrange(10)
        sentences = [
            " ".join(
                f"word{(topic * 20 + generator.randrange(40)) % 200}"
                for _ in range(generator.randrange(4, 16))
            ).capitalize()
            + "."
            for _ in range(generator.randrange(2, 14))
        ]
        text = sentences[0] + "\n" + " ".join(sentences[1:])
        rows.append(
            {
                "id": f"pmid:{number}",
                "source": "medline",
                "text": text,
                "pmid": str(number),
                "pmcid": "",
                "license": "",
                "origin": "made up",
            }
        )
    names = [f"part-{index:05d}.parquet" for index in range(shards)]
    for index, name in enumerate(names):
        pq.write_table(
            pa.Table.from_pylist(rows[index * documents // shards : (index + 1) * documents // shards]),
            directory / name,
        )
    outputs = {name: sha256_file(directory / name) for name in names}
    write_json(
        directory / "manifest.json",
        Manifest(stage="corpus", key="made up", inputs=[], config={}, counts={}, outputs=outputs),
    )


def write_tokens(directory: Path, *, documents: int = 400) -> Path:
    """Finished token shards; returns their directory."""
    write_corpus(directory / "corpus", documents=documents, shards=2)
    build_vocabulary(directory / "corpus", directory / "vocabulary", VocabularyConfig(size=300))
    build_tokens(
        directory / "corpus",
        directory / "vocabulary",
        directory / "tokens",
        TokensConfig(validation_fraction=0.1),
    )
    return directory / "tokens"


def write_samples(tokens: Path, directory: Path, config: DataConfig, *, seed: int = 1) -> Path:
    build_samples(tokens, directory, config, seed=seed)
    return directory


def token_store(documents: list[list[int]], *, shards: int = 1) -> TokenStore:
    """A store in memory: the sentences' lengths by document; the tokens count from 0."""
    parts = [part.tolist() for part in np.array_split(np.arange(len(documents)), shards)]
    held = []
    for part in parts:
        sentences, tokens = [len(documents[k]) for k in part], [sum(documents[k]) for k in part]
        held.append(
            TokenShard(
                tokens=np.arange(sum(tokens)).astype(np.uint16),
                token_offsets=np.cumsum([0, *tokens], dtype=np.int32),
                sentence_lengths=np.array([length for k in part for length in documents[k]], np.uint32),
                sentence_offsets=np.cumsum([0, *sentences], dtype=np.int32),
            )
        )
    return TokenStore(
        tuple(held),
        token_starts=np.cumsum([0, *(len(shard.tokens) for shard in held)], dtype=np.int64),
        document_starts=np.cumsum([0, *map(len, parts)], dtype=np.int64),
    )
