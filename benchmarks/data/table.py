"""From documents to batches, measured: samples, the index, word pieces, a very large corpus, and balance.

Everything is made from one corpus in one run; large temporary files are removed at the end.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from benchmarks.child import run_alone
from benchmarks.data.balance import measure_balance
from benchmarks.data.index import measure_building, measure_first_step
from benchmarks.data.labels import measure_labels
from benchmarks.data.page import data_page
from benchmarks.data.records import DataResult, DocumentsBalance, Tokenizing
from benchmarks.data.samples import measure_samples, pack_all
from benchmarks.data.stores import require_space, write_abstracts, write_repeated, write_simulated
from benchmarks.result import conditions, write_result
from biobert_scale.config import DataConfig
from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.data.pairs import MAX_SAMPLE_TOKENS
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest
from biobert_scale.ranges import within
from biobert_scale.tokens.shards import TokenStore
from biobert_scale.tokens.vocabulary import STAGE as VOCABULARY_STAGE

_LIBRARIES = (
    "numpy",
    "numba",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "pyarrow",
    "sentencex",
    "scikit-learn",
)
_BALANCE_STEPS = 500
_FEWEST_DOCUMENTS, _FEWEST_SEQUENCES = 100, 100
_BYTES_A_TOKEN, _BYTES_A_SAMPLE = 6, 16


@within(
    repeats="[1, 1000]",
    max_seq_length=f"[64, {MAX_SAMPLE_TOKENS}]",
    turn_seconds="(0, 1e6]",
    index_million_tokens="(0, 1e6]",
    scale_million_samples="[1e-6, 1e6]",
)
def data(
    *,
    corpus: Path,
    vocabulary: Path,
    output: Path,
    repeats: int = 5,
    max_seq_length: int = 512,
    turn_seconds: float = 1,
    index_million_tokens: float = 150,
    scale_million_samples: float = 150,
) -> None:
    """Measure the way from documents to batches, beside transformers, datasets and plain Python.

    Writes dated JSON and Markdown.

    Args:
        corpus: a finished corpus; tens of MB of text are enough, and are held in memory as lists for the
            peer in plain Python.
        vocabulary: a finished vocabulary.
        output: directory of the results.
        repeats: turns of each contestant.
        max_seq_length: samples of this many tokens are measured, and of a quarter of it.
        turn_seconds: CPU time of one turn in making samples, in seconds.
        index_million_tokens: size of the repeated corpus whose index is built, in millions.
        scale_million_samples: samples of the large index that a fresh process opens, in millions (16 MB of
            temporary files each).
    """
    for directory, stage in ((corpus, CORPUS_STAGE), (vocabulary, VOCABULARY_STAGE)):
        read_manifest(directory, stage)
    text_bytes = sum(path.stat().st_size for path in corpus.glob("*.parquet"))
    require_space(
        8 * text_bytes
        + 1e6 * max(index_million_tokens * _BYTES_A_TOKEN, scale_million_samples * _BYTES_A_SAMPLE + 500)
    )
    load = os.getloadavg()[0]
    config, short = DataConfig(max_seq_length=max_seq_length), DataConfig(max_seq_length=max_seq_length // 4)
    with tempfile.TemporaryDirectory(prefix="biobert-scale-") as temporary:
        scratch = Path(temporary)
        inputs = {"corpus": str(corpus.resolve()), "vocabulary": str(vocabulary.resolve())}
        tokenizing: Tokenizing = run_alone(
            "benchmarks.data.tokenizing", {**inputs, "scratch": temporary, "repeats": repeats}
        )
        tokens = scratch / "tokens"
        store = TokenStore.open(tokens / "train")
        if store.documents < _FEWEST_DOCUMENTS or store.tokens < _FEWEST_SEQUENCES * max_seq_length:
            raise UserError(
                f"{store.documents:,} documents and {store.tokens:,} tokens are too few to measure with",
                where=corpus,
                remedy="name a larger corpus",
            )
        entries = read_manifest(vocabulary, VOCABULARY_STAGE).counts["entries"]
        speeds = [
            measure_samples(
                store,
                tokens / "tokenizer",
                max_seq_length=one.max_seq_length,
                repeats=repeats,
                seconds=turn_seconds,
            )
            for one in (config, short)
        ]
        are_abstracts = write_abstracts(tokens, scratch / "abstracts", fewest=_FEWEST_DOCUMENTS)
        abstracts = TokenStore.open(scratch / "abstracts")
        labels = [
            row for one in (config, short) for row in measure_labels(store, entries, one, documents="all")
        ]
        if are_abstracts:
            labels += measure_labels(abstracts, entries, config, documents="abstracts")
        balance: DocumentsBalance = {
            "documents": "abstracts" if are_abstracts else "all",
            **measure_balance(pack_all(abstracts, config), steps=_BALANCE_STEPS),
        }
        write_repeated(tokens, scratch / "repeated", round(index_million_tokens * 1e6))
        index = measure_building(scratch / "repeated", scratch, config, repeats=repeats)
        shutil.rmtree(scratch / "repeated")
        large = write_simulated(
            tokens, scratch / "simulated", scratch / "samples", config, round(scale_million_samples * 1e6)
        )
        first_step = measure_first_step(scratch / "simulated", scratch / "samples", config, repeats=repeats)
        result: DataResult = {
            **conditions(
                f"data --corpus DIR --vocabulary DIR --repeats {repeats} --max-seq-length {max_seq_length}"
                f" --turn-seconds {turn_seconds:g} --index-million-tokens {index_million_tokens:g}"
                f" --scale-million-samples {scale_million_samples:g}",
                _LIBRARIES,
            ),
            "load_before": load,
            "corpus": {
                "documents": store.documents,
                "sentences": store.sentences,
                "tokens": store.tokens,
                "vocabulary": entries,
            },
            "samples": speeds,
            "labels": labels,
            "index": index,
            "tokenizing": tokenizing,
            "large": {**large, "first_step": first_step},
            "balance": balance,
        }
    page = data_page(result)
    write_result(output, f"data-{result['date']}", result, page)
    print(page)
