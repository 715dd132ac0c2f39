"""One rank's part in writing a checkpoint: its tensors copied to the host, its file written by a thread, its
word given in a note."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_json, write_json
from biobert_scale.training.checkpoint.tensor_files import shard_name, tensor_name, write_shard
from biobert_scale.training.engine.fragments import Fragment

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02


def note_path(staging: Path, rank: int) -> Path:
    """Where a rank notes what it has written, or why it could not."""
    return staging / f".rank-{rank:05d}.json"


def on_host(
    fragments: list[Fragment], *, copied: bool, buffers: dict[str, Tensor], forked: bool = False
) -> dict[str, Tensor]:
    """The fragments' tensors under their names on disk, in the host's memory.

    Args:
        copied: of tensors that are there already take copies, so that training may go on.
        buffers: copies of an earlier call that nobody reads any more. They are overwritten, and those of this
            call put there: getting so much memory anew takes longer than filling it.
        forked: for another process, which cannot read pinned memory.
    """
    tensors = {}
    for fragment in fragments:
        for kind, tensor in fragment.tensors.items():
            source, name = tensor.detach(), tensor_name(kind, fragment.name, fragment.start)
            on_device = source.device.type != "cpu"
            shared = not on_device and not copied and not (forked and source.is_pinned())
            if shared and source.is_contiguous():
                tensors[name] = source
                continue
            target = buffers.get(name)
            if target is None or target.shape != source.shape:
                target = torch.empty(source.shape, dtype=torch.float32, pin_memory=on_device and not forked)
            tensors[name] = buffers[name] = target.copy_(source, non_blocking=on_device)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tensors


class ShardWriter(threading.Thread):
    """Writes one rank's file, and on the main process then ends the transaction.

    `trouble` and `seconds` are set when the thread has ended. No collective is called here: the ranks meet in
    the file system.
    """

    def __init__(
        self,
        staging: Path,
        tensors: dict[str, Tensor],
        *,
        rank: int,
        ranks: int,
        patience: float,
        commit: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        """Make a thread; `start` or `run` it.

        Args:
            patience: seconds after which ranks that give no word are given up.
            commit: on the main process: what is to be done with the files' sizes and SHA-256, once every rank
                has written.
        """
        super().__init__(name="checkpoint writer", daemon=True)
        self.staging, self.tensors, self.rank, self.ranks, self.patience, self.commit = (
            staging,
            tensors,
            rank,
            ranks,
            patience,
            commit,
        )
        self.trouble: Exception | None = None
        self.seconds = 0.0
        self.deadline = math.inf

    def hurry(self, seconds: float) -> None:
        """Wait no longer than this for the others from now on."""
        self.deadline = time.monotonic() + seconds
        self.join()

    def run(self) -> None:
        """Write, give word, and commit."""
        begun = time.perf_counter()
        try:
            self._write()
            if self.commit is not None:
                self.commit(self._gather_notes())
        except Exception as error:
            self.trouble = error
        self.tensors = {}
        self.seconds = time.perf_counter() - begun

    def _write(self) -> None:
        name = shard_name(self.rank, self.ranks)
        try:
            size, digest = write_shard(self.staging / name, self.tensors)
            self._give_word({"file": name, "bytes": size, "sha256": digest})
        except Exception as error:
            try:
                note = {"error": str(error)}
                if isinstance(error, UserError):
                    note = {"error": error.what, "remedy": error.remedy}
                self._give_word(note)
            except OSError:  # not even that: the main process will find the note missing
                logger.error("rank %d could not write its part of %s: %s", self.rank, self.staging, error)
            raise

    def _give_word(self, note: dict[str, Any]) -> None:
        write_json(note_path(self.staging, self.rank), note, durable=False)

    def _gather_notes(self) -> dict[str, Any]:
        files = {}
        self.deadline = min(self.deadline, time.monotonic() + self.patience)
        for rank in range(self.ranks):
            while not (note := note_path(self.staging, rank)).exists():
                if time.monotonic() > self.deadline:
                    raise TimeoutError(f"rank {rank} has not written its part of {self.staging.name}")
                time.sleep(_POLL_SECONDS)
            part = read_json(note)
            if "remedy" in part:
                raise RunFailed(part["error"], where=self.staging, remedy=part["remedy"])
            if "error" in part:
                raise OSError(f"rank {rank}: {part['error']}")
            files[part["file"]] = {"bytes": part["bytes"], "sha256": part["sha256"]}
        return files
