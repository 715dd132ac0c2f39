"""Where numbers go: `metrics.jsonl` and Accelerate's trackers (TensorBoard by default)."""

from __future__ import annotations

import json
import logging
import math
import time
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from biobert_scale.config import BatchSizes, Config
from biobert_scale.files import write_atomically
from biobert_scale.training.checkpoint.retention import checkpoint_path
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.monitor.guards import read_events
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.trackers import Trackers

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30
METRICS = "metrics.jsonl"
UNREADABLE = "metrics.unreadable"
"""Lines of `metrics.jsonl` that are no records, as they were found when a run resumed."""


class Telemetry:
    """Writes on the main process; on the others every call does nothing."""

    def __init__(
        self,
        accelerator: Accelerator,
        run: Path,
        state: TrainerState,
        *,
        config: Config,
        begins: bool = False,
    ) -> None:
        """Open the run's records; those beyond `state`, of a run that got further, are dropped.

        Args:
            begins: the run begins at `state`, of another one; it has no records up to there.
        """
        self.accelerator, self.path, self.sizes = accelerator, run / METRICS, BatchSizes.of(config)
        self.total = config.training.schedule.total_steps
        self.bar = tqdm(
            total=self.total,
            initial=state.global_step,
            unit="step",
            disable=None if accelerator.is_main_process else True,
        )
        self.begun, self.begun_at, self.told_at = time.monotonic(), state.global_step, time.monotonic()
        _, self.read_bytes = read_events(run)
        first = accelerator.is_main_process
        kept = TrainerState() if begins else state
        records = _drop_beyond(self.path, kept) if first else []
        names = config.training.trackers if first else ()
        self.trackers = Trackers(names, run, global_step=kept.global_step, records=records)

    def rewind(self, state: TrainerState) -> None:
        """Drop what was recorded beyond a state."""
        if self.accelerator.is_main_process:
            _drop_beyond(self.path, state)
            self.trackers.rewind(state.global_step)
        self.bar.n = state.global_step

    def log(self, global_step: int, values: RunMetrics) -> None:
        """Record values of one step."""
        if self.accelerator.is_main_process:
            # JSON knows no infinity and no NaN, which an overflowing step's gradient norm is.
            finite = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in values.items()
            }
            with open(self.path, "a") as stream:
                stream.write(json.dumps({"global_step": global_step, **finite}) + "\n")
            self.trackers.log(global_step, values)
            self._annotate(global_step, values)
            if "train/loss" in values:
                self._show(global_step, values)

    def _show(self, global_step: int, values: RunMetrics) -> None:
        """A bar on a terminal; elsewhere a line, at most one in half a minute."""
        self.bar.update(global_step - self.bar.n)
        self.bar.set_postfix(loss=f"{values['train/loss']:.3f}", refresh=False)
        now = time.monotonic()
        if self.bar.disable and global_step > self.begun_at and now > self.told_at + _SECONDS_BETWEEN_LINES:
            self.told_at, work = now, self.sizes.tokens_before
            done = work(global_step) - work(self.begun_at)
            seconds = (now - self.begun) / done * (work(self.total) - work(global_step))
            loss, rate = values["train/loss"], values["perf/tokens_per_second_per_device"]
            what = "step %d of %d: loss %.4f, %.3g tokens/s a device, %s to go"
            logger.info(what, global_step, self.total, loss, rate, timedelta(seconds=round(seconds)))

    def _annotate(self, global_step: int, values: RunMetrics) -> None:
        """Mark in the trackers what this record is of, and what guards and watchdogs have recorded since."""
        run, annotate = self.path.parent, self.trackers.annotate
        events, self.read_bytes = read_events(run, begin=self.read_bytes)
        for event in events:
            annotate(event["kind"], event["global_step"], event["what"])
        if "validation/mlm_loss" in values:
            annotate("validation", global_step, f"MLM loss {values['validation/mlm_loss']:.4f}")
        if "perf/checkpoint_stall_seconds" in values:
            annotate("checkpoint", global_step, checkpoint_path(run, global_step).name)

    def close(self, *, patience: float) -> None:
        """Stop.

        Args:
            patience: seconds that trackers are waited for.
        """
        self.bar.close()
        self.trackers.close(patience=patience)


def _drop_beyond(path: Path, state: TrainerState) -> list[RunMetrics]:
    """Leave in `metrics.jsonl` what was recorded up to a state, which is returned."""
    records, unreadable = _read_lines(path)
    if unreadable:
        with open(path.with_name(UNREADABLE), "ab") as stream:
            stream.write(b"".join(line + b"\n" for line in unreadable))
        what = "%d line(s) of %s are no records; they are kept in %s"
        logger.warning(what, len(unreadable), path, UNREADABLE)
    step, seen = state.global_step, state.consumed_samples
    kept = [
        line
        for line in records
        if step and line["global_step"] <= step and line.get("consumed_samples", 0) <= seen
    ]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def read_metrics(run: Path) -> list[RunMetrics]:
    """All records of a run in order. Lines that are none are reported, but for a last one cut by a crash."""
    records, unreadable = _read_lines(run / METRICS)
    if unreadable:
        logger.warning("%s: %d line(s) are no records and are passed over", run / METRICS, len(unreadable))
    return records


def _read_lines(path: Path) -> tuple[list[RunMetrics], list[bytes]]:
    """The records, and the lines that are none."""
    if not path.exists():
        return [], []
    *lines, last = path.read_bytes().split(b"\n")
    records, unreadable = [], []
    for line in [*lines, last]:
        record = _record(line)
        if record is not None:
            records.append(record)
        elif line and line is not last:
            unreadable.append(line)
    return records, unreadable


def _record(line: bytes) -> RunMetrics | None:
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    counts = ("global_step", "consumed_samples")
    fits = isinstance(record, dict) and all(isinstance(record.get(name, 0), int) for name in counts)
    return record if fits and "global_step" in record else None
