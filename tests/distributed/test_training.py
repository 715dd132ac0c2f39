"""Real ranks under the real launcher, over gloo: the same mathematics everywhere, and stops that leave no
trace."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json
from biobert_scale.training.telemetry import read_metrics
from tests.factories import write_tokens
from tests.launching import column as losses
from tests.launching import command, environment, train

STEPS = 8


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.fixture(scope="module")
def reference(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One process, no DeepSpeed, one micro-batch of the whole batch."""
    return train(
        tokens,
        tmp_path_factory.mktemp("reference") / "run",
        "--training.engine.name",
        "ddp",
        "--training.micro-batch-size",
        "16",
        processes=1,
    )


@pytest.mark.parametrize(("processes", "engine"), [(1, "zero2"), (2, "zero0"), (2, "zero1"), (2, "zero3")])
def test_every_split_of_the_batch_is_the_same_mathematics(
    tokens: Path, reference: list[dict[str, Any]], tmp_path: Path, processes: int, engine: str
) -> None:
    run = train(tokens, tmp_path / "run", "--training.engine.deepspeed-config", engine, processes=processes)
    for name in ("train/loss", "optim/learning_rate", "validation/mlm_loss", "optim/grad_norm"):
        ours, theirs = losses(run, name), losses(reference, name)
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], rel=2e-5), name
    assert {record["validation/sequences"] for record in run if "validation/sequences" in record} == {21}


def test_a_run_stopped_by_sigterm_goes_on_exactly(tokens: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"processes": 2, "dtype": "bf16", "steps": 60}
    dropout = ("--model.hidden-dropout-prob", "0.1", "--model.attention-probs-dropout-prob", "0.1")
    whole = train(tokens, tmp_path / "whole", *dropout, **options)
    run = tmp_path / "stopped"
    process = subprocess.Popen(
        command(tokens, run, *dropout, **options),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 240
    while not any(record["global_step"] >= 4 for record in read_metrics(run)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) != 0
    assert not (run / "finished.json").exists()
    stopped_at = max(record["global_step"] for record in read_metrics(run))
    assert (run / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").exists(), (
        "the step at hand was not saved"
    )
    resumed = train(tokens, run, *dropout, **options)
    names = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples", "consumed_tokens")
    assert losses(resumed, *names) == losses(whole, *names), "resuming is not exact"
    assert read_json(run / "finished.json") == read_json(tmp_path / "whole" / "finished.json")
    assert len(list((run / "checkpoints").glob("step-*"))) == 2


def test_a_corrupted_checkpoint_costs_steps_and_nothing_else(
    tokens: Path, reference: list[dict[str, Any]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(tokens, run, processes=1)
    newest = max((run / "checkpoints").glob("step-*"))
    shard = next(newest.glob("state-*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    (run / "finished.json").unlink()
    done = subprocess.run(
        command(tokens, run, processes=1), env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and f"{newest.name} is passed over" in done.stderr
    assert [value for _, value in losses(read_metrics(run), "train/loss")] == pytest.approx(
        [value for _, value in losses(reference, "train/loss")], rel=2e-5
    )


def test_what_does_not_fit_is_refused_in_one_line(tokens: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tokens, run, processes=1)
    for overrides, says in (
        (("--seed", "2"), "samples"),
        (("--training.optimizer.weight-decay", "0.5"), "weight_decay"),
        (("--training.precision.dtype", "fp16"), "fp16 needs a GPU"),
    ):
        done = subprocess.run(
            command(tokens, run, *overrides, processes=1),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        told = [line for line in done.stderr.splitlines() if line.startswith("biobert-scale:")]
        assert done.returncode == 2 and len(told) == 1 and says in told[0], done.stderr[-2000:]
    both = subprocess.run(
        command(tokens, run, "--seed", "2", processes=2),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (
        both.returncode == 1
        and both.stderr.count("biobert-scale: the samples here have the fingerprint") == 1
    ), both.stderr[-2000:]


def test_a_full_disk_keeps_the_last_checkpoint(tokens: Path, tmp_path: Path) -> None:
    """A small file system that fills up while a later checkpoint is written."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.strip()}")
    try:
        run = disk / "run"
        recipe_command = command(
            tokens,
            tmp_path / "recipe",
            "--training.checkpoint.keep-last",
            "99",
            "--training.checkpoint.every-steps",
            "1",
            processes=1,
        )
        full = [str(run) if argument == str(tmp_path / "recipe") else argument for argument in recipe_command]
        done = subprocess.run(
            full, env=environment(), capture_output=True, text=True, timeout=300, cwd=tmp_path
        )
        assert (
            done.returncode == 1 and "no space is left" in done.stderr and "Traceback" not in done.stderr
        ), done.stderr[-2000:]
        from biobert_scale.training.retention import newest_intact

        assert newest_intact(run) is not None
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
