"""A rank that saves in a process of its own, and is killed meanwhile.

`python apart.py DIRECTORY`: the writer waits for the file `go` in the directory before it writes; `writing`
is made once it is at work. With CRASH in the environment the process of its own
is lost, before or after its work, or cannot be made. RANKS has it wait for the parts of others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from biobert_scale.training.checkpoint import writer as snapshot
from biobert_scale.training.checkpoint.outliving import write_apart
from biobert_scale.training.checkpoint.tensor_files import write_shard
from biobert_scale.training.checkpoint.writer import ShardWriter

HERE = Path(sys.argv[1])
RANK = os.getpid()


def slow(path: Path, tensors: Any) -> Any:
    if os.environ.get("CRASH") == "killed" and os.getpid() != RANK:
        os.kill(os.getpid(), signal.SIGKILL)
    (HERE / "writing").touch()
    while not (HERE / "go").exists():
        time.sleep(0.01)
    return write_shard(path, tensors)


def commit(files: dict[str, Any]) -> None:
    os.rename(HERE / "checkpoints" / ".step-00000007.part", HERE / "checkpoints" / "step-00000007")
    (HERE / "committed").write_text(f"{len(files)} {os.getpid() == RANK}")
    if os.environ.get("CRASH") == "killed after its work":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    snapshot.write_shard = slow
    staging = HERE / "checkpoints" / ".step-00000007.part"
    staging.mkdir(parents=True)
    tensors = {"weight/a@0": torch.arange(100_000.0)}
    ranks = int(os.environ.get("RANKS", "1"))
    writer = ShardWriter(staging, tensors, rank=0, ranks=ranks, patience=60, commit=commit)
    if os.environ.get("CRASH") == "no memory":
        os.fork = lambda: os.stat("/nowhere")  # type: ignore[assignment,return-value]
    write_apart(writer)
    print("trouble", writer.trouble)
