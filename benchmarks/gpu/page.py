"""The GPU suite's short table."""

from __future__ import annotations

import statistics

from benchmarks.gpu.records import Parity, SuiteContest, SuiteResult, SweepRow, TrainerRun
from benchmarks.result import heading, spread
from biobert_scale.recipes import load_config


def suite_page(result: SuiteResult) -> str:
    """Render what the suite has found so far, and what it has not."""
    parts, recipe = result["parts"], load_config("biobert-large").training
    sequences = recipe.global_batch_size * recipe.schedule.total_steps
    lines = heading("GPU suite", result)
    if result["tiny"]:
        lines[0] += " (tiny model: a trial of the suite, no measurement)"
    if result["commit"]:
        lines[-1] += f"; commit {result['commit']}"
    rates = parts.get("products", {}).get("flops_per_second", {})
    if result["gpu"]:
        lines.append(f"- {result['gpu']}")
    if rates:
        lines.append(
            f"- {parts['products']['device']}; matrix products, sustained: "
            + ", ".join(f"{dtype} {rate / 1e12:,.1f} TFLOP/s" for dtype, rate in rates.items())
        )
    if "parity" in parts:
        lines += _parity_lines(parts["parity"])
    if "sweep" in parts:
        lines += ["", *_sweep_table(parts["sweep"]["rows"], rates, sequences)]
    for found in parts.get("profile", {}).get("profiles", []):
        lines += [
            "",
            f"- most of a step's time at {found['engine']}{', compiled' * found['compiled']}: "
            + ", ".join(f"{row['share']:.0%} `{row['name'][:40]}`" for row in found["kernels"][:6]),
        ]
    for name in ("peers", "peers_compiled", "ablation"):
        for contest in parts.get(name, {}).get("contests", []):
            lines += ["", *_contest_table(contest)]
    for name in ("trainer_fp16", "trainer_bf16"):
        if name in parts:
            lines += ["", _trainer_line(parts[name], sequences)]
    lines += [
        "",
        *(
            f"- {name}: {why.splitlines()[-1]}"
            for kind in (result["failed"], result["cut_short"], result["left_out"])
            for name, why in kind.items()
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _parity_lines(parity: Parity) -> list[str]:
    lines = [
        "- error of losses / gradients against plain fp32: "
        + ", ".join(
            f"{name} {error['loss']:.1e} / {error['gradient']:.1e}"
            for name, error in parity["errors"].items()
        )
    ]
    lines += [
        f"- {name}: {found['dropped']:.4f} dropped of {found['probability']}, error of values"
        f" {found['values']:.1e}, of gradients {found['gradient']:.1e}"
        for name, found in parity["dropout"].items()
    ]
    lines.append(f"- a changed neighbour changes a sequence's loss by {parity['leak']:.1e}")
    return (
        [*lines, *(f"- **out of its bounds**: {trouble}" for trouble in parity["troubles"])]
        if parity["troubles"]
        else [*lines, "- parity: all within bounds"]
    )


def _sweep_table(rows: list[SweepRow], rates: dict[str, float], recipe_sequences: int) -> list[str]:
    lines = [
        (
            "| a step of 256 | engine | micro-batch | sequences/s | real tokens/s | TFLOP/s | of the products"
            " | memory, GB | 150,000 steps, hours |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        filled = f", filled to {row['pad_to_multiple_of']}s" if row.get("pad_to_multiple_of") else ""
        name = (
            f"| {row['lengths']}{filled}, {row['dtype']} | {row['engine']}{', compiled' * row['compiled']} |"
            f" {row['micro_batch_size']} |"
        )
        if "failed" in row:
            lines.append(f"{name} {row['failed'].splitlines()[-1]} | | | | | |")
            continue
        seconds = statistics.median(row["seconds"])
        rate, flops = row["sequences"] / seconds, row["flops"] / seconds
        share = f"{flops / rates[row['dtype']]:.0%}" if row["dtype"] in rates else "-"
        measured = (
            f"{spread([row['sequences'] / each for each in row['seconds']], 1)} |"
            f" {row['tokens'] / seconds:,.0f} | {flops / 1e12:,.1f} | {share}"
        )
        lines.append(
            f"{name} {measured} | {row['memory_bytes'] / 1e9:.1f} | {recipe_sequences / rate / 3600:,.1f} |"
        )
    return lines


def _contest_table(part: SuiteContest) -> list[str]:
    medians = {name: statistics.median(seconds) for name, seconds in part["seconds"].items()}
    first = next(iter(medians.values()))
    lines = [
        (
            f"| {part['lengths']}, {part['dtype']}, micro-batch {part['micro_batch_size']} | sequences/s |"
            " real tokens/s | time | memory, GB |"
        ),
        "|---|---|---|---|---|",
    ]
    for name, seconds in part["seconds"].items():
        rates = spread([part["sequences"] / each for each in seconds], 1)
        lines.append(
            f"| {name} | {rates} | {part['tokens'] / medians[name]:,.0f} | {medians[name] / first:.2f} |"
            f" {part['peak_memory_bytes'][name] / 1e9:.1f} |"
        )
    return lines + [f"| {name} | {why} | | | |" for name, why in part["failed"].items()]


def _trainer_line(part: TrainerRun, recipe_sequences: int) -> str:
    scales = [scale for scale in part["loss_scales"] if scale]
    scaling = (
        f", loss scale {scales[0]:,.0f} to {scales[-1]:,.0f}, {part['skipped_steps']} steps skipped"
        if part["dtype"] == "fp16" and scales
        else ""
    )
    stalls, rate = (
        ", ".join(f"{stall:.2f}" for stall in part["checkpoint_stall_seconds"]),
        part["sequences_per_second"],
    )
    hours = recipe_sequences / rate / 3600
    return (
        f"- `train` in {part['dtype']}{', compiled' * part['compiled']}: {rate:,.1f} sequences/s"
        f" ({hours:,.1f} hours for 150,000 steps), data wait {part['data_wait_fraction']:.2%} of a"
        f" step{scaling}; stall of saves {stalls} s"
    )
