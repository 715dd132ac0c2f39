"""The data benchmark's result as Markdown."""

from __future__ import annotations

import statistics

from benchmarks.data.records import (
    DataResult,
    DocumentsBalance,
    IndexBuilding,
    LabelTree,
    LargeIndex,
    Ratio,
    SampleRace,
    Tokenizing,
)
from benchmarks.data.samples import (
    COLLATOR,
    COLLATOR_WHOLE_WORDS,
    EQUAL,
    EQUAL_WHOLE_WORDS,
    PEER_BATCH_SIZE,
    PYTHON,
)
from benchmarks.result import heading, spread

_COMPARED_WITH = {COLLATOR: EQUAL, COLLATOR_WHOLE_WORDS: EQUAL_WHOLE_WORDS, PYTHON: EQUAL}


def data_page(result: DataResult) -> str:
    """Render what `data` measured; medians, with the least and the most of all turns beside them."""
    corpus = result["corpus"]
    lines = [
        *heading(
            "From documents to batches", result, f"load before, of other work: {result['load_before']:.1f}"
        ),
        (
            f"- Corpus: {corpus['documents']:,} documents, {corpus['sentences']:,} sentences,"
            f" {corpus['tokens']:,} tokens; a vocabulary of {corpus['vocabulary']:,} entries"
        ),
        (
            "- Medians of the turns (least to most). Speeds of a core are by its CPU time; where it says so,"
            " by the clock"
        ),
    ]
    for race in result["samples"]:
        lines += ["", *_samples(race)]
    for section in (
        _labels(result["labels"]),
        _index(result["index"]),
        _tokenizing(result["tokenizing"]),
        _large(result["large"]),
        _balance(result["balance"]),
    ):
        lines += ["", *section]
    return "\n".join(lines) + "\n"


def _samples(race: SampleRace) -> list[str]:
    medians = {speed.name: statistics.median(speed.sequences_per_cpu_second) for speed in race["speeds"]}
    tokens = {speed.name: speed.tokens_per_sequence for speed in race["speeds"]}
    lines = [
        f"## Masked sequences of at most {race['max_seq_length']} tokens",
        "",
        (
            f'{race["samples"]:,} samples. The peers make batches of {PEER_BATCH_SIZE}; "times" is this'
            " loader with the same batches over the peer, in sequences (in tokens)."
        ),
        "",
        (
            "| | sequences/s a core | tokens/s a core | times | by the clock, sequences/s | tokens a sequence"
            " | predictions a sequence | NSP pairs |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for speed in race["speeds"]:
        name, times = speed.name, ""
        if (ours := _COMPARED_WITH.get(name)) is not None:
            ratio = medians[ours] / medians[name]
            times = f"{ratio:.1f} ({ratio * tokens[ours] / tokens[name]:.1f})"
        lines.append(
            f"| {name} | {spread(speed.sequences_per_cpu_second, 0)} | {medians[name] * tokens[name]:,.0f}"
            f" | {times} | {spread(speed.sequences_per_second, 0)} | {tokens[name]:.0f} |"
            f" {speed.predictions_per_sequence:.1f} | {'yes' if speed.pairs else 'no'} |"
        )
    return lines


def _labels(rows: list[LabelTree]) -> list[str]:
    return [
        "## What the lengths of A and B say of the NSP label",
        "",
        (
            "A decision tree sees the two lengths and their sum, nothing else: accuracy over five folds, with"
            " their standard deviation. A balanced accuracy of 0.5 is chance."
        ),
        "",
        "| longest | documents | pairs of | pairs | random next | accuracy | balanced accuracy |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['max_seq_length']} | {row['documents']} | {row['name']} | {row['pairs']:,} |"
            f" {row['random_share']:.3f} | {_folds(row['accuracy'])} | {_folds(row['balanced_accuracy'])} |"
            for row in rows
        ),
    ]


def _folds(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def _index(index: IndexBuilding) -> list[str]:
    lines = [
        "## Building the index of samples",
        "",
        (
            f"The real documents repeated: {index['tokens']:,} tokens in {index['shards']:,} shards,"
            f" {index['samples']:,} samples. The whole stage also makes a validation split,"
            f" {index['stage_tokens']:,} tokens in all."
        ),
        "",
        "| | seconds | million tokens/s |",
        "|---|---|---|",
        (
            f"| packing, one core's CPU time | {spread(index['packing_cpu_seconds'])} |"
            f" {spread([index['tokens'] / 1e6 / taken for taken in index['packing_cpu_seconds']])} |"
        ),
    ]
    for workers, seconds in index["stage_seconds"].items():
        lines.append(
            f"| the whole stage, {workers} worker(s), by the clock | {spread(seconds)} |"
            f" {spread([index['stage_tokens'] / 1e6 / taken for taken in seconds])} |"
        )
    return lines


def _tokenizing(tokenizing: Tokenizing) -> list[str]:
    slowest = max(statistics.median(speed["cpu_seconds"]) for speed in tokenizing["speeds"])
    lines = [
        "## Text to word pieces on one core",
        "",
        (
            f"{tokenizing['documents']:,} documents, {tokenizing['megabytes']:.1f} MB of text. This stage"
            " also finds the sentences and writes the splits; `datasets.map` makes the pieces of whole"
            " documents from a table prepared beforehand."
        ),
        "",
        "| | MB/s | by the clock, MB/s | times the slowest | tokens |",
        "|---|---|---|---|---|",
    ]
    for speed in tokenizing["speeds"]:
        by_cpu, by_clock = (
            [tokenizing["megabytes"] / taken for taken in speed[name]] for name in ("cpu_seconds", "seconds")
        )
        lines.append(
            f"| {speed['name']} | {spread(by_cpu)} | {spread(by_clock)} |"
            f" {slowest / statistics.median(speed['cpu_seconds']):.2f} | {speed['tokens']:,} |"
        )
    return lines


def _large(large: LargeIndex) -> list[str]:
    return [
        "## A very large corpus: a fresh process draws a step",
        "",
        (
            f"An index of {large['samples']:,} samples ({large['index_bytes'] / 1e9:.2f} GB) over"
            f" {large['tokens']:,} tokens in {large['shards']:,} shards: one shard of real documents, mapped"
            " many times. Both were in the file cache; compiled code was cached on disk. Private memory is"
            " what no file backs."
        ),
        "",
        (
            "| | start and imports, s | opening, s | drawing, s | all, s | private MB before | private MB"
            " after | sequences |"
        ),
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| step {row['step']:,}, rank {row['rank']} of {row['world_size']} | {row['import_seconds']:.2f}"
            f" | {row['open_seconds']:.2f} | {row['draw_seconds']:.2f} |"
            f" {row['import_seconds'] + row['open_seconds'] + row['draw_seconds']:.2f} |"
            f" {row['private_megabytes_before']:.0f} | {row['private_megabytes_after']:.0f} |"
            f" {row['sequences']} |"
            for row in large["first_step"]
        ),
    ]


def _balance(balance: DocumentsBalance) -> list[str]:
    documents = "abstracts" if balance["documents"] == "abstracts" else "all documents"

    def ratio(of: Ratio) -> str:
        return f"{of['mean']:.3f} ({of['worst']:.3f})"

    return [
        "## Balance over 16 ranks, 8 micro-steps of 2 sequences",
        "",
        (
            f"{balance['steps']} steps of samples from {documents} ({balance['samples']:,} samples,"
            f" {balance['mean_length']:.0f} tokens on average)."
        ),
        (
            "Tokens, fullest over mean; mean of the steps (worst). A step waits for its fullest micro-batch"
            " each time: the last column is what that costs over perfect balance."
        ),
        "",
        "| | micro-batches of a micro-step | ranks' totals | the step |",
        "|---|---|---|---|",
        *(
            f"| {way} | {ratio(of['micro_batch'])} | {ratio(of['rank'])} | {ratio(of['step'])} |"
            for way, of in balance["ways"].items()
        ),
    ]
