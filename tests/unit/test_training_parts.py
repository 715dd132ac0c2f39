from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biobert_scale.config import OptimizerConfig, ScheduleConfig
from biobert_scale.errors import UserError
from biobert_scale.files import read_json, sha256_file, write_json
from biobert_scale.recipes import load_config
from biobert_scale.training import checkpoint
from biobert_scale.training.deepspeed import engine_config, find_file
from biobert_scale.training.optimizer import build_optimizer
from biobert_scale.training.preemption import StopRequest
from biobert_scale.training.schedule import learning_rate
from biobert_scale.training.telemetry import read_metrics


def test_the_schedule_is_the_recipe_s() -> None:
    schedule = ScheduleConfig(warmup_steps=10_000, total_steps=150_000)
    rate = [learning_rate(step, peak=5e-5, schedule=schedule) for step in (0, 4_999, 9_999, 10_000, 80_000, 149_999, 150_000)]
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
    config = replace(config, training=replace(config.training, engine=replace(config.training.engine, deepspeed_config="zero0")))
    with pytest.raises(UserError, match=r"does not scale the loss.*zero0\.json"):
        engine_config(config, world_size=16)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_s_file_is_filled_from_the_run(stage: int) -> None:
    config = load_config("biobert-large")
    config = replace(config, training=replace(config.training, engine=replace(config.training.engine, deepspeed_config=f"zero{stage}")))
    settings = engine_config(config, world_size=16)
    assert settings["zero_optimization"]["stage"] == stage
    assert (settings["train_batch_size"], settings["train_micro_batch_size_per_gpu"], settings["gradient_accumulation_steps"]) == (256, 2, 8)
    assert settings["fp16"]["enabled"] and not settings["bf16"]["enabled"] and settings["gradient_clipping"] == 1.0
    assert "auto" not in json.dumps(settings)


def test_a_contradiction_names_both_places(tmp_path: Path) -> None:
    config = load_config("biobert-large")
    settings = json.loads(find_file("zero1").read_text())
    path = tmp_path / "mine.json"
    mine = replace(config, training=replace(config.training, engine=replace(config.training.engine, deepspeed_config=str(path))))
    path.write_text(json.dumps({**settings, "gradient_accumulation_steps": 4}))
    with pytest.raises(UserError, match=r"mine\.json") as caught:
        engine_config(mine, world_size=16)
    assert "training.global_batch_size" in str(caught.value) and "gradient_accumulation_steps" in str(caught.value)
    path.write_text(json.dumps({**settings, "scheduler": {"type": "WarmupLR"}}))
    with pytest.raises(UserError, match=r"training\.schedule"):
        engine_config(mine, world_size=16)
    path.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        engine_config(mine, world_size=16)
    path.write_text(json.dumps({("zero_optimisation" if key == "zero_optimization" else key): value for key, value in settings.items()}))
    with pytest.raises(UserError, match="no section 'zero_optimization'"):
        engine_config(mine, world_size=16)
    path.write_text(json.dumps({key: value for key, value in settings.items() if key != "checkpoint"}))
    assert engine_config(mine, world_size=16)["checkpoint"] == {"tag_validation": "Fail"}


def fake_checkpoint(run: Path, step: int) -> Path:
    directory = run / checkpoint.DIRECTORY / f"step-{step:08d}"
    directory.mkdir(parents=True)
    (directory / "weights").write_bytes(bytes([step]) * 100)
    write_json(directory / "manifest.json", {"stage": "checkpoint", "files": {"weights": {"bytes": 100, "sha256": sha256_file(directory / "weights")}}})
    return directory


def test_a_broken_checkpoint_is_named_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third, fourth = (fake_checkpoint(tmp_path, step) for step in (1, 2, 3, 4))
    assert checkpoint.newest_intact(tmp_path) == fourth
    (fourth / "weights").write_bytes(b"\x05" * 100)
    (third / "weights").write_bytes(b"\x03" * 99)
    (second / "weights").unlink()
    assert checkpoint.newest_intact(tmp_path) == first
    assert all(words in caplog.text for words in ("step-00000004", "SHA-256", "99 bytes", "missing"))
    (first / "manifest.json").unlink()
    assert checkpoint.newest_intact(tmp_path) is None


def test_a_directory_that_was_never_renamed_does_not_count(tmp_path: Path) -> None:
    fake_checkpoint(tmp_path, 7).rename(tmp_path / checkpoint.DIRECTORY / ".step-00000007.part")
    assert checkpoint.complete(tmp_path) == []


def test_other_settings_are_refused_on_resume(tmp_path: Path) -> None:
    config = load_config("demo")
    write_json(tmp_path / "config.json", config)
    saved = read_json(tmp_path / "config.json")
    checkpoint.refuse_changes(saved, config, where=tmp_path)
    longer = replace(config, training=replace(config.training, log_every_steps=99))
    checkpoint.refuse_changes(saved, longer, where=tmp_path)
    other = replace(config, training=replace(config.training, optimizer=replace(config.training.optimizer, betas=(0.9, 0.5))))
    with pytest.raises(UserError, match=r"training\.optimizer\.betas was \[0\.9, .*\] and is now \[0\.9, 0\.5\]"):
        checkpoint.refuse_changes(saved, other, where=tmp_path)


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
