"""How far a run is, from what it leaves in its directory while it trains."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.live import Live

from biobert_scale.config import BatchSizes, Config
from biobert_scale.display import quantity, separated, table
from biobert_scale.errors import UserError
from biobert_scale.files import read_json
from biobert_scale.holder import Holder, queue_state
from biobert_scale.lock import holder_of
from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.mirror import read_mirror_state
from biobert_scale.training.checkpoint.retention import checkpoint_path, complete, is_finished, step_of
from biobert_scale.training.monitor.guards import RunEvent, read_events
from biobert_scale.training.monitor.telemetry import METRICS, read_metrics
from biobert_scale.training.monitor.watchdog import DIRECTORY as HEARTBEATS
from biobert_scale.training.restarts import FAILED, LAST_START

REFRESH_SECONDS = 10.0
_EVENTS = 5
_RECORDS = 20
"""Of the speed."""

State = Literal["running", "finished", "failed", "stopped", "killed"]


@dataclass(frozen=True, kw_only=True)
class Status:
    """How far a run is; None where it does not say."""

    run: str
    state: State
    """Killed: its lock is there, its process is not. Stopped: it let go of the lock, with steps left."""
    failure: str
    """Why its last start failed; empty where it has not."""
    process: str
    """The last one that held the run."""
    slurm: str
    """What SLURM says of that process' job."""
    doing: str
    """Of the rank that is behind the others, while the run is at work."""
    global_step: int
    total_steps: int | None
    train_loss: float | None
    validation_mlm_loss: float | None
    learning_rate: float | None
    tokens_per_second_per_device: float | None
    step_seconds: float | None
    """Median of the last records, as is the rate."""
    seconds_to_go: float | None
    """Steps left at that speed, larger ones in proportion, without validations and checkpoints."""
    seconds_since_record: float | None
    checkpoint: str
    """The last one; empty for none."""
    seconds_since_checkpoint: float | None
    mirror: str
    """What object storage has of the run; empty without a mirror."""
    events: list[RunEvent]
    """The last ones, oldest first."""


def read_status(run: Path) -> Status:
    """Look at a run directory; writes nothing.

    Raises:
        UserError: nothing that a run writes is there.
    """
    started = run / LAST_START
    if not started.exists() and not (run / METRICS).exists():
        remedy = "check the path: it is the --output of `biobert-scale train`"
        raise UserError("no run has begun here", where=run, remedy=remedy)
    held = holder_of(run)
    holder, at_work = held if held is not None and held[0].work == "train" else (_last(started), False)
    failure = _failure(run / FAILED)
    config = load_config(run / "config.json") if (run / "config.json").is_file() else None
    records: list[dict[str, Any]] = [dict(record) for record in read_metrics(run)]
    step = records[-1]["global_step"] if records else 0
    steps = [record for record in records if "train/loss" in record]
    seconds = _median(steps, "perf/step_seconds")
    checkpoints = complete(run)
    newest = checkpoints[-1] if checkpoints else None
    state: State = "stopped"
    if at_work:
        state = "running"
    elif is_finished(run):
        state = "finished"
    elif failure:
        state = "failed"
    elif held is not None and held[0].work == "train":
        state = "killed"
    return Status(
        run=str(run),
        state=state,
        failure=failure,
        process=str(holder) if holder else "",
        slurm=queue_state(holder) if holder else "",
        doing=_doing(run) if at_work else "",
        global_step=step,
        total_steps=config.training.schedule.total_steps if config else None,
        train_loss=_last_value(steps, "train/loss"),
        validation_mlm_loss=_last_value(records, "validation/mlm_loss"),
        learning_rate=_last_value(steps, "optim/learning_rate"),
        tokens_per_second_per_device=_median(steps, "perf/tokens_per_second_per_device"),
        step_seconds=seconds,
        seconds_to_go=seconds * _steps_left(config, step) if seconds is not None and config else None,
        seconds_since_record=_age(run / METRICS),
        checkpoint=checkpoint_path(run, step_of(newest)).name if newest else "",
        seconds_since_checkpoint=_age(newest) if newest else None,
        mirror=_mirror(run),
        events=read_events(run)[0][-_EVENTS:],
    )


def describe(status: Status) -> RenderableType:
    """For people."""
    of = (
        f" of {status.total_steps:,} ({status.global_step / status.total_steps:.1%})"
        if status.total_steps
        else ""
    )
    to_go = _duration(status.seconds_to_go) if status.state != "finished" else ""
    rows = [
        ("state", f"{status.state}: {status.failure}" if status.state == "failed" else status.state),
        ("to resume", "run the same command again" if status.state in ("stopped", "killed") else ""),
        ("doing", status.doing),
        ("process" if status.state == "running" else "last process", status.process),
        ("SLURM", status.slurm),
        ("step", f"{status.global_step:,}{of}"),
        ("loss", quantity(status.train_loss)),
        ("validation MLM loss", quantity(status.validation_mlm_loss)),
        ("learning rate", quantity(status.learning_rate)),
        ("tokens/s a device", f"{status.tokens_per_second_per_device or 0:,.0f}".lstrip("0")),
        ("time a step", f"{status.step_seconds:.3f} s" if status.step_seconds is not None else ""),
        ("time to go" if status.state == "running" else "time to go, once resumed", to_go),
        ("last record", _ago(status.seconds_since_record)),
        (
            "last checkpoint",
            f"{status.checkpoint}, {_ago(status.seconds_since_checkpoint)}" * bool(status.checkpoint),
        ),
        ("mirror", status.mirror),
    ]
    parts = [table([("run", status.run), *(row for row in rows if row[1])])]
    if status.events:
        events = [(e["time"], f"step {e['global_step']:,}", e["kind"], e["what"]) for e in status.events]
        parts.append(table([("last events",), *events]))
    return separated(parts)


def watch(
    read: Callable[[], Status], *, console: Console, wait: Callable[[float], None] = time.sleep
) -> None:
    """Show a run's status again and again, until it no longer runs or the user presses Ctrl-C."""
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            status = read()
            live.update(describe(status), refresh=True)
            if status.state != "running" and "PENDING" not in status.slurm:
                return
            wait(REFRESH_SECONDS)


def _last(path: Path) -> Holder | None:
    with suppress(UserError, TypeError):
        return Holder(**read_json(path))
    return None


def _failure(path: Path) -> str:
    with suppress(UserError, KeyError, TypeError, ValueError):
        found = read_json(path)
        return f"{found['what']} (at step {int(found['global_step']):,})"
    return ""


def _steps_left(config: Config, step: int) -> float:
    """Steps to go, each counted by its work over that of the last one."""
    work, step = BatchSizes.of(config).tokens_before, max(step, 1)
    left = work(config.training.schedule.total_steps) - work(step)
    return max(0, left) / (work(step) - work(step - 1))


def _mirror(run: Path) -> str:
    if (found := read_mirror_state(run)) is None:
        return ""
    newest, behind = found["newest"], found["behind"]
    whole = "none is whole" if newest is None else f"whole up to {checkpoint_path(run, newest).name}"
    lacks = f", behind by {len(behind)}" if behind else ""
    trouble = f" since {found['since']}: {found['trouble']}" if found["trouble"] else ""
    return f"{found['address']}: {whole}{lacks}{trouble}"


def _doing(run: Path) -> str:
    """What the heartbeats say of the rank that is behind the others."""
    beats = []
    for path in (run / HEARTBEATS).glob("rank-*.json"):
        with suppress(UserError, KeyError, TypeError):
            found = read_json(path)
            order = (found["global_step"], found["micro_step"], found["since"])
            what = f"rank {found['rank']} on {found['host']}, step {found['global_step']:,}: {found['doing']}"
            beats.append((order, what))
    return min(beats)[1] if beats else ""


def _last_value(records: list[dict[str, Any]], name: str) -> float | None:
    return next((record[name] for record in reversed(records) if name in record), None)


def _median(records: list[dict[str, Any]], name: str) -> float | None:
    values = [record[name] for record in records[-_RECORDS:] if record.get(name) is not None]
    return statistics.median(values) if values else None


def _age(path: Path) -> float | None:
    """Seconds since a file changed, by this host's clock."""
    return max(0.0, time.time() - path.stat().st_mtime) if path.exists() else None


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{_duration(seconds)} ago"
