"""What ranks cost each other: `bench scaling` runs the same step on 1, 2, 4, ... ranks under every engine,
and counts what is sent.

Ranks share this machine's cores or have a GPU each; with more ranks than cores the step gets slower by what
starting, waiting and talking cost, which is what the table then shows. The global batch is the same
everywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from biobert_scale.bench.collectives import Sent, count_collectives
from biobert_scale.bench.engine import forget_engine, on_engine, time_steps
from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.page import spread
from biobert_scale.bench.results import recipe_argument, write_result
from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import RunFailed
from biobert_scale.files import write_json
from biobert_scale.recipes import structure_config
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment

ENGINES = ("ddp", "zero0", "zero1", "zero2", "zero3")
_LIBRARIES = ("torch", "deepspeed", "accelerate", "transformers")
_WARM_UP = 1


def bench_scaling(config: Config, output: Path, *, ranks: tuple[int, ...], steps: int) -> str:
    """Measure, and write `scaling-DATE.json` and `.md`.

    Args:
        config: a recipe; its global batch must divide over all numbers of ranks.
        ranks: numbers of ranks to try.
        steps: counted optimizer steps of each engine.

    Returns:
        The page.

    Raises:
        UserError: the batch does not divide.
        RunFailed: some ranks failed.
    """
    for count in ranks:
        gradient_accumulation_steps(config.training, count)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in ranks:
            job, answer = Path(scratch) / "job.json", Path(scratch) / f"{count}.json"
            write_json(job, {"config": asdict(config), "steps": steps, "answer": str(answer)})
            threads = ["env", "OMP_NUM_THREADS=1"] if not torch.cuda.is_available() else []
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
            done = subprocess.run(
                [*threads, sys.executable, *launcher, "-m", "biobert_scale.bench.scaling", str(job)],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RunFailed(
                    f"{count} ranks failed ({done.stderr.strip().splitlines()[-1]})",
                    where="bench scaling",
                    remedy="see `biobert-scale doctor`",
                )
            found[str(count)] = json.loads(answer.read_text())
    result = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(_LIBRARIES),
        "name": config.name,
        "dtype": config.training.precision.dtype,
        "global_batch_size": config.training.global_batch_size,
        "micro_batch_size": config.training.micro_batch_size,
        "steps": steps,
        "ranks": found,
        "command": (
            f"biobert-scale bench scaling --config {recipe_argument(config)} --ranks"
            f" {' '.join(map(str, ranks))} --steps {steps}"
        ),
    }
    page = scaling_page(result)
    write_result(output, f"scaling-{result['date']}", result, page)
    return page


def scaling_page(result: dict[str, Any]) -> str:
    """Render what `bench_scaling` measured."""
    lines = [
        f"# Ranks and engines, {result['date']}",
        "",
        f"- Command: `{result['command']}`",
        (
            f"- Machine: {result['machine']['cpu']}, {result['machine']['cores']} cores,"
            f" {result['machine']['system']}; all ranks on it, one thread each on a CPU"
        ),
        f"- Versions: {', '.join(f'{name} {version}' for name, version in result['versions'].items())}",
        (
            f"- {result['name']}, {result['dtype']}: steps of {result['global_batch_size']} sequences in"
            f" micro-batches of {result['micro_batch_size']}, whatever the ranks"
        ),
        "",
        (
            "| ranks | engine | seconds a step | collectives' buffers, MB a step | sent by a rank (ring), MB"
            " a step |"
        ),
        "|---|---|---|---|---|",
    ]
    for count, engines in result["ranks"].items():
        for engine, told in engines.items():
            buffers = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in told["bytes"].items()) or "none"
            lines.append(
                f"| {count} | {engine} | {spread(told['seconds'], 2)} | {buffers} |"
                f" {told['ring_bytes'] / 1e6:,.1f} |"
            )
    lines += [
        "",
        (
            "DDP's own reducer calls no function of torch.distributed: its buffers are one all-reduce of the"
            " fp32 gradients, which is put in by hand."
        ),
    ]
    return "\n".join(lines) + "\n"


@rank_environment()
def _measure(job: dict[str, Any], sent: Sent) -> dict[str, Any]:
    """One rank's part."""
    config, found = structure_config(job["config"], where="bench scaling"), {}
    for engine in ENGINES:
        timed = time_steps(
            on_engine(config, engine),
            lengths="abstracts",
            steps=_WARM_UP + job["steps"],
            before_step=sent.clear,
        )
        forget_engine()
        if engine == "ddp" and timed.world_size > 1:
            sent.bytes["all_reduce"] += 4 * timed.parameters
        found[engine] = {
            "seconds": timed.seconds[_WARM_UP:],
            "bytes": dict(sent.bytes),
            "ring_bytes": sent.ring_bytes(timed.world_size),
        }
    runtime.leave()
    return found


def main(path: Path) -> None:
    """What the launcher starts."""
    sent, job = count_collectives(), json.loads(path.read_text())
    found = _measure(job, sent)
    if is_first_rank():
        write_json(Path(job["answer"]), found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
