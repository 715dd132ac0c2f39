"""The last save of a run that was asked to stop, written by a process that outlives its rank.

Launchers kill ranks some time after the signal: torchrun and accelerate after 30 seconds, with the rank's
process group. The state is in memory by then, so a fork in a session of its own writes it. The rank waits for
it as long as it lives, and so does a start that comes too early.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_json, write_json
from biobert_scale.holder import started_at
from biobert_scale.training.checkpoint.manifest import FileRecord
from biobert_scale.training.checkpoint.retention import incomplete
from biobert_scale.training.checkpoint.writer import Failure, ShardWriter

logger = logging.getLogger(__name__)

MARK = ".writer-*.json"
"""In the directory that is written: who does so, one file a rank."""


class _Mark(TypedDict):
    """The process that writes; `started` as `holder.started_at` has it."""

    host: str
    process: int
    started: str


class _Seen(NamedTuple):
    """A directory's files, and since when they have been as they are."""

    files: list[tuple[str, int, int]]
    since: float


Watched = dict[Path, _Seen]

_POLL_SECONDS, _QUIET_SECONDS = 0.2, 60.0
_IGNORED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


def write_apart(writer: ShardWriter) -> None:
    """Run a writer in a process of its own, and wait for it; where that is lost, the writer runs here. Its
    tensors are in the host's memory, none of them pinned, which a fork cannot read."""
    begun = time.perf_counter()
    answer = b""
    reading, writing = os.pipe()
    with open(reading, "rb") as stream:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which it needs
                child = os.fork()
        except OSError as error:  # no memory for another process' tables
            logger.warning("no process of its own: %s", error)
            os.close(writing)
        else:
            if child == 0:
                _be_the_writer(writer, writing)
            os.close(writing)
            answer = stream.read()
            os.waitpid(child, 0)
    if not answer and not writer.staging.exists():  # it has got its name
        return
    if not answer:
        logger.warning("the process that wrote %s was lost; writing it here", writer.staging.name)
        writer.run()
        return
    reply = json.loads(answer)
    writer.trouble = Failure(*reply).error(writer.staging) if reply else None
    writer.tensors, writer.seconds = {}, time.perf_counter() - begun


def _be_the_writer(writer: ShardWriter, answer: int) -> None:
    """In the fork: write, answer, and end without the interpreter's own end, which is the rank's."""
    try:
        os.setsid()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        # What the rank has open, sockets to other ranks and devices, must close with the rank.
        os.closerange(3, answer)
        os.closerange(answer + 1, os.sysconf("SC_OPEN_MAX"))
        torch.set_num_threads(1)  # a fork has none of its parent's threads
        own = os.getpid()
        mark: _Mark = {"host": socket.gethostname(), "process": own, "started": started_at(own)}
        path = writer.staging / MARK.replace("*", f"{writer.rank:05d}")
        write_json(path, mark, durable=False)
        if writer.commit is not None:
            writer.commit = partial(_commit_unless_replaced, writer.commit, path, mark)
        writer.run()
        os.write(answer, json.dumps(writer.trouble and Failure.of(writer.trouble)).encode())
    finally:
        os._exit(0)


def _commit_unless_replaced(
    commit: Callable[[dict[str, FileRecord]], None], path: Path, mark: _Mark, files: dict[str, FileRecord]
) -> None:
    """Commit while the directory bears this writer's mark: a start that has given the writer up removes it,
    and may be writing another one of the same name."""
    if not path.exists() or read_json(path) != mark:
        what, remedy = "a later start has taken its place", "nothing: that one saves its own"
        raise RunFailed(what, where=path.parent, remedy=remedy)
    commit(files)


def wait_for_writers(run: Path, *, patience: float) -> None:
    """Wait until no process of an earlier start writes a checkpoint of this run any more.

    Args:
        patience: seconds to wait at most.
    """
    deadline = time.monotonic() + patience
    said = False
    watched: Watched = {}
    while time.monotonic() < deadline:
        busy = [staging for staging in incomplete(run) if being_written(staging, watched)]
        if not busy:
            return
        if not said:
            logger.info("waiting for %s, which an earlier start is still writing", busy[0].name)
            said = True
        time.sleep(_POLL_SECONDS)


def being_written(staging: Path, watched: Watched | None = None) -> bool:
    """Whether a process that has outlived its rank may still write a directory.

    Args:
        watched: what earlier calls saw: a process on another host is believed to live while its files change.
    """
    for path in staging.glob(MARK):
        try:
            mark = read_json(path)
            if mark["host"] != socket.gethostname():
                return watched is None or _changes(staging, watched)
            if started_at(mark["process"]) == mark["started"]:
                return True
        except (UserError, KeyError, TypeError):  # gone meanwhile, or no mark
            continue
    return False


def _changes(staging: Path, watched: Watched) -> bool:
    """Whether a directory's files have changed within the last minute of watching."""
    try:
        seen = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in staging.iterdir())
    except OSError:
        return True  # being renamed
    if staging not in watched or watched[staging].files != seen:
        watched[staging] = _Seen(seen, time.monotonic())
    return time.monotonic() < watched[staging].since + _QUIET_SECONDS
