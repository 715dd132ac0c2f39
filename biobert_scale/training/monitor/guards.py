"""What a run watches for while nobody looks: losses that are no numbers or jump, steps that wait for data.

Each kind of trouble is reported once, with the step and the rank it came from, in the log and in
`events.jsonl`.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from biobert_scale.config import GuardsConfig, PrecisionConfig
from biobert_scale.errors import RunFailed

logger = logging.getLogger(__name__)

EVENTS = "events.jsonl"
_STEPS_BEFORE_JUDGING = 20

Action = Literal["go on", "roll back"]


class RunEvent(TypedDict):
    """A line of `events.jsonl`."""

    time: str
    kind: str
    global_step: int
    rank: int
    what: str


class Guards:
    """Judges every step by figures that all ranks have, so that all ranks come to the same answer."""

    def __init__(
        self, config: GuardsConfig, precision: PrecisionConfig, run: Path, *, writes: bool, loss_scale: float
    ) -> None:
        """Watch from here on.

        Args:
            writes: whether this rank reports (the main process); the others judge in silence.
            loss_scale: of the first step.
        """
        self.config, self.precision, self.run, self.writes = config, precision, run, writes
        self.loss_scale, self.skipped_in_a_row = loss_scale, 0
        self.losses: deque[float] = deque(maxlen=config.spike_window)
        self.waits: deque[tuple[float, float]] = deque(maxlen=config.spike_window)
        self.roll_backs = 0
        self.reported: set[str] = set()

    def judge(
        self,
        global_step: int,
        rank_losses: np.ndarray,
        *,
        waited: np.ndarray,
        seconds: float,
        taken_norm: float | None = None,
    ) -> Action:
        """Say what is to be done after a step.

        Args:
            global_step: the step just computed.
            rank_losses: (ranks,) each rank's part of the loss; they sum to it.
            waited: (ranks,) seconds that each rank waited for its data.
            seconds: the whole step.
            taken_norm: of the gradients that weights have been updated with; None where they have not.

        Raises:
            RunFailed: a policy says `stop`, or rolling back has not helped.
        """
        self._starvation(global_step, waited, seconds)
        loss = float(rank_losses.sum())
        spoilt = taken_norm is not None and not math.isfinite(taken_norm)
        # To skip the step is too late where the weights are no numbers any more.
        policy = "stop" if spoilt and self.config.non_finite_loss == "skip" else self.config.non_finite_loss
        if not math.isfinite(loss):
            rank = int(np.flatnonzero(~np.isfinite(rank_losses))[0])
            return self._act("non-finite loss", policy, global_step, rank, f"the loss is {loss}")
        if spoilt:
            text = f"the gradient norm is {taken_norm}, and weights were updated with it"
            return self._act("non-finite gradients", policy, global_step, 0, text)
        if (steps := len(self.losses)) >= _STEPS_BEFORE_JUDGING:
            usual = statistics.median(self.losses)
            if loss > self.config.spike_factor * usual:
                text = f"the loss is {loss:.3f}, the median of the last {steps} steps {usual:.3f}"
                rank = int(rank_losses.argmax())
                return self._act("loss spike", self.config.loss_spike, global_step, rank, text)
        self.losses.append(loss)
        return "go on"

    def rolled_back(self, *, loss_scale: float) -> None:
        """Begin to count anew, at the loss scale of the checkpoint."""
        self.loss_scale, self.skipped_in_a_row = loss_scale, 0

    def judge_skip(self, *, skipped: bool, loss_scale: float) -> None:
        """Stop where skipping steps helps no more.

        Args:
            loss_scale: of the next step.

        Raises:
            RunFailed: too many steps were skipped in a row, or one at the floor of the loss scale.
        """
        scale, self.loss_scale = self.loss_scale, loss_scale
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        floor = self.precision.min_loss_scale
        if self.skipped_in_a_row >= self.precision.max_skipped_in_a_row:
            what = f"{self.skipped_in_a_row} steps in a row overflowed"
        elif skipped and self.precision.dtype == "fp16" and scale <= floor:
            what = f"a step overflowed at the loss scale's floor of {floor:g}"
        else:
            return
        remedy = "the last checkpoint is kept; lower the learning rate, or train in bf16"
        raise RunFailed(what, where=self.run, remedy=remedy)

    def _act(self, kind: str, policy: str, global_step: int, rank: int, text: str) -> Action:
        if policy in ("warn", "skip"):
            self._report(kind, global_step, rank, text)
            return "go on"
        if policy == "roll_back" and self.roll_backs < self.config.roll_backs:
            self.roll_backs += 1
            self.losses.clear()
            times = f"{self.roll_backs} of {self.config.roll_backs} times"
            self._report(f"{kind}, rolled back {times}", global_step, rank, text)
            return "roll back"
        self._report(f"{kind}, stopped", global_step, rank, text)
        remedy = (
            "the last checkpoint is kept; lower the learning rate, or let training.guards roll back past"
            " these samples"
        )
        raise RunFailed(f"{text} at step {global_step}, from rank {rank}", where=self.run, remedy=remedy)

    def _starvation(self, global_step: int, waited: np.ndarray, seconds: float) -> None:
        self.waits.append((float(waited.max()), seconds))
        if len(self.waits) < _STEPS_BEFORE_JUDGING:
            return
        waiting, all_of_it = (sum(parts) for parts in zip(*self.waits, strict=True))
        if waiting > self.config.starvation_fraction * all_of_it:
            share = (
                f"{waiting / all_of_it:.0%} of the last {len(self.waits)} steps went by waiting for data:"
                " raise loader.workers, or look at the disk"
            )
            self._report("data starvation", global_step, int(waited.argmax()), share)

    def _report(self, kind: str, global_step: int, rank: int, text: str) -> None:
        if kind in self.reported:
            return
        self.reported.add(kind)
        if self.writes:
            logger.warning("%s at step %d, rank %d: %s", kind, global_step, rank, text)
            record_event(self.run, kind, global_step, rank, text)


def record_event(run: Path, kind: str, global_step: int, rank: int, text: str) -> None:
    """Append a line to the run's `events.jsonl`."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record: RunEvent = {"time": now, "kind": kind, "global_step": global_step, "rank": rank, "what": text}
    with open(run / EVENTS, "a") as stream:
        stream.write(json.dumps(record) + "\n")


def read_events(run: Path, *, begin: int = 0) -> tuple[list[RunEvent], int]:
    """The events from a byte of `events.jsonl` on, and where to read on. A line that is being written, or is
    no event, is left out."""
    if not (run / EVENTS).exists():
        return [], begin
    with open(run / EVENTS, "rb") as stream:
        stream.seek(begin)
        lines, end, _ = stream.read().rpartition(b"\n")
    events = []
    for line in lines.split(b"\n"):
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            events.append(
                RunEvent(
                    time=found["time"],
                    kind=found["kind"],
                    global_step=found["global_step"],
                    rank=found["rank"],
                    what=found["what"],
                )
            )
    return events, begin + len(lines + end)
