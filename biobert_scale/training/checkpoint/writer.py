"""One rank's part in a checkpoint: tensors copied to the host, a file written by a thread, a note."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_json, write_json
from biobert_scale.training.checkpoint.manifest import FileRecord
from biobert_scale.training.checkpoint.tensor_files import shard_name, tensor_name, write_shard
from biobert_scale.training.engine.fragments import Fragment

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02


class Failure(NamedTuple):
    """An error, as one process reports it to another."""

    what: str
    remedy: str = ""
    """Empty for an error of no family of ours."""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        return cls(error.what, error.remedy) if isinstance(error, UserError) else cls(str(error))

    def error(self, where: Path) -> Exception:
        """The error again."""
        return RunFailed(self.what, where=where, remedy=self.remedy) if self.remedy else OSError(self.what)


class _Note(TypedDict, total=False):
    """What a rank has written, or its `Failure`."""

    file: str
    bytes: int
    sha256: str
    error: str
    remedy: str


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
        commit: Callable[[dict[str, FileRecord]], None] | None,
    ) -> None:
        """Make a thread; `start` or `run` it.

        Args:
            patience: seconds after which ranks that give no word are given up.
            commit: on the main process: what is to be done with the files' sizes and SHA-256, once every rank
                has written.
        """
        super().__init__(name="checkpoint writer", daemon=True)
        self.staging, self.tensors, self.rank, self.ranks = staging, tensors, rank, ranks
        self.patience, self.commit = patience, commit
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
            written = write_shard(self.staging / name, self.tensors)
            self._give_word({"file": name, "bytes": written["bytes"], "sha256": written["sha256"]})
        except Exception as error:
            failure = Failure.of(error)
            try:
                self._give_word({"error": failure.what, "remedy": failure.remedy})
            except OSError:  # not even that: the main process will find the note missing
                logger.error("rank %d could not write its part of %s: %s", self.rank, self.staging, error)
            raise

    def _give_word(self, note: _Note) -> None:
        write_json(note_path(self.staging, self.rank), note, durable=False)

    def _gather_notes(self) -> dict[str, FileRecord]:
        files: dict[str, FileRecord] = {}
        self.deadline = min(self.deadline, time.monotonic() + self.patience)
        for rank in range(self.ranks):
            while not (note := note_path(self.staging, rank)).exists():
                if time.monotonic() > self.deadline:
                    raise TimeoutError(f"rank {rank} has not written its part of {self.staging.name}")
                time.sleep(_POLL_SECONDS)
            part: _Note = read_json(note)
            if "error" in part:
                what = part["error"] if part["remedy"] else f"rank {rank}: {part['error']}"
                raise Failure(what, part["remedy"]).error(self.staging)
            files[part["file"]] = {"bytes": part["bytes"], "sha256": part["sha256"]}
        return files
