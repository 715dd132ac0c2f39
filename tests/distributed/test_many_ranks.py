"""More ranks than the recipe's sixteen, real ones, forked from a process that has loaded the libraries."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import Job, column, start, train, wait_until

STEPS = 20


def proportional_bytes(job: Job) -> int:
    """Memory of all ranks, each page divided among those that share it."""
    found = 0
    for rank in job.ranks:
        rollup = Path(f"/proc/{rank.pid}/smaps_rollup").read_text()
        size = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        assert size is not None
        found += int(size[1]) * 1024
    return found


@pytest.mark.fault(
    "SIGKILL of one of {ranks} ranks",
    "the run resumes; its losses are those of one process",
    lost="the steps since the last save",
)
@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ranks", [48])
def test_forty_eight_ranks_and_a_restart_are_one_process(
    tmp_path: Path, ranks: int, record_property: Any
) -> None:
    """Shows what grows with the ranks: sums, shares of the model, and the files of a save."""
    tokens = write_tokens(tmp_path / "tokens", documents=1000)
    same = (
        *("--training.global-batch-size", str(2 * ranks), "--training.validation.sequences", str(ranks)),
        *("--training.checkpoint.every-steps", "4", "--training.engine.deepspeed-config", "zero1"),
    )
    one = ("--training.micro-batch-size", str(2 * ranks), "--training.engine.name", "ddp")
    expected = train(tokens, tmp_path / "one", *same, *one, processes=1, steps=STEPS)

    run, begun = tmp_path / "many", time.monotonic()
    many = (*same, "--training.micro-batch-size", "2")
    job = start(tokens, run, *many, processes=ranks, steps=STEPS)

    def taken() -> int:
        return max((record["global_step"] for record in read_metrics(run)), default=-1)

    wait_until(lambda: taken() >= 1, job)
    first_step, memory = time.monotonic() - begun, proportional_bytes(job)
    wait_until(lambda: taken() >= 10, job)
    os.kill(job.pid(ranks // 2), signal.SIGKILL)
    assert job.wait() != 0
    killed = time.monotonic() - begun

    again = start(tokens, run, *many, processes=ranks, steps=STEPS)
    assert again.wait(1800) == 0, again.stderr[-3000:]
    found = {
        "ranks": ranks,
        "first_step_seconds": round(first_step, 1),
        "killed_after_seconds": round(killed, 1),
        "seconds": round(time.monotonic() - begun, 1),
        "megabytes": memory // 10**6,
    }
    print(found)
    record_property("many_ranks", found)
    for names in (("train/loss", "optim/grad_norm", "consumed_samples"), ("validation/mlm_loss",)):
        ours, theirs = column(read_metrics(run), *names), column(expected, *names)
        assert len(ours) == len(theirs)
        for left, right in zip(ours, theirs, strict=True):
            assert left == pytest.approx(right, rel=1e-5)
