"""Runs whose steps are not alike, in numbers: phases, and a batch that grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.config import Config, PhaseConfig, phases_of
from biobert_scale.display import text
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.plan.choose import predict_all
from biobert_scale.plan.dry_run import describe_run, plan_run
from biobert_scale.plan.measured import read_run
from biobert_scale.plan.predict import Machine, Rates, predict
from biobert_scale.recipes import load_config

DEMO = load_config("demo")  # 480 steps of 128 sequences of 32 tokens
SHORT = PhaseConfig(steps=400, max_seq_length=16, micro_batch_size=64)
MACHINE = Machine(devices=2, devices_per_node=2, device_memory=0)
RATES = Rates(flops=1e12, bandwidth=1e9, network=1e9, device_step=1e-9)


def changed(**training: Any) -> Config:
    return replace(DEMO, training=replace(DEMO.training, **training))


PHASED = changed(phases=(SHORT, PhaseConfig()))


def test_each_phase_counts_at_its_own_length_and_the_run_has_the_sum() -> None:
    run = plan_run(PHASED, world_size=2, vocabulary_size=4000)
    short, rest = run.phases
    assert (short.steps, rest.steps, short.micro_steps, rest.micro_steps) == (400, 80, 1, 2)
    assert run.sequences == 480 * 128 and run.tokens == 128 * (400 * 16 + 80 * 32)
    assert run.flops == 128 * (400 * short.sequence_flops + 80 * rest.sequence_flops)
    assert run.memory.device.peak == max(phase.memory.device.peak for phase in run.phases)
    shown = text(describe_run(PHASED, world_size=2))
    assert "phase 1" in shown and "2 x 64 x 1 = 128" in shown and f"{run.tokens:,}" in shown


def test_the_plan_s_time_is_that_of_the_phases_by_their_steps() -> None:
    whole = predict(PHASED, MACHINE, RATES, vocabulary_size=4000)
    parts = [predict(phase.config, MACHINE, RATES, vocabulary_size=4000) for phase in phases_of(PHASED)]
    assert whole.days == pytest.approx(
        sum((part.days or 0) * steps / 480 for part, steps in zip(parts, (400, 80), strict=True))
    )
    assert whole.device.peak == max(part.device.peak for part in parts)
    assert (whole.days or 0) < (predict(DEMO, MACHINE, RATES, vocabulary_size=4000).days or 0)


def test_a_warm_up_of_the_batch_spares_arithmetic_and_bounds_the_micro_batch() -> None:
    warm = changed(micro_batch_size=8, batch_warmup_start=16, batch_warmup_steps=240)
    full, run = (plan_run(each, world_size=2, vocabulary_size=4000) for each in (DEMO, warm))
    assert run.sequences < full.sequences and run.flops / full.flops == run.sequences / full.sequences
    seconds = [predict(each, MACHINE, RATES, vocabulary_size=4000).days or 0 for each in (DEMO, warm)]
    assert seconds[1] < seconds[0]
    found = predict_all(warm, MACHINE, RATES, vocabulary_size=4000)
    assert {one.micro_batch_size for one in found} == {1, 2, 4, 8}
    assert "batch warm-up" in text(describe_run(warm, world_size=2))


@pytest.mark.parametrize("config", [PHASED, changed(batch_warmup_start=64, batch_warmup_steps=9)])
def test_a_run_whose_steps_are_not_alike_gives_no_rates(config: Config, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", config)
    write_json(tmp_path / "device.json", {})
    with pytest.raises(UserError, match="steps are not alike"):
        read_run(tmp_path)
