"""The GPU suite: every part in a process of its own and within its time, results kept as they come, a short
table at the end."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from biobert_scale.bench import gpu_parts
from biobert_scale.bench.child import run_for
from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.gpu_page import suite_page
from biobert_scale.errors import UserError
from biobert_scale.files import write_atomically, write_json

PARTS: list[tuple[str, str, dict[str, Any], float]] = [
    ("products", "measure_products", {}, 40),
    ("parity", "measure_parity", {}, 90),
    ("sweep", "measure_sweep", {}, 170),
    ("profile", "measure_profile", {}, 60),
    ("trainer_fp16", "measure_trainer", {"dtype": "fp16"}, 110),
    ("peers", "measure_peers", {"contests": [["abstracts", "opab"], ["full", "opab"]]}, 130),
    ("trainer_bf16", "measure_trainer", {"dtype": "bf16", "compile": True}, 110),
    ("peers_compiled", "measure_peers", {"contests": [["abstracts", "oc"], ["full", "oc"]]}, 120),
    ("ablation", "measure_ablation", {}, 80),
]
"""Name, function of `gpu_parts`, its arguments, seconds at most; the most telling first."""
_LEAST_SECONDS = 15.0
_SECONDS = 510.0
"""Of the nine minutes, counted from the script's first line; what is left is for a last part that has to be
killed."""
_CPU_FACTOR = 6
"""A trial with the tiny model has this many times as long: a CPU spends it on starting processes and
compiling."""
_LIBRARIES = ("torch", "triton", "transformers", "accelerate", "deepspeed", "flash-attn")


def run_suite(
    output: Path, *, seconds: float, tiny: bool, only: tuple[str, ...] = (), begun: float | None = None
) -> tuple[str, bool]:
    """Run the parts in order until the time is up, and write `gpu-DATE.json` and `gpu-DATE.md`.

    Args:
        seconds: for the whole suite; what does not fit is left out, and said to be.
        tiny: a small model, to try the suite itself, on a CPU as well.
        only: names of parts; empty for all. They are put into the day's results that `output` holds already.
        begun: when the time began, seconds since the epoch; None for now.

    Returns:
        The table, and whether all is well: parity was judged to its end and is within its bounds, and no part
            failed for anything but time.

    Raises:
        UserError: parts alone were asked for, and the day's other results come from another model, machine or
            version.
    """
    begun, today = time.time() if begun is None else begun, date.today().isoformat()
    path = output / f"gpu-{today}.json"
    result: dict[str, Any] = {
        "date": today,
        "tiny": tiny,
        "parts": {},
        "seconds": {},
        "cut_short": {},
        "left_out": {},
        "failed": {},
    }
    conditions = {
        "tiny": tiny,
        "machine": machine(),
        "gpu": _gpu(),
        "versions": versions(_LIBRARIES),
        "commit": _commit(),
    }
    if only and path.exists():
        result = json.loads(path.read_text())
        if other := [name for name, value in conditions.items() if result.get(name) != value]:
            raise UserError(
                f"the day's results there have another {' and '.join(other)}",
                where=path,
                remedy="choose another --output, or measure all parts",
            )
    command = "benchmarks/gpu/run.sh OUTPUT" + " --tiny" * tiny + f" --seconds {seconds:.0f}"
    result |= {"command": command, **conditions}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for name, function, arguments, limit in PARTS:
            left = seconds - (time.time() - begun)
            if only and name not in only:
                continue
            for kind in ("parts", "cut_short", "left_out", "failed"):
                result[kind].pop(name, None)
            if left < _LEAST_SECONDS:
                result["left_out"][name] = "no time was left"
                continue
            started = time.monotonic()
            if function == "measure_trainer":
                arguments = {**arguments, "scratch": f"{scratch}/{name}"}
            limit = min(_CPU_FACTOR * limit if tiny else limit, left)
            found, kind, trouble = _run_part(
                function, {**arguments, "tiny": tiny}, Path(scratch) / f"{name}.json", limit
            )
            result["seconds"][name] = time.monotonic() - started
            if found is not None:
                result["parts"][name] = found
            if trouble:
                result[kind][name] = trouble
            print(
                f"{name}: {result['seconds'][name]:.0f}"
                f" s{', ' + trouble.splitlines()[-1] if trouble else ''}",
                flush=True,
            )
            _write(path, result)
    parity = (
        "parity" in result["parts"]
        and "parity" not in result["cut_short"]
        and not result["parts"]["parity"]["troubles"]
    )
    return _write(path, result), not result["failed"] and (
        parity or (bool(only) and "parity" not in {*only, *result["parts"]})
    )


def _write(path: Path, result: dict[str, Any]) -> str:
    """After each part, so that nothing is lost where the whole is killed."""
    page = suite_page(result)
    write_json(path, result)
    write_atomically(path.with_suffix(".md"), page)
    return page


def _run_part(function: str, arguments: dict[str, Any], answer: Path, limit: float) -> tuple[Any, str, str]:
    """What a part told of, and where it did not end well: `cut_short` or `failed`, and why."""
    command = [
        sys.executable,
        "-m",
        "biobert_scale.bench.gpu",
        "--part",
        function,
        "--arguments",
        json.dumps(arguments),
        "--output",
        str(answer),
    ]
    log = answer.with_suffix(".log")
    code, kind, trouble = run_for(command, seconds=limit, log=log), "", ""
    if code is None:
        kind, trouble = "cut_short", f"cut short after {limit:.0f} s"
    elif code:
        kind, trouble = "failed", log.read_text().strip()[-1500:] or f"ended with code {code}"
    return json.loads(answer.read_text()) if answer.exists() else None, kind, trouble


def _gpu() -> str:
    """Name, memory and driver of the GPUs, without a context on them; empty where there are none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return "; ".join(done.stdout.split("\n")[:-1]) if done.returncode == 0 else ""


def _commit() -> str:
    """The checkout's; empty for a plain copy."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return done.stdout.strip()


def main() -> int:
    """`python -m biobert_scale.bench.gpu --output DIR`; 1 where a part failed or parity is out of its
    bounds."""
    parser = argparse.ArgumentParser(prog="python -m biobert_scale.bench.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="directory of the results")
    parser.add_argument(
        "--seconds",
        type=float,
        default=None,
        help=f"for the whole suite (default: {_SECONDS:.0f}; tiny {_CPU_FACTOR * _SECONDS:.0f})",
    )
    parser.add_argument(
        "--begun",
        type=float,
        default=None,
        help="when the time began, seconds since the epoch (default: now)",
    )
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the suite itself")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        choices=[name for name, *_ in PARTS],
        help="parts to run (default: all)",
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # what a part has started ends with the suite
    if options.part:
        getattr(gpu_parts, options.part)(
            lambda found: write_json(options.output, found), **json.loads(options.arguments)
        )
        return 0
    seconds = options.seconds or (_CPU_FACTOR * _SECONDS if options.tiny else _SECONDS)
    try:
        page, well = run_suite(
            options.output, seconds=seconds, tiny=options.tiny, only=tuple(options.only), begun=options.begun
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
