"""Real ranks over gloo: one mathematics under the real launcher, and a stop that leaves no trace."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.launching import column, command, launch, start, train, wait_for_step

WHOLE_BATCH = ("--training.engine.name", "ddp", "--training.micro-batch-size", "16")


@pytest.fixture(scope="module")
def reference(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> list[RunMetrics]:
    """One process, no DeepSpeed, one micro-batch of the whole batch."""
    return train(tokens, tmp_path_factory.mktemp("reference") / "run", *WHOLE_BATCH, processes=1)


@pytest.mark.slow
def test_two_ranks_of_the_real_launcher_are_one_process(
    tokens: Path, reference: list[RunMetrics], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    line = command(tokens, run, "--training.engine.deepspeed-config", "zero1", processes=2)
    done = launch(line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = read_metrics(run)
    for name in ("train/loss", "optim/learning_rate", "validation/mlm_loss", "optim/grad_norm"):
        ours, theirs = column(metrics, name), column(reference, name)
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], rel=2e-5), name
    assert {record["validation/sequences"] for record in metrics if "validation/sequences" in record} == {21}


@pytest.mark.slow
@pytest.mark.fault("SIGTERM to a run, then a restart", "the end equals the undisturbed run's bit for bit")
def test_a_run_stopped_by_sigterm_resumes_exactly(tokens: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"processes": 2, "dtype": "bf16", "steps": 40}
    dropout: tuple[str, ...] = (
        "--model.hidden-dropout-prob",
        "0.1",
        "--model.attention-probs-dropout-prob",
        "0.1",
    )
    dropout += ("--training.checkpoint.every-steps", "15", "--training.validation.every-steps", "20")
    whole = train(tokens, tmp_path / "whole", *dropout, **options)
    run = tmp_path / "stopped"
    job = start(tokens, run, *dropout, **options)
    wait_for_step(job, run, 4)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 75
    assert not (run / "finished.json").exists()
    stopped_at = max(record["global_step"] for record in read_metrics(run))
    assert (run / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").exists(), (
        "the step at hand was not saved"
    )
    resumed = train(tokens, run, *dropout, **options)
    names = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples", "consumed_tokens")
    assert column(resumed, *names) == column(whole, *names), "resuming is not exact"
    assert read_json(run / "finished.json") == read_json(tmp_path / "whole" / "finished.json")
    assert len(list((run / "checkpoints").glob("step-*"))) == 2


def test_what_does_not_fit_is_refused_in_one_line(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tokens, run, *WHOLE_BATCH, processes=1, steps=3)
    for overrides, says in (
        (("--seed", "2"), "samples"),
        (("--training.optimizer.weight-decay", "0.5"), "weight_decay"),
        (("--training.precision.dtype", "fp16"), "fp16 needs a GPU"),
    ):
        job = start(tokens, run, *WHOLE_BATCH, *overrides, processes=1, steps=3)
        code = job.wait()
        said = [line for line in job.stderr.splitlines() if line.startswith("biobert-scale:")]
        assert code == 2 and len(said) == 1 and says in said[0], job.stderr[-2000:]
    both = start(tokens, run, "--training.engine.name", "ddp", "--seed", "2", processes=2, steps=3)
    assert both.wait() == 2
    assert both.stderr.count("biobert-scale: the samples here have the fingerprint") == 1, both.stderr[-2000:]
