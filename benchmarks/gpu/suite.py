"""The GPU suite: every part in a process of its own and within its time, results kept as they come, a short
table at the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypedDict

from benchmarks.gpu.page import suite_page
from benchmarks.gpu.records import SuiteResult
from benchmarks.result import conditions
from biobert_scale.errors import UserError
from biobert_scale.files import read_json, write_atomically, write_json
from biobert_scale.ranges import within
from biobert_scale.tune.child import run_for

Part = Literal[
    "products",
    "parity",
    "sweep",
    "profile",
    "trainer_fp16",
    "peers",
    "trainer_bf16",
    "peers_compiled",
    "ablation",
]
PARTS: list[tuple[Part, str, dict[str, Any], float]] = [
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
"""Name, function of `parts`, its arguments, seconds at most; the most telling first."""
_LEAST_SECONDS = 15.0
_SECONDS = 510.0
"""Of the nine minutes, counted from the script's first line; what is left is for a last part that has to be
killed."""
_CPU_FACTOR = 6
"""A trial with the tiny model has this many times as long: a CPU spends it on starting processes and
compiling."""
_LIBRARIES = ("torch", "triton", "transformers", "accelerate", "deepspeed", "flash-attn")


class _Found(TypedDict):
    """What a part ended with: nothing, or the kind of trouble, and why."""

    measured: Any
    kind: Literal["", "cut_short", "failed"]
    trouble: str


@within(seconds="[0, 1e6]", begun="[0, 1e11]")
def gpu(
    *,
    output: Path,
    seconds: float = 0.0,
    begun: float = 0.0,
    tiny: bool = False,
    only: tuple[Part, ...] = (),
) -> int:
    """Measure all that needs a GPU, in nine minutes; see benchmarks/gpu/README.md.

    Writes dated JSON and Markdown. Exit code 1: a part failed, or parity is out of its bounds.

    Args:
        output: directory of the results.
        seconds: for the whole suite; 0 for 510, or 3060 with --tiny.
        begun: when the time began, seconds since the epoch; 0 for now.
        tiny: a small model, to try the suite itself, on a CPU as well.
        only: parts to run (default: all); they join the day's results that --output holds.
    """
    # What a part has started ends with the suite.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seconds = seconds or (_CPU_FACTOR * _SECONDS if tiny else _SECONDS)
    page, well = run_suite(output, seconds=seconds, tiny=tiny, only=only, begun=begun or None)
    print(page)
    return 0 if well else 1


def run_suite(
    output: Path, *, seconds: float, tiny: bool, only: tuple[Part, ...] = (), begun: float | None = None
) -> tuple[str, bool]:
    """Run the parts in order until the time is up, and write `gpu-DATE.json` and `gpu-DATE.md`.

    Args:
        seconds: for the whole suite; what does not fit is left out, and named.
        tiny: a small model.
        only: names of parts; empty for all. They are put into the day's results that `output` holds already.
        begun: when the time began, seconds since the epoch; None for now.

    Returns:
        The table, and whether all is well: parity was judged to its end and is within its bounds, and no part
            failed for anything but time.

    Raises:
        UserError: parts alone were asked for, and the day's other results come from another model, machine or
            version.
    """
    begun = time.time() if begun is None else begun
    path = output / f"gpu-{date.today().isoformat()}.json"
    result: SuiteResult = {
        **conditions(
            f"gpu --output DIR --seconds {seconds:.0f}"
            + " --tiny" * tiny
            + (f" --only {' '.join(only)}" if only else ""),
            _LIBRARIES,
        ),
        "tiny": tiny,
        "gpu": _gpu(),
        "commit": _commit(),
        "parts": {},
        "seconds": {},
        "cut_short": {},
        "left_out": {},
        "failed": {},
    }
    if only and path.exists():
        before: SuiteResult = read_json(path)
        same = ("tiny", "machine", "gpu", "versions", "commit")
        if other := [name for name in same if before.get(name) != result[name]]:  # type: ignore[literal-required]
            raise UserError(
                f"the day's results there have another {' and '.join(other)}",
                where=path,
                remedy="choose another --output, or measure all parts",
            )
        result = {**before, "command": result["command"]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for name, function, arguments, limit in PARTS:
            left = seconds - (time.time() - begun)
            if only and name not in only:
                continue
            for kind in (result["parts"], result["cut_short"], result["left_out"], result["failed"]):
                kind.pop(name, None)
            if left < _LEAST_SECONDS:
                result["left_out"][name] = "no time was left"
                continue
            started = time.monotonic()
            if function == "measure_trainer":
                arguments = {**arguments, "scratch": f"{scratch}/{name}"}
            limit = min(_CPU_FACTOR * limit if tiny else limit, left)
            found = _run_part(function, {**arguments, "tiny": tiny}, Path(scratch) / f"{name}.json", limit)
            result["seconds"][name] = time.monotonic() - started
            if found["measured"] is not None:
                result["parts"][name] = found["measured"]
            if found["kind"]:
                result[found["kind"]][name] = found["trouble"]
            print(
                f"{name}: {result['seconds'][name]:.0f} s"
                + (f", {found['trouble'].splitlines()[-1]}" if found["trouble"] else ""),
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


def _write(path: Path, result: SuiteResult) -> str:
    """After each part, so that nothing is lost where the whole is killed."""
    page = suite_page(result)
    write_json(path, result)
    write_atomically(path.with_suffix(".md"), page)
    return page


def _run_part(function: str, arguments: dict[str, Any], answer: Path, limit: float) -> _Found:
    """Run a part, and read what it reported."""
    command = [sys.executable, "-m", "benchmarks.gpu.parts", function, json.dumps(arguments), str(answer)]
    log = answer.with_suffix(".log")
    code = run_for(command, seconds=limit, log=log)
    measured = json.loads(answer.read_text()) if answer.exists() else None
    if code is None:
        return {"measured": measured, "kind": "cut_short", "trouble": f"cut short after {limit:.0f} s"}
    if code:
        trouble = log.read_text().strip()[-1500:] or f"ended with code {code}"
        return {"measured": measured, "kind": "failed", "trouble": trouble}
    return {"measured": measured, "kind": "", "trouble": ""}


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
