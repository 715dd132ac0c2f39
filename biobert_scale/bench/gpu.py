"""The GPU suite: every part in a process of its own and within its time, results kept as they come, a short table at the end.

It needs this package's files, torch, transformers and accelerate; the parts that run `train` need the other dependencies, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from biobert_scale.bench import gpu_parts
from biobert_scale.files import write_atomically, write_json
from biobert_scale.recipes import load_config

PARTS: list[tuple[str, str, dict[str, Any], float]] = [
    ("products", "measure_products", {}, 40),
    ("parity", "measure_parity", {}, 100),
    ("sweep", "measure_sweep", {"seconds": 90}, 140),
    ("trainer_fp16", "measure_trainer", {"dtype": "fp16"}, 110),
    ("abstracts", "measure_peers", {"lengths": "abstracts", "letters": "oab"}, 60),
    ("full", "measure_peers", {"lengths": "full", "letters": "oab"}, 60),
    ("profile", "measure_profile", {"compile": False}, 40),
    ("profile_compiled", "measure_profile", {"compile": True}, 70),
    ("sweep_abstracts", "measure_sweep", {"lengths": "abstracts", "seconds": 40}, 80),
    ("trainer_bf16_compiled", "measure_trainer", {"dtype": "bf16", "compile": True}, 110),
    ("compiled_peers", "measure_peers", {"lengths": "abstracts", "letters": "pc"}, 120),
    ("sweep_fp16", "measure_sweep", {"dtype": "fp16", "seconds": 40}, 80),
]
"""Name, function of `gpu_parts`, its arguments, seconds at most; the most telling first."""
_LEAST_SECONDS = 15.0
_SECONDS = 520.0
_CPU_FACTOR = 6
"""A trial with the tiny model has this many times as long: a CPU spends it on starting processes and compiling."""


def run_suite(output: Path, *, seconds: float, tiny: bool, only: tuple[str, ...] = ()) -> str:
    """Run the parts in order until the time is up, and write `gpu-DATE.json` and `gpu-DATE.md`.

    Args:
        seconds: for the whole suite; what does not fit is left out, and said to be.
        tiny: a small model, to try the suite itself, on a CPU as well.
        only: names of parts; empty for all.

    Returns:
        The table.
    """
    begun = time.monotonic()
    result: dict[str, Any] = {"date": date.today().isoformat(), "tiny": tiny, "parts": {}, "seconds": {}, "left_out": {}}
    path = output / f"gpu-{result['date']}.json"
    with tempfile.TemporaryDirectory() as scratch:
        for name, function, arguments, limit in PARTS:
            left = seconds - (time.monotonic() - begun)
            if only and name not in only:
                continue
            if left < _LEAST_SECONDS:
                result["left_out"][name] = "no time was left"
                continue
            started = time.monotonic()
            if function == "measure_trainer":
                arguments = {**arguments, "scratch": f"{scratch}/{name}"}
            found, trouble = _run_part(function, {**arguments, "tiny": tiny}, Path(scratch) / f"{name}.json", min(_CPU_FACTOR * limit if tiny else limit, left))
            result["seconds"][name] = time.monotonic() - started
            if trouble:
                result["left_out"][name] = trouble
            else:
                result["parts"][name] = found
            print(f"{name}: {result['seconds'][name]:.0f} s{', ' + trouble.splitlines()[-1] if trouble else ''}", flush=True)
            write_json(path, result)
    page = suite_page(result)
    write_json(path, result)
    write_atomically(path.with_suffix(".md"), page)
    return page


def _run_part(function: str, arguments: dict[str, Any], answer: Path, limit: float) -> tuple[Any, str]:
    command = [sys.executable, "-m", "biobert_scale.bench.gpu", "--part", function, "--arguments", json.dumps(arguments), "--output", str(answer)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None, f"took more than {limit:.0f} s"
    if done.returncode:
        return None, done.stderr.strip()[-1500:] or f"ended with code {done.returncode}"
    return json.loads(answer.read_text()), ""


def suite_page(result: dict[str, Any]) -> str:
    """The short table."""
    parts, recipe = result["parts"], load_config("biobert-large")
    lines = [f"# GPU suite, {result['date']}" + (" (tiny model: a trial of the suite, no measurement)" if result["tiny"] else ""), ""]
    rates = parts.get("products", {}).get("flops_per_second", {})
    if rates:
        lines.append(f"- {parts['products']['device']}, torch {parts['products']['torch']}; matrix products: " + ", ".join(f"{dtype} {rate / 1e12:,.1f} TFLOP/s" for dtype, rate in rates.items()))
    if "parity" in parts:
        errors = parts["parity"]["errors"]
        lines.append("- error of losses / gradients against plain fp32: " + ", ".join(f"{name} {error['loss']:.1e} / {error['gradient']:.1e}" for name, error in errors.items()))
        lines.append(f"- a changed neighbour changes a sequence's loss by {parts['parity']['leak']:.1e}")
    for name in ("sweep", "sweep_abstracts", "sweep_fp16"):
        if name in parts:
            lines += ["", *_sweep_table(parts[name], rates, recipe.training.global_batch_size * recipe.training.schedule.total_steps)]
    for name in ("abstracts", "full", "compiled_peers"):
        if name in parts:
            lines += ["", *_peers_table(parts[name])]
    for name in ("trainer_fp16", "trainer_bf16_compiled"):
        if name in parts:
            lines += ["", _trainer_line(parts[name])]
    lines += ["", *(f"- left out: {name}: {why.splitlines()[-1]}" for name, why in result["left_out"].items())]
    return "\n".join(lines).rstrip() + "\n"


def _sweep_table(sweep: dict[str, Any], rates: dict[str, float], recipe_sequences: int) -> list[str]:
    lines = [f"| {sweep['lengths']}, {sweep['dtype']}, micro-batch | sequences/s | TFLOP/s | of the products | memory, GB | 150,000 steps, hours |", "|---|---|---|---|---|---|"]
    for row in sweep["rows"]:
        name = f"{row['micro_batch_size']}{', compiled' * row['compiled']}"
        if "out_of_memory" in row:
            lines.append(f"| {name} | out of memory | | | | |")
            continue
        rate, flops = row["sequences_per_second"], row["flops_per_second"]
        lines.append(f"| {name} | {rate:,.1f} | {flops / 1e12:,.2f} | {flops / rates[sweep['dtype']] if rates else 0:.0%} | {row['memory_bytes'] / 1e9:.1f} | {recipe_sequences / rate / 3600:,.1f} |")
    return lines


def _peers_table(part: dict[str, Any]) -> list[str]:
    lines = [f"| {part['lengths']}, {part['dtype']}, micro-batch {part['micro_batch_size']} | sequences/s | memory, GB |", "|---|---|---|"]
    for name, seconds in part["seconds"].items():
        lines.append(f"| {name} | {part['sequences'] / sorted(seconds)[len(seconds) // 2]:,.1f} | {part['peak_memory_bytes'][name] / 1e9:.1f} |")
    return lines


def _trainer_line(part: dict[str, Any]) -> str:
    if "failed" in part:
        return f"- `train` in {part['dtype']} failed: {part['failed'].strip().splitlines()[-1] if part['failed'].strip() else 'without a word'}"
    scales = [scale for scale in part["loss_scales"] if scale]
    scaling = f", loss scale {scales[0]:,.0f} to {scales[-1]:,.0f}, {part['skipped_steps']} steps skipped" if scales else ""
    stalls = ", ".join(f"{stall:.2f}" for stall in part["checkpoint_stall_seconds"])
    return f"- `train` in {part['dtype']}: {part['sequences_per_second']:,.1f} sequences/s, data wait {part['data_wait_fraction']:.2%} of a step{scaling}; stall of saves {stalls} s"


def main() -> None:
    """`python -m biobert_scale.bench.gpu --output DIR`."""
    parser = argparse.ArgumentParser(prog="python -m biobert_scale.bench.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument("--seconds", type=float, default=None, help=f"for the whole suite (default: {_SECONDS:.0f}; tiny {_CPU_FACTOR * _SECONDS:.0f})")
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the suite itself")
    parser.add_argument("--only", nargs="*", default=[], choices=[name for name, *_ in PARTS], help="parts to run (default: all)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        write_json(options.output, getattr(gpu_parts, options.part)(**json.loads(options.arguments)))
    else:
        print(run_suite(options.output, seconds=options.seconds or (_CPU_FACTOR * _SECONDS if options.tiny else _SECONDS), tiny=options.tiny, only=tuple(options.only)))


if __name__ == "__main__":
    main()
