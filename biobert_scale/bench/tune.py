"""Which micro-batch, engine and switches take the most sequences a second on these devices: `bench train`.

The ranks are started once, and try one candidate after another: the micro-batch doubled until nothing is
gained or memory ends, then other engines, then the switches of `compute` whose worth depends on the device.
What has been measured is kept when a candidate brings the ranks down.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biobert_scale.bench.child import run_for
from biobert_scale.bench.engine import forget_engine, on_engine, reason_of, time_steps
from biobert_scale.config import Config
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import RunFailed
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.recipes import structure_config
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment, this_process

_STEP_SECONDS = 2.0
"""What a measured step should take: as many micro-steps as go into it, the recipe's number at most, so that
the optimizer has its true share."""
_WORTH = 1.03
"""Times as fast that a larger micro-batch must be for a still larger one to be tried."""
_ENGINES = ("ddp", "zero1", "zero2", "zero3")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to run the recipe."""

    micro_batch_size: int
    engine: str
    """`ddp`, or a file of `ds_configs/`."""
    changes: tuple[tuple[str, Any], ...] = ()
    """Of `compute`, from the recipe's."""

    def switched(self, config: Config, name: str, value: Any) -> Candidate:
        """With one more switch put so; named only where the recipe has it otherwise."""
        changes = {**dict(self.changes), name: value}
        return replace(
            self,
            changes=tuple(
                sorted((key, put) for key, put in changes.items() if put != getattr(config.compute, key))
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a candidate did; no speed where it could not be run."""

    candidate: Candidate
    sequences_per_second: float
    peak_memory_bytes: int
    failed: str = ""
    """Why it could not."""


def bench_train(config: Config, *, processes: int, seconds: float, lengths: str) -> str:
    """Try candidates for about so long, and tell the best as lines of a recipe.

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
        found = Path(scratch) / "trials.jsonl"
        job = Path(scratch) / "job.json"
        job.write_text(
            json.dumps(
                {"config": asdict(config), "seconds": seconds, "lengths": lengths, "found": str(found)}
            )
        )
        launcher = (
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            if processes > 1
            else []
        )
        log = Path(scratch) / "log"
        code = run_for(
            [sys.executable, *launcher, "-m", "biobert_scale.bench.tune", str(job)],
            seconds=1.5 * seconds + 60,
            log=log,
        )
        said = "a candidate took too long" if code is None else log.read_text()
        trials = (
            [_trial_of(json.loads(line)) for line in found.read_text().splitlines()] if found.exists() else []
        )
    if not any(trial.sequences_per_second for trial in trials):
        reason = next((trial.failed for trial in trials if trial.failed), _last_line(said))
        raise RunFailed(
            f"nothing could be measured ({reason})",
            where="bench train",
            remedy="try `train` itself with a micro-batch of 1",
        )
    page = tune_page(config, trials, processes=processes, note=note)
    return (
        page
        if code == 0
        else f"{page}\n\nThe search ended early: {_last_line(said)}. What it had not tried yet may be faster."
    )


def _last_line(said: str) -> str:
    return said.strip().splitlines()[-1] if said.strip() else "without a word"


def _computable(config: Config) -> tuple[Config, str]:
    """The recipe in a precision that this device does without emulation."""
    wanted = config.training.precision.dtype
    if torch.cuda.is_available():
        return config, ""
    dtype = (
        "bf16" if wanted != "fp32" and multiplies_natively(torch.empty(0, dtype=torch.bfloat16)) else "fp32"
    )
    if dtype == wanted:
        return config, ""
    precision = replace(config.training.precision, dtype=dtype)  # type: ignore[arg-type]
    return (
        replace(config, training=replace(config.training, precision=precision)),
        f"{wanted} is not for this CPU: measured in {dtype}",
    )


def _trial_of(record: dict[str, Any]) -> Trial:
    candidate = record["candidate"]
    return Trial(
        **{
            **record,
            "candidate": Candidate(
                **{**candidate, "changes": tuple((name, value) for name, value in candidate["changes"])}
            ),
        }
    )


@rank_environment()
def search(job: dict[str, Any]) -> None:
    """One rank's part: try what rank 0 chooses until it has nothing more to try."""
    config = structure_config(job["config"], where="bench train")
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
    # torch's own exchange, here and in `_try`: accelerate's would make a state anew between two engines, as
    # the last one's environment says.
    chosen = [candidate]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(chosen)
    return chosen[0]


def next_candidate(config: Config, trials: list[Trial], *, world_size: int) -> Candidate | None:
    """What to try after some trials: the micro-batch doubled while that is worth it, then the best one
    otherwise; None where nothing is left."""
    tried = {trial.candidate for trial in trials}
    best = max(trials, key=lambda trial: trial.sequences_per_second)
    last, previous = (
        trials[-1],
        [
            trial
            for trial in trials[:-1]
            if replace(trial.candidate, micro_batch_size=1)
            == replace(trials[-1].candidate, micro_batch_size=1)
        ],
    )
    larger = replace(last.candidate, micro_batch_size=2 * last.candidate.micro_batch_size)
    gained = not previous or last.sequences_per_second > _WORTH * previous[-1].sequences_per_second
    if (
        len({replace(trial.candidate, micro_batch_size=1) for trial in trials}) == 1
        and gained
        and config.training.global_batch_size % (larger.micro_batch_size * world_size) == 0
    ):
        return larger
    engines = [
        replace(best.candidate, engine=engine)
        for engine in _ENGINES
        if world_size > 1 or engine in ("ddp", "zero1")
    ]
    switches = [
        best.candidate.switched(config, name, value)
        for name, values in _switches().items()
        for value in values
    ]
    return next((other for other in (*switches[:1], *engines, *switches) if other not in tried), None)


def _switches() -> dict[str, tuple[Any, ...]]:
    """Names and values in `compute` whose worth depends on the device; the first is the most telling."""
    attention = ("auto", "flash-attn") if importlib.util.find_spec("flash_attn") else ("auto",)
    return {
        "compile": (True, False),
        "fused_qkv": (False, True),
        "head_rows": (0, 1024),
        "attention": attention,
    }


def _try(config: Config, candidate: Candidate, lengths: str, *, world_size: int, expected: float) -> Trial:
    at_once = candidate.micro_batch_size * world_size
    micro_steps = min(
        max(round(expected * _STEP_SECONDS / at_once), 2),
        max(config.training.global_batch_size // at_once, 1),
    )
    training = replace(
        config.training, micro_batch_size=candidate.micro_batch_size, global_batch_size=at_once * micro_steps
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
    told = [(seconds, memory, failed)]
    if torch.distributed.is_initialized():
        told *= world_size
        torch.distributed.all_gather_object(told, (seconds, memory, failed))
    slowest = max(seconds for seconds, *_ in told)
    failed = next((reason for *_, reason in told if reason), "")
    return Trial(
        candidate=candidate,
        sequences_per_second=training.global_batch_size / slowest,
        peak_memory_bytes=max(memory for _, memory, _ in told),
        failed=failed,
    )


def tune_page(config: Config, trials: list[Trial], *, processes: int, note: str = "") -> str:
    """The table of trials, and the best one as lines of a recipe."""
    best = max(trials, key=lambda trial: trial.sequences_per_second)
    lines = [
        f"{config.name}, {config.training.precision.dtype}, {processes} process(es)"
        + (f"; {note}" if note else ""),
        "",
    ]
    lines += [
        "| micro-batch | engine | compute | sequences/s | of the best | peak memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    for trial in trials:
        rate, candidate = trial.sequences_per_second, trial.candidate
        told = (
            f"{rate:.2f} | {rate / best.sequences_per_second:.0%} | {trial.peak_memory_bytes / 1e9:.1f}"
            if rate
            else f"{trial.failed} | |"
        )
        lines.append(
            f"| {candidate.micro_batch_size} | {candidate.engine} |"
            f" {', '.join(_toml(change) for change in candidate.changes) or 'as it is'} | {told} |"
        )
    lines += [
        "",
        "For the recipe:",
        "",
        "[training]",
        f"micro_batch_size = {best.candidate.micro_batch_size}",
        "",
        "[training.engine]",
    ]
    lines += (
        ['name = "ddp"']
        if best.candidate.engine == "ddp"
        else ['name = "deepspeed"', f'deepspeed_config = "{best.candidate.engine}"']
    )
    if best.candidate.changes:
        lines += ["", "[compute]", *map(_toml, best.candidate.changes)]
    return "\n".join(lines)


def _toml(change: tuple[str, Any]) -> str:
    return f"{change[0]} = {json.dumps(change[1])}"


if __name__ == "__main__":
    search(json.loads(Path(sys.argv[1]).read_text()))
