"""What ranks cost each other: the same step on 1, 2, 4, ... ranks under every engine, and what is sent.

Ranks share this machine's cores or have a GPU each; with more ranks than cores the step gets slower by what
starting, waiting and communication cost, which is what the table then shows. The global batch is the same
everywhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import torch

from benchmarks.collectives import Sent, count_collectives
from benchmarks.result import Conditions, conditions, heading, recipe_argument, spread, write_result
from biobert_scale.config import gradient_accumulation_steps
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import RunFailed
from biobert_scale.files import write_json
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config, structure_config
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment
from biobert_scale.tune.timing import forget_engine, on_engine, time_steps

ENGINES = ("ddp", "zero0", "zero1", "zero2", "zero3")
_LIBRARIES = ("torch", "deepspeed", "accelerate", "transformers")
_WARM_UP = 1


class EngineCost(TypedDict):
    """An engine on a number of ranks, as rank 0 saw it."""

    seconds: list[float]
    """Of each step."""
    bytes: dict[str, int]
    """Buffers of the last step's collectives, by collective."""
    ring_bytes: float
    """What a rank sends in a step, by ring algorithms."""


class ScalingResult(Conditions):
    """All of it."""

    name: str
    dtype: str
    global_batch_size: int
    micro_batch_size: int
    steps: int
    ranks: dict[str, dict[str, EngineCost]]
    """By number of ranks and engine."""


class Job(TypedDict):
    """What the ranks are to do."""

    config: dict[str, Any]
    """The recipe."""
    steps: int
    answer: str
    """File for what rank 0 measured."""


@within(ranks="[1, 1024]", steps="[1, 1e6]")
def scaling(
    *, output: Path, config: str = "demo", ranks: tuple[int, ...] = (1, 2, 4), steps: int = 3
) -> None:
    """Measure the same step on more and more ranks under every engine: time, and bytes sent.

    On this machine; writes dated JSON and Markdown.

    Args:
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        ranks: numbers of ranks; the recipe's global batch must divide over each, in micro-batches.
        steps: optimizer steps that are counted, of each engine.
    """
    recipe = load_config(config)
    for number in ranks:
        gradient_accumulation_steps(recipe.training, number)
    found: dict[str, dict[str, EngineCost]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in ranks:
            path, answer = Path(scratch) / "job.json", Path(scratch) / f"{number}.json"
            job = Job(config=asdict(recipe), steps=steps, answer=str(answer))
            write_json(path, job)
            threads = ["env", "OMP_NUM_THREADS=1"] if not torch.cuda.is_available() else []
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
            done = subprocess.run(
                [*threads, sys.executable, *launcher, "-m", "benchmarks.scaling", str(path)],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RunFailed(
                    f"{number} ranks failed ({done.stderr.strip().splitlines()[-1]})",
                    where="scaling",
                    remedy="see `biobert-scale doctor`",
                )
            found[str(number)] = json.loads(answer.read_text())
    result: ScalingResult = {
        **conditions(
            f"scaling --config {recipe_argument(recipe)} --ranks {' '.join(map(str, ranks))} --steps {steps}",
            _LIBRARIES,
        ),
        "name": recipe.name,
        "dtype": recipe.training.precision.dtype,
        "global_batch_size": recipe.training.global_batch_size,
        "micro_batch_size": recipe.training.micro_batch_size,
        "steps": steps,
        "ranks": found,
    }
    page = scaling_page(result)
    write_result(output, f"scaling-{result['date']}", result, page)
    print(page)


def scaling_page(result: ScalingResult) -> str:
    """Render what `scaling` measured."""
    lines = [
        *heading("Ranks and engines", result, "all ranks on it, one thread each on a CPU"),
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
    for ranks, engines in result["ranks"].items():
        for engine, cost in engines.items():
            buffers = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in cost["bytes"].items()) or "none"
            lines.append(
                f"| {ranks} | {engine} | {spread(cost['seconds'], 2)} | {buffers} |"
                f" {cost['ring_bytes'] / 1e6:,.1f} |"
            )
    lines += [
        "",
        (
            "DDP's own reducer calls no function of torch.distributed: its buffers are one all-reduce of the"
            " fp32 gradients, which is added by hand."
        ),
    ]
    return "\n".join(lines) + "\n"


@rank_environment()
def _measure(job: Job, sent: Sent) -> dict[str, EngineCost]:
    """One rank's part."""
    config, found = structure_config(job["config"], where="scaling"), dict[str, EngineCost]()
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


def _rank(path: Path) -> None:
    """What the launcher starts."""
    sent, job = count_collectives(), json.loads(path.read_text())
    found = _measure(job, sent)
    if is_first_rank():
        write_json(Path(job["answer"]), found)


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
