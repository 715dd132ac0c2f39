"""Which rank the others wait for, when a step does not end.

Every rank's thread writes where its rank stands to a file of the run directory. A rank that hangs in its data
or its computation stands behind the others; one that was stopped, or whose node is gone, no longer writes.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from biobert_scale.files import write_atomically
from biobert_scale.training.monitor.guards import record_event
from biobert_scale.training.monitor.webhook import notify

logger = logging.getLogger(__name__)

DIRECTORY = "heartbeats"
_SILENT_INTERVALS = 4


class Standing(NamedTuple):
    """Where a rank is."""

    global_step: int
    micro_step: int
    doing: str
    since: float
    """Seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What a rank writes: its `Standing`, and when. `since` and `written` are seconds since 1970."""

    rank: int
    host: str
    global_step: int
    micro_step: int
    doing: str
    since: float
    written: float
    left: bool = False
    """Whether the rank ended in an error, and so is not the one that the others wait for."""

    @property
    def place(self) -> str:
        """Where it was."""
        return f"on {self.host} at step {self.global_step}, {self.doing}"


class Diagnosis(NamedTuple):
    """What the heartbeats say, and the rank that the others wait for."""

    text: str
    rank: int


class Watchdog:
    """Writes this rank's heartbeat, and reports once when the run has stood still for too long."""

    def __init__(self, run: Path, *, rank: int, world_size: int, stall_seconds: float) -> None:
        """Start the thread.

        Args:
            run: the run directory, on a file system that all ranks share.
            stall_seconds: how long a step may last.
        """
        self.run, self.rank, self.world_size, self.stall_seconds = run, rank, world_size, stall_seconds
        self.interval = min(10.0, stall_seconds / 5)
        self.host = socket.gethostname()
        self.reported, self.begun = False, time.time()
        self.stopped = threading.Event()
        self.at(0, 0, "starting")
        (run / DIRECTORY).mkdir(parents=True, exist_ok=True)
        self._write()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self.thread.start()

    def at(self, global_step: int, micro_step: int, doing: str) -> None:
        """Note where this rank stands; costs nothing."""
        self.standing = Standing(global_step, micro_step, doing, time.time())

    def close(self, *, failed: bool = False) -> None:
        """Stop.

        Args:
            failed: this rank ends in an error. Others may still ask who was the first to be silent.
        """
        self.stopped.set()
        self.thread.join()
        if failed:
            with suppress(OSError):
                self._write(left=True)
        else:
            self._path(self.rank).unlink(missing_ok=True)

    def _path(self, rank: int) -> Path:
        return self.run / DIRECTORY / f"rank-{rank:05d}.json"

    def _write(self, *, left: bool = False) -> None:
        standing = self.standing._asdict()
        beat = Heartbeat(rank=self.rank, host=self.host, **standing, written=time.time(), left=left)
        write_atomically(self._path(self.rank), json.dumps(asdict(beat)), durable=False)

    def _watch(self) -> None:
        while not self.stopped.wait(self.interval):
            try:
                self._write()
                if not self.reported and time.time() > self.standing.since + self.stall_seconds:
                    self.reported = True
                    self._report()
            except OSError as error:  # a full disk or a server that hangs must not end the run
                logger.warning("heartbeat: %s", error)

    def _report(self) -> None:
        beats = self.heartbeats()
        silent = self._silent(beats)
        # The first rank that can still speak speaks for all.
        speaking = (beat.rank for beat in beats if beat.rank not in silent and not beat.left)
        if self.rank != min(speaking, default=self.rank):
            return
        found, step, seconds = self.diagnosis(), self.standing.global_step, time.time() - self.standing.since
        logger.error("step %d has not ended for %.0f s: %s", step, seconds, found.text)
        record_event(self.run, "stalled", step, found.rank, found.text)
        notify("stalled", self.run, step, found.text)

    def heartbeats(self) -> list[Heartbeat]:
        """The ranks' last ones, by rank; those that an earlier start left behind do not count."""
        found = []
        for rank in range(self.world_size):
            with suppress(FileNotFoundError, ValueError):  # a power failure may have emptied it
                found.append(Heartbeat(**json.loads(self._path(rank).read_text())))
        return [beat for beat in found if not (beat.left and beat.written < self.begun)]

    def _silent(self, beats: list[Heartbeat]) -> set[int]:
        now = time.time()
        latest = now - _SILENT_INTERVALS * self.interval
        without = set(range(self.world_size)) - {beat.rank for beat in beats}
        return without | {beat.rank for beat in beats if beat.written < latest and not beat.left}

    def diagnosis(self) -> Diagnosis:
        """What the heartbeats say."""
        beats = {beat.rank: beat for beat in self.heartbeats()}
        if silent := sorted(self._silent(list(beats.values()))):
            rank = silent[0]
            where = beats[rank].place if rank in beats else "without a heartbeat"
            others = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
            return Diagnosis(f"rank {rank}{others} shows no sign of life, last seen {where}", rank)
        if left := [beat for beat in beats.values() if beat.left]:
            first = min(left, key=lambda beat: beat.written)
            return Diagnosis(f"rank {first.rank} ended in an error {first.place}", first.rank)
        last = min(beats.values(), key=lambda beat: (beat.global_step, beat.micro_step, beat.since))
        text = (
            f"rank {last.rank} on {last.host} is behind the others at step {last.global_step}, micro-step"
            f" {last.micro_step}, {last.doing} for {time.time() - last.since:.0f} s"
        )
        return Diagnosis(text, last.rank)
