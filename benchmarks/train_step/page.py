"""The training step benchmark's result as Markdown."""

from __future__ import annotations

import statistics

from benchmarks.result import heading, spread
from benchmarks.train_step.records import TrainStepResult


def train_step_page(result: TrainStepResult) -> str:
    """Render what `train_step` measured; medians of the turns, with the slowest and the fastest beside
    them."""
    layers, hidden, intermediate, vocabulary = result["model"]
    medians = {name: statistics.median(seconds) for name, seconds in result["seconds"].items()}
    ablation = result["kind"] == "ablation"
    compared = next(iter(medians.values())) if ablation else max(medians.values())
    lines = [
        *heading(
            f"{'One setting of compute after another' if ablation else 'Training steps'}, {result['name']}",
            result,
            f"device: {result['machine']['device']}",
        ),
        (
            f"- Model: BERT of {layers} layers, hidden {hidden}, intermediate {intermediate}, {vocabulary:,}"
            f" entries; {result['dtype']}"
        ),
        (
            f"- A turn: {result['steps']} steps of {result['global_batch_size']} sequences in micro-batches"
            f" of {result['micro_batch_size']}; {result['tokens']:,} real tokens, {result['mean_length']:.0f}"
            f" a sequence of at most {result['max_seq_length']}, {result['predictions']:,} predictions"
        ),
        "",
        (
            f"| | sequences/s | real tokens/s | times {'as shipped' if ablation else 'the slowest'} | of the"
            " device's peak | peak memory, GB |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, seconds in result["seconds"].items():
        rates = [result["sequences"] / taken for taken in seconds]
        share = result["flops"] / medians[name] / result["peak"]
        memory = result["peak_memory_bytes"][name] / 1e9
        lines.append(
            f"| {name} | {spread(rates, 2)} | {result['tokens'] / medians[name]:,.0f} |"
            f" {compared / medians[name]:.2f} | {share:.0%} | {memory:.1f} |"
        )
    lines += [f"| {name} | {why} | | | | |" for name, why in result["failed"].items()]
    lines += [
        "",
        (
            "The device's peak is a matrix product measured here (CPU), or its data sheet's figure; the FLOPs"
            " are those that the real tokens and predictions need,"
        ),
        (
            "the same for every row. Memory is that of a step: on a GPU of its tensors, on a CPU of the"
            " process, libraries included."
        ),
    ]
    if ablation:
        lines += [
            "The last layer runs on all positions where rows are padded or the MLM head does so: those two"
            " rows, and the last, include that one."
        ]
    else:
        lines += [
            "(a) and (b) take a step's sequences in random order and pad each micro-batch to its longest, (c)"
            " to the full length, for which it is compiled once."
        ]
        lines += ["All have the fused AdamW."] * (result["dtype"] != "fp16")
    if result["profile"]:
        lines += [
            "",
            "Where this project's step spends its time, as torch's profiler has it:",
            "",
            "| operation | share | times |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{row['name']}` | {row['share']:.1%} | {row['count']:,} |"
            for row in result["profile"]
            if row["share"] >= 0.01
        ]
    return "\n".join(lines) + "\n"
