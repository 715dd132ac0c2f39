"""The search of `biobert-scale tune`.

The ranks are started once, and try one candidate after another: the micro-batch doubled until nothing is
gained or memory ends, then other engines, then the settings of `compute` whose worth depends on the device.
What has been measured is kept when a candidate brings the ranks down.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import cattrs
import torch
from rich.console import RenderableType

from biobert_scale import notices
from biobert_scale.config import Config
from biobert_scale.display import separated
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import RunFailed
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.recipes import structure_config
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment, this_process
from biobert_scale.tune.candidates import Candidate, Trial, next_candidate, tune_page
from biobert_scale.tune.child import run_for
from biobert_scale.tune.timing import forget_engine, on_engine, reason_of, time_steps

_STEP_SECONDS = 2.0
"""What a measured step should take: as many micro-steps as go into it, the recipe's number at most, so that
the optimizer has its true share."""


class Job(TypedDict):
    """What the ranks are to do."""

    config: dict[str, Any]
    """The recipe."""
    seconds: float
    lengths: str
    found: str
    """File for the trials, a line each."""


def tune(config: Config, *, processes: int, seconds: float, lengths: str) -> RenderableType:
    """Try candidates for about so long, and return the best one as lines of a recipe.

    Args:
        config: the recipe, whose model, lengths, precision and global batch are used.
        processes: ranks on this machine, one device each.
        lengths: of made-up samples, `full` or `abstracts`.

    Returns:
        A table and the lines.

    Raises:
        RunFailed: no candidate ran.
    """
    config, note = _computable(config)
    with tempfile.TemporaryDirectory() as scratch:
        found, log = Path(scratch) / "trials.jsonl", Path(scratch) / "log"
        job = Job(config=asdict(config), seconds=seconds, lengths=lengths, found=str(found))
        (Path(scratch) / "job.json").write_text(json.dumps(job))
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        code = run_for(
            [sys.executable, *(launcher if processes > 1 else []), "-m", __name__, f"{scratch}/job.json"],
            seconds=1.5 * seconds + 60,
            log=log,
        )
        output = "a candidate took too long" if code is None else log.read_text().strip()
        end = output.splitlines()[-1] if output else "no message"
        lines = found.read_text().splitlines() if found.exists() else []
        trials = [cattrs.structure(json.loads(line), Trial) for line in lines]
    if not any(trial.sequences_per_second for trial in trials):
        reason = next((trial.failed for trial in trials if trial.failed), end)
        raise RunFailed(
            f"nothing could be measured ({reason})",
            where="tune",
            remedy="try `train` itself with a micro-batch of 1",
        )
    page = tune_page(config, trials, processes=processes, note=note)
    early = f"The search ended early: {end}. What it did not try may be faster."
    return page if code == 0 else separated([page, early])


def _computable(config: Config) -> tuple[Config, str]:
    """The recipe in a precision that this device does without emulation."""
    wanted = config.training.precision.dtype
    native = wanted != "fp32" and multiplies_natively(torch.empty(0, dtype=torch.bfloat16))
    dtype: Literal["bf16", "fp32"] = "bf16" if native else "fp32"
    if torch.cuda.is_available() or dtype == wanted:
        return config, ""
    training = replace(config.training, precision=replace(config.training.precision, dtype=dtype))
    return replace(config, training=training), f"{wanted} is not for this CPU: measured in {dtype}"


@rank_environment()
def search(job: Job) -> None:
    """One rank's part: try what rank 0 chooses until it has nothing more to try."""
    config = structure_config(job["config"], where="tune")
    world_size = this_process().world_size
    first_rank, deadline = is_first_rank(), time.monotonic() + job["seconds"]
    first = config.training.engine.deepspeed_config if config.training.engine.name == "deepspeed" else "ddp"
    trials: list[Trial] = []
    candidate: Candidate | None = Candidate(micro_batch_size=1, engine=first)
    while candidate is not None:
        rate = max((trial.sequences_per_second for trial in trials), default=0.0)
        trial = _try(config, candidate, job["lengths"], world_size=world_size, expected=rate)
        trials.append(trial)
        if first_rank:
            with open(job["found"], "a") as out:
                out.write(json.dumps(asdict(trial)) + "\n")
        candidate = _agreed(
            next_candidate(config, trials, world_size=world_size) if time.monotonic() < deadline else None
        )
    runtime.leave()


def _agreed(candidate: Candidate | None) -> Candidate | None:
    # torch's own exchange, here and in `_try`: accelerate's would make a new state between two engines, from
    # the last one's environment.
    chosen = [candidate]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(chosen)
    return chosen[0]


def _try(config: Config, candidate: Candidate, lengths: str, *, world_size: int, expected: float) -> Trial:
    at_once = candidate.micro_batch_size * world_size
    micro_steps = min(
        max(round(expected * _STEP_SECONDS / at_once), 2),
        max(config.training.global_batch_size // at_once, 1),
    )
    training = replace(
        config.training,
        micro_batch_size=candidate.micro_batch_size,
        global_batch_size=at_once * micro_steps,
        batch_warmup_start=0,
        batch_warmup_steps=0,
        phases=(),
    )
    config = on_engine(
        replace(config, training=training, compute=replace(config.compute, **dict(candidate.changes))),
        candidate.engine,
    )
    seconds, memory, failed = float("inf"), 0, ""
    try:
        timed = time_steps(config, lengths=lengths, steps=3)
        seconds, memory = min(timed.seconds[1:]), timed.peak_memory_bytes
    except RuntimeError as error:
        failed = reason_of(error)
    forget_engine()
    measured = [(seconds, memory, failed)]
    if torch.distributed.is_initialized():
        measured *= world_size
        torch.distributed.all_gather_object(measured, (seconds, memory, failed))
    return Trial(
        candidate=candidate,
        sequences_per_second=training.global_batch_size / max(seconds for seconds, *_ in measured),
        peak_memory_bytes=max(memory for _, memory, _ in measured),
        failed=next((reason for *_, reason in measured if reason), ""),
    )


if __name__ == "__main__":
    notices.switch_off()
    search(json.loads(Path(sys.argv[1]).read_text()))
