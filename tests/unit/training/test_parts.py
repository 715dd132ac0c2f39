from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from biobert_scale.config import OptimizerConfig, ScheduleConfig
from biobert_scale.errors import UserError
from biobert_scale.recipes import load_config
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint import TrainerState
from biobert_scale.training.deepspeed import engine_config, find_file
from biobert_scale.training.optimizer import build_optimizer
from biobert_scale.training.preemption import StopRequest
from biobert_scale.training.schedule import learning_rate
from biobert_scale.training.telemetry import Telemetry, read_metrics


def test_the_schedule_is_the_recipe_s() -> None:
    schedule = ScheduleConfig(warmup_steps=10_000, total_steps=150_000)
    rate = [
        learning_rate(step, peak=5e-5, schedule=schedule)
        for step in (0, 4_999, 9_999, 10_000, 80_000, 149_999, 150_000)
    ]
    assert rate == pytest.approx([5e-9, 2.5e-5, 5e-5, 5e-5, 2.5e-5, 5e-5 / 140_000, 0.0])


def test_no_decay_on_biases_and_layer_norms() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    decayed, others = build_optimizer(model, OptimizerConfig()).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(5, 4), (4, 4)]
    assert [tuple(p.shape) for p in others["params"]] == [(4,), (4,), (4,)]
    assert decayed["betas"] == (0.9, 0.999) and decayed["eps"] == 1e-6


def test_fp16_at_stage_0_is_refused() -> None:
    config = load_config("biobert-large")
    config = replace(
        config,
        training=replace(config.training, engine=replace(config.training.engine, deepspeed_config="zero0")),
    )
    with pytest.raises(UserError, match=r"does not scale the loss.*zero0\.json"):
        engine_config(config, world_size=16)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_s_file_is_filled_from_the_run(stage: int) -> None:
    config = load_config("biobert-large")
    config = replace(
        config,
        training=replace(
            config.training, engine=replace(config.training.engine, deepspeed_config=f"zero{stage}")
        ),
    )
    settings = engine_config(config, world_size=16)
    assert settings["zero_optimization"]["stage"] == stage
    assert (
        settings["train_batch_size"],
        settings["train_micro_batch_size_per_gpu"],
        settings["gradient_accumulation_steps"],
    ) == (256, 2, 8)
    assert (
        settings["fp16"]["enabled"]
        and not settings["bf16"]["enabled"]
        and settings["gradient_clipping"] == 1.0
    )
    assert "auto" not in json.dumps(settings)


def test_a_contradiction_names_both_places(tmp_path: Path) -> None:
    config = load_config("biobert-large")
    settings = json.loads(find_file("zero1").read_text())
    path = tmp_path / "mine.json"
    mine = replace(
        config,
        training=replace(config.training, engine=replace(config.training.engine, deepspeed_config=str(path))),
    )
    path.write_text(json.dumps({**settings, "gradient_accumulation_steps": 4}))
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        engine_config(mine, world_size=16)
    assert "training.global_batch_size" in str(caught.value) and "gradient_accumulation_steps" in str(
        caught.value
    )
    path.write_text(json.dumps({**settings, "scheduler": {"type": "WarmupLR"}}))
    with pytest.raises(UserError, match=r"training\.schedule"):
        engine_config(mine, world_size=16)
    path.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        engine_config(mine, world_size=16)
    path.write_text(
        json.dumps(
            {
                ("zero_optimisation" if key == "zero_optimization" else key): value
                for key, value in settings.items()
            }
        )
    )
    with pytest.raises(UserError, match=r"zero_optimisation.*did you mean 'zero_optimization'"):
        engine_config(mine, world_size=16)


def test_a_stop_is_heard_from_a_signal_and_from_a_file(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        request = StopRequest(tmp_path)
        assert not request.heard()
        signal.raise_signal(signal.SIGUSR1)
        assert request.heard() and request.reason == "SIGUSR1"
        by_file = StopRequest(tmp_path)
        (tmp_path / "STOP").touch()
        assert by_file.heard() and "STOP" in by_file.reason
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_line_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"global_step": 1}\n{"global_step": 2}\n{"global_st')
    assert [record["global_step"] for record in read_metrics(tmp_path)] == [1, 2]


def test_records_beyond_a_checkpoint_go_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"global_step": step, "consumed_samples": seen}) + "\n"
            for step, seen in ((0, 0), (1, 16), (2, 32), (2, 48), (3, 64))
        )
    )
    training = load_config("demo").training
    telemetry = Telemetry(
        Accelerator(cpu=True, log_with=[]),
        tmp_path,
        TrainerState(global_step=2, consumed_samples=32),
        training=training,
    )
    telemetry.log(3, {"consumed_samples": 48, "optim/grad_norm": float("inf"), "optim/loss_scale": 2.0})
    telemetry.close()
    assert [(record["global_step"], record["consumed_samples"]) for record in read_metrics(tmp_path)] == [
        (0, 0),
        (1, 16),
        (2, 32),
        (3, 48),
    ]
    assert (
        "Infinity" not in (tmp_path / "metrics.jsonl").read_text()
        and read_metrics(tmp_path)[-1]["optim/grad_norm"] is None
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "MASTER_ADDR": "n1"},
            ("3", "1", "4", "29500"),
        ),
        (
            {
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "MASTER_ADDR": "n1",
                "MASTER_PORT": "7",
            },
            ("1", "0", "2", "7"),
        ),
        (
            {"SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "MASTER_ADDR": "n1"},
            ("0", "0", "1", ""),
        ),  # in a batch script, outside srun
    ],
)
def test_ranks_are_read_from_the_launcher(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "environ", dict(names))
    assert runtime.describe_ranks() == int(expected[2])
    assert tuple(os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")) == expected[:3]
    assert not expected[3] or os.environ["MASTER_PORT"] == expected[3]


def test_ranks_that_do_not_know_where_to_meet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    )
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        runtime.describe_ranks()


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    config = load_config("demo")
    with pytest.raises(UserError, match="no tracker 'aim'"):
        runtime.start(
            replace(
                config,
                training=replace(
                    config.training,
                    trackers=("aim",),
                    precision=replace(config.training.precision, dtype="fp32"),
                ),
            ),
            run="unused",
        )
