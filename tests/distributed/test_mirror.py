"""A run of real ranks whose machine is lost: what object storage has of it is enough."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.object_store import ObjectStore
from biobert_scale.training.checkpoint.mirrored import look
from biobert_scale.training.checkpoint.retention import complete, step_of
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import attempt, column, last_state, start, train, wait_until
from tests.s3_server import BUCKET, serving

ADDRESS = f"s3://{BUCKET}/run"
STEPS = 100


@pytest.mark.slow
@pytest.mark.fault(
    "the machine of two ranks is lost with its disk",
    "the same command in an empty directory resumes from the mirror alone, with tokens of object storage, and"
    " ends as the undisturbed run, to the bit",
    lost="the steps since the last upload",
)
def test_a_lost_machine_is_replaced(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still = train(tokens, tmp_path / "still", processes=2, steps=STEPS)
    with serving() as (bucket, proxy):
        for path in tokens.rglob("*"):
            if path.is_file():
                bucket.put(f"tokens/{path.relative_to(tokens)}", path.read_bytes())
        for name, value in proxy.account.items():
            monkeypatch.setenv(name, value)
        stored = ("--tokens", f"s3://{BUCKET}/tokens", "--token-cache", str(tmp_path / "cache"))
        options = (*stored, "--training.checkpoint.mirror", ADDRESS)
        run = tmp_path / "run"
        chosen: dict[str, Any] = {"processes": 2, "steps": STEPS, "variables": proxy.account}
        job = start(tokens, run, *options, **chosen)
        wait_until(lambda: look(ObjectStore(ADDRESS)).whole, job)
        job.kill()
        shutil.rmtree(run)
        again = attempt(tokens, run, *options, "--resume", "must", **chosen)
        assert again.returncode == 0, again.stderr[-3000:]
        assert "resuming from step-" in again.stderr
        newest = step_of(complete(run)[-1])
        assert newest == STEPS and newest in look(ObjectStore(ADDRESS)).whole
    names = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples")
    assert column(read_metrics(run), *names) == column(still, *names)
    ours, theirs = last_state(run), last_state(tmp_path / "still")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
