"""A mortal worker that also dies as it starts, and in the last save of a run that was asked to stop.

A death with `asked_at` has rank 0 ask for that save in this step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mortal_worker import DEATH, at

from biobert_scale.cli import main
from biobert_scale.lock import Lock
from biobert_scale.training import device
from biobert_scale.training.checkpoint import writer as snapshot
from biobert_scale.training.checkpoint.tensor_files import Shards
from biobert_scale.training.monitor import telemetry
from biobert_scale.training.trainer import Trainer

RANK = os.getpid()
FILLED = [0]


def enter(lock: Lock) -> Lock:
    training = lock.me.work == "train"  # and not the lock of the samples
    if training:
        at("before the lock")
    held = original_enter(lock)
    if training:
        at("behind the lock")
    return held


def fill(shards: Shards, fragment: Any) -> None:
    FILLED[0] += 1
    if FILLED[0] == 9:
        at("while loading")
    original_fill(shards, fragment)


def write_records(path: Path, content: str, **options: Any) -> None:
    if DEATH and DEATH["point"] == "half the records":
        path.with_name(f".{path.name}.{os.getpid()}.part").write_text(content[: len(content) // 2])
        at("half the records")
    original_records(path, content, **options)


def validate(trainer: Trainer) -> float:
    at("while validating")
    return original_validate(trainer)


def train_step(trainer: Trainer, *arguments: Any) -> Any:
    if trainer.accelerator.is_main_process and trainer.state.global_step + 1 == DEATH.get("asked_at"):
        os.kill(RANK, signal.SIGTERM)
    return mortal_step(trainer, *arguments)


def write_shard(path: Path, tensors: Any) -> Any:
    if os.getpid() != RANK:
        at("its writer")
        at("its rank, not its writer", RANK)
        at("both, before the part is written", RANK)
        at("both, before the part is written")
        if DEATH.get("point") == "its rank, not its writer":
            time.sleep(0.5)  # so that the next start comes too early
    return mortal_write(path, tensors)


def rename(source: Any, target: Any) -> None:
    if os.getpid() != RANK and str(source).endswith(".part"):
        at("its writer, before the name")
    mortal_rename(source, target)


original_enter, original_fill, original_records = Lock.__enter__, Shards.fill, telemetry.write_atomically
original_validate, mortal_step, mortal_write = Trainer.validate, Trainer.train_step, snapshot.write_shard
Lock.__enter__, Shards.fill = enter, fill  # type: ignore[method-assign,assignment]
telemetry.write_atomically = write_records  # type: ignore[assignment]
Trainer.validate, Trainer.train_step = validate, train_step  # type: ignore[method-assign,assignment]
snapshot.write_shard = write_shard
mortal_rename, os.rename = os.rename, rename  # type: ignore[assignment]
device._SECONDS = 0.01  # a third of a second at every start would be a minute of the test

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
