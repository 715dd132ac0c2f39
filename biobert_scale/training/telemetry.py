"""Where numbers go: `metrics.jsonl` in the run directory, and Accelerate's trackers (TensorBoard)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from biobert_scale.files import write_atomically

METRICS = "metrics.jsonl"


class Telemetry:
    """Writes on the main process; on the others every call does nothing."""

    def __init__(self, accelerator: Accelerator, run: Path, *, global_step: int, total_steps: int) -> None:
        """Open the run's records; lines beyond `global_step`, left by a run that got further than its checkpoint, go."""
        self.accelerator, self.path = accelerator, run / METRICS
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": global_step + 1}})
        self.bar = tqdm(total=total_steps, initial=global_step, unit="step", disable=None if accelerator.is_main_process else True)
        self.rewind(global_step)

    def rewind(self, global_step: int) -> None:
        """Drop what was recorded beyond a step."""
        if self.accelerator.is_main_process:
            kept = [line for line in read_metrics(self.path.parent) if line["global_step"] <= global_step]
            write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.bar.n = global_step

    def log(self, global_step: int, values: dict[str, Any]) -> None:
        """Record values of one step."""
        self.accelerator.log(values, step=global_step)
        if self.accelerator.is_main_process:
            with open(self.path, "a") as stream:
                stream.write(json.dumps({"global_step": global_step, **values}) + "\n")
            if "train/loss" in values:
                self.bar.update(global_step - self.bar.n)
                self.bar.set_postfix(loss=f"{values['train/loss']:.3f}", refresh=False)

    def close(self) -> None:
        self.bar.close()
        for tracker in self.accelerator.trackers:  # end_training() would leave the process group under the engine's feet
            tracker.finish()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """All records of a run in order; a last line cut by a crash is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
