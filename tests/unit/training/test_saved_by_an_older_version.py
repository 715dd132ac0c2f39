"""Runs that an older version began go on as it would have gone on.

`tests/saved-by-0.1.0` was written by version 0.1.0: token shards of 40 made-up documents, a run of 8 steps
with dropout on one rank (its recipe, its metrics, its checkpoint of step 4), and the state after its last
step.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import ROOT, column, fork

SAVED = ROOT / "tests" / "saved-by-0.1.0"


def test_a_run_begun_by_the_first_version_ends_as_it_ended_there(tmp_path: Path) -> None:
    run = shutil.copytree(SAVED / "run", tmp_path / "run")
    whole = read_metrics(run)
    line = ["train", "--config", str(SAVED / "recipe.json"), "--tokens", str(SAVED / "tokens")]
    job = fork([*line, "--output", str(run), "--resume", "must"])
    assert job.wait() == 0, job.stderr[-3000:]

    # Equal to the bit where the processor computes as the one that wrote it.
    for names in (("train/loss", "optim/grad_norm", "optim/learning_rate"), ("validation/mlm_loss",)):
        for ours, theirs in zip(column(read_metrics(run), *names), column(whole, *names), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
    (written,) = (run / "checkpoints" / "step-00000008").glob("*.safetensors")
    left, right = load_file(written), load_file(SAVED / "end.safetensors")
    assert left.keys() == right.keys()
    for name, tensor in right.items():
        torch.testing.assert_close(left[name], tensor, rtol=1e-4, atol=1e-8, msg=name)
