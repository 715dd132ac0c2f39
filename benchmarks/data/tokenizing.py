"""Text to word pieces on one core: this package's stage and `datasets.map` with the same tokenizer take
turns.

CPU time counts, of this process and of those that it started.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.child import answer
from benchmarks.data.records import Tokenizing, TokenizingSpeed
from benchmarks.turns import cpu_seconds, in_turns


def tokenize_in_turns(*, corpus: str, vocabulary: str, scratch: str, repeats: int) -> Tokenizing:
    """Run both `repeats` times; the stage's last output stays in `scratch`/tokens."""
    import datasets
    from transformers import AutoTokenizer

    from biobert_scale.config import TokensConfig
    from biobert_scale.files import read_manifest
    from biobert_scale.tokens.build import build_tokens
    from biobert_scale.tokens.shards import SPLITS

    logging.getLogger("transformers").setLevel(logging.ERROR)  # a document is longer than the model's input
    datasets.disable_progress_bars()
    names = sorted(
        name for name in read_manifest(Path(corpus), "corpus").outputs if name.endswith(".parquet")
    )
    table = datasets.Dataset.from_parquet(
        [str(Path(corpus) / name) for name in names], cache_dir=f"{scratch}/cache"
    ).select_columns(["id", "text"])
    tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    output, numbers = Path(scratch) / "tokens", itertools.count()

    def ours() -> int:
        shutil.rmtree(output, ignore_errors=True)
        counts = build_tokens(Path(corpus), Path(vocabulary), output, TokensConfig(), workers=1).counts
        return sum(counts[split]["tokens"] for split in SPLITS)

    def tokenize(batch: dict[str, list[str]]) -> Any:
        return tokenizer(
            batch["text"], add_special_tokens=False, return_token_type_ids=False, return_attention_mask=False
        )

    def theirs() -> int:
        path = Path(scratch) / f"mapped-{next(numbers)}.arrow"
        mapped = table.map(
            tokenize,
            batched=True,
            remove_columns=["text"],
            load_from_cache_file=False,
            cache_file_name=str(path),
        )
        tokens = sum(len(chunk.flatten()) for chunk in mapped.data["input_ids"].chunks)
        path.unlink()
        return tokens

    contestants = {"this stage": ours, "datasets.map": theirs}
    found: dict[str, TokenizingSpeed] = {
        name: {"name": name, "cpu_seconds": [], "seconds": [], "tokens": 0} for name in contestants
    }
    for _, (name, run) in in_turns(list(contestants.items()), repeats):
        cpu, clock = cpu_seconds(), time.perf_counter()
        found[name]["tokens"] = run()
        found[name]["cpu_seconds"].append(cpu_seconds() - cpu)
        found[name]["seconds"].append(time.perf_counter() - clock)
    return {
        "megabytes": sum(len(text.encode()) for text in table["text"]) / 1e6,
        "documents": len(table),
        "speeds": list(found.values()),
    }


if __name__ == "__main__":
    answer(tokenize_in_turns)
