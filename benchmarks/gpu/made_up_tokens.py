"""Token shards of made-up documents, for machines without a corpus: sentences of random words, in documents
of an abstract's length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from biobert_scale.config import TokensConfig
from biobert_scale.files import stage_key
from biobert_scale.stage import Stage
from biobert_scale.tokens.build import STAGE
from biobert_scale.tokens.shards import SPLITS, Rows, schema, shard_name, token_counts, write_dataset_files

_SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
_ORDINARY = 200
_SENTENCES, _WORDS = 10, 28
"""A document's sentences and a sentence's pieces, on average: an abstract of about 280."""


def write_made_up_tokens(
    directory: Path, *, documents: int, vocabulary_size: int, sentences: int = _SENTENCES, seed: int = 1
) -> Path:
    """Finished token shards, one of each split, a fiftieth held out.

    Args:
        sentences: of a document on average; 200 make full texts, whose samples fill their length.

    Returns:
        The directory.
    """
    draw, table = np.random.default_rng(seed), schema(vocabulary_size)
    rows = {split: Rows(table) for split in SPLITS}
    for number in range(documents):
        lengths = np.maximum(draw.poisson(_WORDS, 1 + draw.poisson(sentences - 1)), 3)
        pieces = [
            draw.integers(_ORDINARY, vocabulary_size, length).astype(rows["train"].id_type).tobytes()
            for length in lengths
        ]
        rows["validation" if number % 50 == 0 else "train"].append(f"made-up-{number}", pieces)
    key = stage_key(
        STAGE,
        [],
        {"documents": documents, "sentences": sentences, "vocabulary_size": vocabulary_size, "seed": seed},
    )
    with Stage(directory, STAGE, inputs=[], config=TokensConfig(), key=key, overwrite=True) as stage:
        others = write_dataset_files(directory, table, 1, key)
        shards = {split: directory / split / shard_name(0, 1) for split in SPLITS}
        for split, path in shards.items():
            rows[split].write(path)
        entries = {
            f"w{number}": number for number in range(vocabulary_size) if number not in _SPECIAL.values()
        } | _SPECIAL
        (directory / "tokenizer").mkdir(exist_ok=True)
        tokenizer = Tokenizer(WordPiece(entries, unk_token="[UNK]"))
        tokenizer.add_special_tokens(list(_SPECIAL))
        tokenizer.save(str(directory / "tokenizer" / "tokenizer.json"))
        (directory / "tokenizer" / "vocab.txt").write_text(
            "".join(f"{entry}\n" for entry, _ in sorted(entries.items(), key=lambda item: item[1]))
        )
        counts = {
            split: dict(zip(("documents", "sentences", "tokens"), token_counts([path]), strict=True))
            for split, path in shards.items()
        }
        stage.finish(
            counts={"documents": documents, "vocabulary": vocabulary_size, "shards": 1, **counts},
            rejects={},
            outputs=[
                *shards.values(),
                *others,
                directory / "tokenizer" / "tokenizer.json",
                directory / "tokenizer" / "vocab.txt",
            ],
            libraries=["tokenizers", "pyarrow"],
        )
    return directory
