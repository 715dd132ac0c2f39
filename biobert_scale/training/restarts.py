"""Runs that are started again without a person: torchrun's elastic restarts, SLURM's requeues. One that gets
nowhere is stopped."""

from __future__ import annotations

from pathlib import Path

from biobert_scale.environment import is_restart
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_json, write_json

STARTS = "starts.json"
_RESTARTS_WITHOUT_PROGRESS = 2


def note_start(run: Path, global_step: int) -> None:
    """Remember at which step a run began; called on one rank.

    Raises:
        RunFailed: it has been restarted twice at the same step, and died both times before its next
            checkpoint.
    """
    before = read_json(run / STARTS) if (run / STARTS).exists() else {}
    restarts = before["restarts"] + 1 if is_restart() and before.get("global_step") == global_step else 0
    write_json(run / STARTS, {"global_step": global_step, "restarts": restarts})
    if restarts >= _RESTARTS_WITHOUT_PROGRESS:
        what = f"restarted {restarts} times at step {global_step} without reaching another checkpoint"
        raise RunFailed(
            what,
            where=run,
            remedy="the reason is above, or in another rank's log; starting it by hand tries again",
        )


def note_end(run: Path) -> None:
    """The run has saved and stopped, or is finished: the next start is no sign of trouble."""
    (run / STARTS).unlink(missing_ok=True)
