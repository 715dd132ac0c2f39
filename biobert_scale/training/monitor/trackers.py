"""A run's records in Accelerate's trackers: one run there however often it is started here.

Each tracker has a thread of its own, so that a server that is slow or gone neither delays nor ends the run.
What identifies the tracker's run, and the last step that it was sent, is in `trackers/NAME.json` of the run
directory. A step is sent once, as one row. After a restart, steps that were sent are not sent again (they
are computed again with the same result), and recorded ones that were not are. TensorBoard alone can drop
steps beyond a point; there they are dropped and sent again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from biobert_scale.files import read_json, write_json
from biobert_scale.training.monitor.metrics import RunMetrics

logger = logging.getLogger(__name__)

DIRECTORY = "trackers"
_ROUTINE = ("checkpoint", "resumed", "validation")
"""Annotations that are no sign of trouble."""


class Trackers:
    """The threads of a run's trackers; on the main process only."""

    def __init__(
        self, names: Iterable[str], run: Path, *, global_step: int, records: Iterable[RunMetrics]
    ) -> None:
        """Open every tracker's run, or the one that it had.

        Args:
            global_step: where the run begins or resumes.
            records: those up to there, of which a tracker gets what it lacks.
        """
        self.senders = [_Sender(name, run, global_step) for name in names]
        for sender in self.senders:
            for record in records:
                sender.put(partial(sender.add, record["global_step"], record))
            if global_step:
                sender.put(partial(sender.annotate, "resumed", global_step, "from its checkpoint"))
            sender.start()

    def log(self, global_step: int, values: RunMetrics) -> None:
        """Send values of a step; those of one step become one row."""
        for sender in self.senders:
            sender.put(partial(sender.add, global_step, values))

    def annotate(self, kind: str, global_step: int, text: str) -> None:
        """Mark a step with what happened there, in the form that each tracker has for it, if any."""
        for sender in self.senders:
            sender.put(partial(sender.annotate, kind, global_step, text))

    def rewind(self, global_step: int) -> None:
        """The run continues from an earlier step."""
        for sender in self.senders:
            sender.put(partial(sender.rewind, global_step))

    def close(self, *, patience: float) -> None:
        """Send what is left. What a tracker has not taken after `patience` seconds, the next start sends."""
        end = time.monotonic() + patience
        for sender in self.senders:
            sender.put(None)
        for sender in self.senders:
            sender.join(max(0.0, end - time.monotonic()))
            sender.abandon()


class _Sender(threading.Thread):
    """One tracker. Its methods run in its thread, but for `put` and `abandon`."""

    def __init__(self, name: str, run: Path, global_step: int) -> None:
        super().__init__(daemon=True, name=f"tracker {name}")
        self.tracker_name, self.directory, self.global_step = name, run, global_step
        self.path = run / DIRECTORY / f"{name}.json"
        self.queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.over = False
        self.identity, self.sent = "", -1
        self.row_step, self.row = -1, dict[str, Any]()

    def put(self, action: Callable[[], None] | None) -> None:
        if not self.over:
            self.queue.put(action)

    def abandon(self) -> None:
        """Wait no longer: the process is about to leave its group, which Accelerate's trackers look at."""
        if self.is_alive() and not self.over:
            self.over = True
            self._report("it does not answer")

    def run(self) -> None:
        try:
            self._open()
            while (action := self.queue.get()) is not None and not self.over:
                action()
            if not self.over:
                self._flush()
                self.tracker.finish()
        except (Exception, SystemExit) as error:  # whatever a tracker's library may raise
            if not self.over:
                self.over = True
                self._report(str(error).strip().partition("\n")[0] or type(error).__name__)

    def _report(self, what: str) -> None:
        where = f"after step {self.sent}" if self.sent >= 0 else "from the start"
        remedy = "metrics.jsonl has every record, and the next start sends what is missing"
        logger.warning("tracker %s is off %s: %s; %s", self.tracker_name, where, what, remedy)

    def _open(self) -> None:
        noted = read_json(self.path) if self.path.exists() else {}
        name, step = self.tracker_name, self.global_step
        self.identity = noted.get("id", "" if name == "mlflow" else uuid.uuid4().hex[:12])
        # A run of a version that did not note it has sent TensorBoard everything.
        self.sent = noted.get("sent", step if name == "tensorboard" and step else -1)
        if name == "tensorboard":
            self.sent = min(self.sent, step)
        self._start()
        if name == "mlflow":
            self.identity = self.tracker.tracker.info.run_id
        self._note()
        self.sent = self._stored()

    def _start(self) -> None:
        kind: Any = LOGGER_TYPE_TO_CLASS[self.tracker_name]
        project, run = self.directory.name or "run", self.directory
        options: dict[str, dict[str, Any]] = {
            "tensorboard": {"purge_step": self.sent + 1},
            "wandb": {"id": self.identity, "name": project, "resume": "allow", "dir": str(run)},
            "mlflow": {"run_id": self.identity or None, "run_name": project},
            "trackio": {"name": f"{project}-{self.identity}", "resume": "allow"},
        }
        where = (str(run),) if kind.requires_logging_directory else ()
        self.tracker = kind(project, *where, **options.get(self.tracker_name, {}))
        self.tracker.start()

    def _stored(self) -> int:
        """The last step that the tracker has, by its own word where it can be asked."""
        match self.tracker_name:
            case "mlflow":
                import mlflow

                return int(mlflow.get_run(self.identity).data.metrics.get("global_step", -1))
            case "trackio":
                return int(self.tracker.tracker._next_step) - 1
        return self.sent

    def _note(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        write_json(self.path, {"id": self.identity, "sent": self.sent})

    def add(self, global_step: int, values: Mapping[str, Any]) -> None:
        """Put values into a step's row; the row of the step before is complete then."""
        if global_step <= self.sent:
            return
        if global_step != self.row_step:
            self._flush()
            self.row_step = global_step
        # Not every tracker knows infinity and NaN, which an overflowing step's gradient norm is.
        known = {name: value for name, value in values.items() if _is_known(value)}
        self.row.update({"global_step": global_step, **known})

    def annotate(self, kind: str, global_step: int, text: str) -> None:
        match self.tracker_name:
            case "mlflow":  # it has no text beside a step
                import mlflow

                mlflow.set_tag(kind, f"step {global_step}: {text}")
            case "trackio":
                from trackio import AlertLevel

                level = AlertLevel.INFO if kind in _ROUTINE else AlertLevel.WARN
                self.tracker.tracker.alert(kind, text, level=level, step=global_step)
            case "tensorboard" | "wandb":
                # In the row that is open: one of a later step would end those before it.
                step = self.row_step if self.row else self.sent + 1
                self.add(step, {f"events/{kind}": f"step {global_step}: {text}"})

    def rewind(self, global_step: int) -> None:
        if self.row_step > global_step:
            self.row_step, self.row = -1, {}
        if self.tracker_name == "tensorboard":
            self._flush()
            self.tracker.finish()
            self.sent = min(self.sent, global_step)
            self._start()

    def _flush(self) -> None:
        if self.row:
            self.tracker.log(self.row, step=self.row_step)
            self.sent = self.row_step
            self._note()
        self.row_step, self.row = -1, {}


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
