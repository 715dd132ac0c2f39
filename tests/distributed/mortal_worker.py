"""One rank of a run that kills itself with SIGKILL at given points: inside steps, and inside saves.

The environment's DEATHS names a JSON file with a list of deaths, one for each start of the run (its place is
the elastic agent's count of restarts): the point, the global step at hand, and the rank (-1 for every one).
An empty entry lives.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from biobert_scale.cli import main
from biobert_scale.training import trainer
from biobert_scale.training.checkpoint import checkpoints as checkpoint
from biobert_scale.training.checkpoint import commit as committing
from biobert_scale.training.checkpoint import retention
from biobert_scale.training.checkpoint import writer as snapshot
from biobert_scale.training.trainer import Trainer


def planned() -> dict[str, Any]:
    deaths = json.loads(Path(os.environ["DEATHS"]).read_text())
    count = int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)
    return deaths[count] if count < len(deaths) else {}


DEATH = planned()
STEP = [0]


def tell(*what: Any) -> None:
    """Append a line to the list of what happened, in one piece: the ranks' standard errors mix."""
    with open(Path(os.environ["DEATHS"]).with_suffix(".log"), "ab", buffering=0) as log:
        log.write(
            (json.dumps([int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0), *what]) + "\n").encode()
        )


def at(point: str, process: int = 0) -> None:
    """Die here, if that is the plan; or another process does."""
    if (
        DEATH
        and DEATH["point"] == point
        and STEP[0] >= DEATH["step"]
        and DEATH["rank"] in (-1, int(os.environ.get("RANK", "0")))
    ):
        print(f"killed {point} at step {STEP[0]}", file=sys.stderr, flush=True)
        tell("killed", point, STEP[0])
        os.kill(process or os.getpid(), signal.SIGKILL)


def train_step(trainer: Trainer, *arguments: Any) -> Any:
    if not STEP[0]:
        tell("started", "", trainer.state.global_step)
    STEP[0] = trainer.state.global_step + 1
    at("before the step")
    return original_step(trainer, *arguments)


def build_engine(*arguments: Any) -> Any:
    engine = original_engine(*arguments)
    backward, micro_step, is_last = engine.backward, engine.micro_step, [False]

    def watched_micro_step(*, last: bool) -> Any:
        is_last[0] = last
        return micro_step(last=last)

    def watched_backward(loss: Any) -> None:
        backward(loss)
        at("after the backward pass" if is_last[0] else "between two micro-batches")

    engine.backward, engine.micro_step = watched_backward, watched_micro_step  # type: ignore[method-assign]
    return engine


def on_host(*arguments: Any, **options: Any) -> Any:
    at("before the copy")
    return original_on_host(*arguments, **options)


def write_shard(path: Path, tensors: Any) -> Any:
    if DEATH and DEATH["point"] == "half a file":
        original_write(path, tensors)
        os.truncate(path, path.stat().st_size // 2)
        at("half a file")
    told = original_write(path, tensors)
    at("file without its note")
    return told


def commit(staging: Path, final: Path, record: Any) -> None:
    at("before the manifest")
    original_commit(staging, final, record)
    at("before pruning")


def rename(source: Any, target: Any) -> None:
    if str(source).endswith(".part"):
        at("before the name")
    original_rename(source, target)


def remove(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink(missing_ok=True)
    at("half pruned")
    original_remove(checkpoint)


original_step, original_engine, original_on_host = (
    Trainer.train_step,
    trainer.build_engine,
    checkpoint.on_host,
)
original_write, original_commit, original_remove = snapshot.write_shard, committing.commit, retention.remove
original_rename, os.rename = os.rename, rename  # type: ignore[assignment]
Trainer.train_step, trainer.build_engine, checkpoint.on_host = train_step, build_engine, on_host  # type: ignore[method-assign,assignment]
snapshot.write_shard, committing.commit = write_shard, commit
committing.remove = checkpoint.remove = remove

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
