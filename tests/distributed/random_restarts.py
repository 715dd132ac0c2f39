"""One run that is ended at random, damaged, and started again, until it has been so often enough."""

from __future__ import annotations

import json
import multiprocessing.connection
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biobert_scale.files import write_json
from biobert_scale.training.checkpoint.manifest import problem
from biobert_scale.training.checkpoint.outliving import MARK, being_written, wait_for_writers
from biobert_scale.training.checkpoint.retention import (
    checkpoint_path,
    complete,
    incomplete,
    replaced_path,
    staging_path,
    step_of,
)
from biobert_scale.training.monitor.telemetry import METRICS, read_metrics
from biobert_scale.training.restarts import REACHED, STARTS
from tests.distributed.mortal_points import IN_LAST_SAVES, IN_SAVES, IN_STARTS, IN_STEPS, OF_THE_MAIN_PROCESS
from tests.launching import Job, start

WORKER = str(Path(__file__).with_name("restless_worker.py"))
LAST_SAVE = "last save: "
BY_ITSELF = [
    *(point for point in (*IN_STEPS, *IN_SAVES) for _ in range(2)),
    *IN_STARTS,
    "while validating",
    *(LAST_SAVE + point for point in (*IN_SAVES, *IN_LAST_SAVES)),
]
"""SIGKILL by the rank itself, at a point of its code."""
FROM_OUTSIDE = [
    *("SIGKILL as it starts", "SIGKILL in a step", "SIGKILL in the last save", "SIGTERM as it starts") * 2,
    *("SIGTERM", "SIGUSR1", "STOP", "STOP from before"),
]
"""By the test, at a random moment; to one rank or to all."""
DAMAGES = ("a file cut", "a bit flipped", "a file removed")
"""To the newest of two intact checkpoints, between two starts."""
LEFTOVERS = ("half a save", "a replaced checkpoint", "a torn record", "notes of starts cut")
_HANGS_SECONDS = 300
_BEYOND = 6
"""Steps after which a rank that should have killed itself, but did not come to the point, is killed."""

Shape = tuple[int, str, list[str]]
"""Ranks, their name in the table, and the start's options."""


@dataclass(kw_only=True)
class Restless:
    """A run of `steps` steps which `again` ends and starts again."""

    tokens: Path
    run: Path
    draw: random.Random
    shape: Callable[[random.Random], Shape]
    steps: int
    dtype: str
    pace: float = 1.2
    """Steps between two starts, on average."""
    faults: list[dict[str, Any]] = field(default_factory=list)
    """What happened: a fault each, with the steps that had to be taken again."""
    restarts: int = 0
    deck: list[str] = field(default_factory=list)
    taken: int = 0
    """Steps that the last start had taken at its end."""
    start_seconds: float = 3.0
    by_hand: bool = True
    place: int = 0
    """Of this start among the agent's; 0 by hand."""
    charged: dict[str, Any] = field(default_factory=lambda: {"lost": 0})
    """What ended the last start that took steps."""
    stderr: str = ""

    def again(self) -> None:
        """Start the run, end it with the next fault, and look at what that left."""
        if not self.deck:
            self.deck = [*BY_ITSELF, *FROM_OUTSIDE]
            self.draw.shuffle(self.deck)
        kind = self.deck.pop()
        known = self.between()
        ranks, name, options = self.shape(self.draw)
        due = round(self.pace * (self.restarts + 1)) - self.taken
        step = self.taken + min(max(1, due + self.draw.randint(-1, 2)), _BEYOND)
        seen = len(self.log())
        job = self.start(kind, step, ranks, options)
        try:
            struck = self.strike(job, kind, step, seen)
            self.reap(job)
        finally:
            job.kill()
            self.stderr = job.stderr
        shutil.rmtree(job.output)
        entry = {"fault": kind, "drawn": kind, "ranks": ranks, "engine": name, "lost": 0}
        self.faults.append(entry)
        lines = [json.loads(line) for line in self.log()[seen:].splitlines()]
        self.judge(entry, struck, known, codes=[rank.exitcode for rank in job.ranks], lines=lines)

    def judge(
        self,
        entry: dict[str, Any],
        struck: str,
        known: int,
        *,
        codes: list[int | None],
        lines: list[list[Any]],
    ) -> None:
        """Say what ended a start, and refuse any end but that.

        Args:
            struck: what came from outside.
            known: the step of the newest intact checkpoint before.
            lines: what the ranks' workers wrote down.
        """
        entry["codes"] = codes
        # A writer of an earlier start may still have been at work.
        mine = [(what, step) for place, what, _, step in lines if place == self.place]
        killed = any(what == "killed" for what, _ in mine)
        # One rank says why, and may have been killed before it could.
        refused = not (killed or struck) and set(codes) != {75} and deaths(self.run) > 1
        if refused:
            entry["fault"] = "refused for want of progress"
        elif struck or not (killed or entry["drawn"] == "STOP from before"):
            entry["fault"] = struck or "asked to stop, saved before the point was reached"
        self.note_steps({step for what, step in mine if what == "started"}, known, entry)
        assert 2 not in codes, "a mistake of the user's, which there was none"
        assert killed or struck or refused or set(codes) == {75}, "it ended without a fault"
        assert newest(self.run) >= known, "an intact checkpoint is gone"
        if "its writer" in entry["fault"] and "not its writer" not in entry["fault"]:
            assert set(codes) == {75}, "the rank has not written what its writer did not"
        if set(codes) == {75}:
            assert newest(self.run) == self.taken, "it has stopped without having saved"
        self.by_hand = refused
        self.restarts += not refused

    def log(self) -> bytes:
        """What the ranks' workers have written down so far."""
        path = self.run.with_name("deaths.log")
        return path.read_bytes() if path.exists() else b""

    def start(self, kind: str, step: int, ranks: int, options: list[str]) -> Job:
        """Start the ranks, as an elastic agent does; by hand where it was refused."""
        self.place = 0 if self.by_hand else self.restarts
        deaths = self.run.with_name("deaths.json")
        write_json(deaths, [{}] * self.place + [planned(kind, step, ranks, self.draw)])
        if kind == "STOP from before" and self.run.exists():
            (self.run / "STOP").touch()
        return start(
            self.tokens,
            self.run,
            *options,
            processes=ranks,
            worker=WORKER,
            variables={"DEATHS": str(deaths), "TORCHELASTIC_RESTART_COUNT": str(self.place)},
            dtype=self.dtype,
            steps=self.steps,
        )

    def strike(self, job: Job, kind: str, step: int, seen: int) -> str:
        """What comes from outside: at a random moment of the start, or once a step is taken. Returns what was
        done: nothing to ranks that kill themselves in time."""
        if kind.endswith("as it starts"):
            over = time.monotonic() + self.draw.uniform(0, 1.2 * self.start_seconds)
            while time.monotonic() < over and reached(self.run) < step and not ended(job, 0.02):
                pass
            moment = 0.0
        else:
            patience = 0 if kind in FROM_OUTSIDE else _BEYOND
            self.wait_for_step(job, step + patience, seen)
            moment = self.draw.uniform(0, 0.2)
        if ended(job, moment):
            return ""
        whom = self.draw.choice((-1, *range(len(job.ranks))))
        if kind not in FROM_OUTSIDE:
            kind = "SIGKILL in a step"
        if kind == "SIGKILL in the last save":
            job.send_signal(signal.SIGTERM)
            if ended(job, self.draw.uniform(0, 0.4)):
                return "SIGTERM, all ranks"
        if kind.startswith("STOP"):
            (self.run / "STOP").touch()
        else:
            send(job, signal.Signals[kind.partition(" ")[0]], whom)
        return f"{kind}, {'all ranks' if whom < 0 else 'one rank'}" if "STOP" not in kind else kind

    def wait_for_step(self, job: Job, step: int, seen: int) -> None:
        """Until the step is taken, or a rank has ended."""
        begun = time.monotonic()
        while b"started" not in self.log()[seen:]:
            if ended(job, 0.02):
                return
            assert time.monotonic() < begun + _HANGS_SECONDS, "the start hangs"
        self.start_seconds += (time.monotonic() - begun - self.start_seconds) / 4
        while not ended(job, 0.005) and reached(self.run) < step:
            assert time.monotonic() < begun + _HANGS_SECONDS, "the run hangs"

    def reap(self, job: Job) -> None:
        """As launchers do: where a rank has failed, the others are asked to end, and soon killed."""
        assert ended(job, _HANGS_SECONDS), "the run hangs"
        patience = self.draw.choice((0.0, 0.0, 0.5, 3.0))
        if all(rank.exitcode in (None, 0, 75) for rank in job.ranks):
            patience = _HANGS_SECONDS
        elif self.draw.random() < 0.5:
            job.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while job.returncode is None and (left := deadline - time.monotonic()) > 0:
            multiprocessing.connection.wait(
                [rank.sentinel for rank in job.ranks if rank.exitcode is None], timeout=left
            )
        assert job.returncode is not None or patience < _HANGS_SECONDS, "a rank does not end"

    def between(self) -> int:
        """Damage and leftovers, now and then; returns the step to resume from, unless a process that has
        outlived its rank still writes a newer one."""
        busy = any(being_written(staging) for staging in incomplete(self.run))
        found = complete(self.run)
        damages = self.draw.random() < 0.12 and not busy
        if damages and len(found) > 1 and not any(map(problem, found[-2:])):
            how = self.draw.choice(DAMAGES)
            file = damage(found[-1], how, self.draw)
            lost = step_of(found[-1]) - newest(self.run)
            self.taken -= lost
            self.faults.append({"fault": f"{how} in the newest checkpoint", "file": file, "lost": lost})
        if self.draw.random() < 0.12 and found:
            what = self.draw.choice(LEFTOVERS)
            leave(self.run, what, self.draw)
            self.faults.append({"fault": f"left over: {what}", "lost": 0})
        return newest(self.run)

    def note_steps(self, started: set[int], known: int, entry: dict[str, Any]) -> None:
        """Where this start resumed, and how far it came; what it takes again is charged to the fault before
        it."""
        if not started:
            return
        (resumed,) = started
        assert resumed >= known, f"resumed from step {resumed}, and {known} was there"
        lost = self.taken - resumed
        assert lost <= 4, f"{lost} steps are lost"
        self.charged["lost"] += lost
        steps = [record["global_step"] for record in read_metrics(self.run) if "train/loss" in record]
        self.taken, self.charged = max([resumed, *steps]), entry
        entry.update(resumed=resumed, taken=self.taken)

    def to_its_end(self) -> None:
        """A last start, which nothing ends before its time."""
        ranks, _, options = self.shape(self.draw)
        job = start(self.tokens, self.run, *options, processes=ranks, dtype=self.dtype, steps=self.steps)
        code = job.wait(_HANGS_SECONDS)
        self.stderr = job.stderr
        if code == 75:  # a STOP was left
            return self.to_its_end()
        assert code == 0, "the last start fails"
        wait_for_writers(self.run, patience=60)
        assert not incomplete(self.run) and not any(map(problem, complete(self.run)))

    def table(self) -> dict[str, dict[str, int]]:
        """Of each kind of fault: how many, and the steps that had to be taken again for them."""
        kinds: dict[str, dict[str, int]] = {}
        for one in self.faults:
            counts = kinds.setdefault(one["fault"], {"faults": 0, "steps_lost": 0})
            counts["faults"] += 1
            counts["steps_lost"] += one["lost"]
        return dict(sorted(kinds.items()))


def planned(kind: str, step: int, ranks: int, draw: random.Random) -> dict[str, Any]:
    """The death that a rank, or all of them, bring about themselves; empty for other faults."""
    if kind in FROM_OUTSIDE:
        return {}
    point = kind.removeprefix(LAST_SAVE)
    death = {
        "point": point,
        "step": 0 if point in IN_STARTS else step,
        "rank": 0 if point in OF_THE_MAIN_PROCESS else draw.choice((-1, *range(ranks))),
    }
    return {**death, "asked_at": step} if kind.startswith(LAST_SAVE) else death


def ended(job: Job, seconds: float) -> bool:
    """Whether a rank has ended, waited for so long."""
    return bool(multiprocessing.connection.wait([rank.sentinel for rank in job.ranks], timeout=seconds))


def send(job: Job, number: int, whom: int) -> None:
    for rank, process in enumerate(job.ranks):
        if whom in (-1, rank) and process.exitcode is None:
            os.kill(job.pid(rank), number)


def reached(run: Path) -> int:
    """The step that the start at work has taken, by its own note."""
    try:
        return int((run / REACHED).read_bytes())
    except (OSError, ValueError):
        return 0


def deaths(run: Path) -> int:
    """The starts in a row that ended at the same point, as the run counts them."""
    try:
        return int(json.loads((run / STARTS).read_bytes())["deaths"])
    except (OSError, ValueError):
        return 0


def newest(run: Path) -> int:
    """The step of the newest intact checkpoint; 0 for none."""
    return next((step_of(path) for path in reversed(complete(run)) if problem(path) is None), 0)


def damage(checkpoint: Path, how: str, draw: random.Random) -> str:
    """Spoil a file of a checkpoint; returns its name."""
    path = draw.choice(sorted(checkpoint.iterdir()))
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    if how == "a file removed":
        path.unlink()
    elif how == "a file cut":
        os.truncate(path, place)
    else:
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    return path.name


def leave(run: Path, what: str, draw: random.Random) -> None:
    """Put into a run what an interrupted start may leave."""
    step = newest(run) + draw.randint(1, 3)
    if what == "half a save":
        staging = staging_path(checkpoint_path(run, step))
        staging.mkdir(exist_ok=True)
        (staging / "state-00000-of-00002.safetensors").write_bytes(draw.randbytes(5000))
        note = {"file": "state-00000-of-00002.safetensors", "bytes": 5000, "sha256": "0" * 64}
        write_json(staging / ".rank-00000.json", note)
        gone = {"host": os.uname().nodename, "process": os.getpid(), "started": "1"}
        write_json(staging / MARK.replace("*", "00000"), gone)
    elif what == "a replaced checkpoint":
        old = replaced_path(checkpoint_path(run, step))
        old.mkdir(exist_ok=True)
        (old / "trainer_state.json").write_text("{}")
    elif what == "a torn record":
        with open(run / METRICS, "a") as stream:
            stream.write('{"global_step": 1, "train/lo')
    else:
        for name in (STARTS, REACHED):
            (run / name).write_bytes(b"")
