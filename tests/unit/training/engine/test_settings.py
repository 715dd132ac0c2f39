from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.recipes import load_config
from biobert_scale.training.engine.settings import engine_config, find_file


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
