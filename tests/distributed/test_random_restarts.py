"""One run that is ended hundreds of times at random: the end is that of a run which nothing happened to."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.files import read_json, write_json
from biobert_scale.training.checkpoint.retention import FINISHED, complete
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.distributed.random_restarts import Restless, Shape
from tests.factories import TINY
from tests.launching import column, last_state, train

NAMES = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples", "consumed_tokens")
VALIDATION = ("--training.validation.every-steps", "5")
# A part of a last save that nobody writes is waited for half as long as the other ranks are.
PATIENCE = (
    *("--training.engine.communication-timeout-seconds", "40"),
    *("--training.guards.stall-seconds", "30"),
)


def saving(draw: random.Random) -> list[str]:
    """How a start saves, which is its own affair."""
    background = "background" if draw.random() < 0.8 else "no-background"
    checkpoint = "--training.checkpoint."
    return [
        *(f"{checkpoint}every-steps", draw.choice("12"), f"{checkpoint}keep-last", draw.choice("23")),
        *(f"{checkpoint}keep-best", draw.choice("01"), f"{checkpoint}{background}"),
    ]


def steps_for(restarts: int) -> int:
    """A run that is not at its end after so many restarts."""
    return round(Restless.pace * restarts) + 20


def disturb(restless: Restless, run: str, seed: int, restarts: int, report: Any) -> None:
    """Run it with so many restarts; writes down what happened, and prints the end of it where it fails."""
    begun = time.monotonic()
    try:
        while restless.restarts < restarts:
            restless.again()
        restless.to_its_end()
    except BaseException:
        print(f"seed {seed}, after {restless.restarts} restarts:")
        print(*restless.faults[-12:], restless.stderr[-3000:], sep="\n")
        raise
    finally:
        table = restless.table()
        found = {
            "seed": seed,
            "restarts": restless.restarts,
            "steps_lost": sum(kind["steps_lost"] for kind in table.values()),
            "minutes": round((time.monotonic() - begun) / 60, 1),
            "faults": table,
        }
        write_json(restless.run.with_name("restarts.json"), {**found, "schedule": restless.faults})
        report("restarts", {"run": run, **found})


@pytest.mark.fault(
    "{restarts} restarts of one run at drawn moments, ranks and engine kept",
    "the end equals the undisturbed run's bit for bit",
    lost="the steps since the last save",
)
@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "restarts"), [(1, 200)])
def test_two_hundred_random_restarts_at_the_same_world_size(
    tokens: Path, tmp_path: Path, seed: int, restarts: int, record_property: Any
) -> None:
    same = (
        *("--model.hidden-dropout-prob", "0.1", "--model.attention-probs-dropout-prob", "0.1"),
        *("--training.global-batch-size", "8", "--training.micro-batch-size", "2"),
        *("--training.engine.deepspeed-config", "zero1"),
        *VALIDATION,
        *PATIENCE,
    )

    def shape(draw: random.Random) -> Shape:
        return 2, "zero1", [*same, *saving(draw)]

    whole, run, steps = tmp_path / "whole", tmp_path / "run", steps_for(restarts)
    metrics = train(tokens, whole, *same, processes=2, dtype="bf16", steps=steps)
    restless = Restless(
        tokens=tokens,
        run=run,
        draw=random.Random(seed),
        shape=shape,
        steps=steps,
        dtype="bf16",
    )
    disturb(restless, "two ranks, ZeRO-1, bf16, bit for bit", seed, restarts, record_property)
    assert_same_to_the_bit(run, whole, metrics)


@pytest.mark.fault(
    "{restarts} restarts at drawn moments of a run of two phases",
    "the end equals the undisturbed run's bit for bit",
    lost="the steps since the last save",
)
@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "restarts"), [(3, 20)])
def test_twenty_random_restarts_of_a_run_of_two_phases(
    tokens: Path, tmp_path: Path, seed: int, restarts: int, record_property: Any
) -> None:
    whole, run, steps = tmp_path / "whole", tmp_path / "run", steps_for(restarts)
    recipe = tmp_path / "recipe.json"
    phases = [{"steps": steps // 2, "max_seq_length": 32, "micro_batch_size": 4}, {}]
    schedule = {**TINY["training"]["schedule"], "total_steps": steps}
    write_json(recipe, {**TINY, "training": {**TINY["training"], "schedule": schedule, "phases": phases}})
    same = (
        *("--config", str(recipe), "--model.hidden-dropout-prob", "0.1"),
        *("--training.global-batch-size", "8", "--training.micro-batch-size", "2"),
        *("--training.engine.deepspeed-config", "zero1"),
        *VALIDATION,
        *PATIENCE,
    )

    def shape(draw: random.Random) -> Shape:
        return 2, "zero1", [*same, *saving(draw)]

    metrics = train(tokens, whole, *same, processes=2, dtype="bf16", steps=steps)
    draw = random.Random(seed)
    restless = Restless(tokens=tokens, run=run, draw=draw, shape=shape, steps=steps, dtype="bf16")
    disturb(restless, "two phases, two ranks, ZeRO-1, bf16, bit for bit", seed, restarts, record_property)
    assert_same_to_the_bit(run, whole, metrics)


def assert_same_to_the_bit(run: Path, whole: Path, metrics: list[RunMetrics]) -> None:
    ours, theirs = last_state(run), last_state(whole)
    assert complete(run)[-1].name == complete(whole)[-1].name and ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    for names in (NAMES, ("validation/mlm_loss", "validation/nsp_accuracy")):
        assert column(read_metrics(run), *names) == column(metrics, *names)
    assert read_json(run / FINISHED) == read_json(whole / FINISHED)


@pytest.mark.fault(
    "{restarts} restarts of one run at drawn moments, with other ranks and another engine",
    "the end equals the undisturbed run's within 1e-5",
    lost="the steps since the last save",
)
@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "restarts"), [(2, 60)])
def test_random_restarts_in_other_shapes(
    tokens: Path, tmp_path: Path, seed: int, restarts: int, record_property: Any
) -> None:
    """Ranks, engine and micro-batch change from start to start. Dropout depends on the rank, so there is
    none; sums in another order differ in the last bits."""
    same = ("--training.global-batch-size", "16", *VALIDATION, *PATIENCE)

    def shape(draw: random.Random) -> Shape:
        ranks, engine = draw.choice((1, 2, 4)), draw.choice(("ddp", "zero0", "zero1", "zero2", "zero3"))
        option = (
            ("--training.engine.name", "ddp")
            if engine == "ddp"
            else ("--training.engine.deepspeed-config", engine)
        )
        micro = draw.choice("24")
        return ranks, engine, [*same, *option, "--training.micro-batch-size", micro, *saving(draw)]

    whole, run, steps = tmp_path / "whole", tmp_path / "run", steps_for(restarts)
    alone = ("--training.engine.name", "ddp", "--training.micro-batch-size", "16")
    metrics = train(tokens, whole, *same, *alone, processes=1, steps=steps)
    restless = Restless(
        tokens=tokens,
        run=run,
        draw=random.Random(seed),
        shape=shape,
        steps=steps,
        dtype="fp32",
    )
    shapes = "1, 2 or 4 ranks, DDP or ZeRO-0 to 3, fp32, within 1e-5"
    disturb(restless, shapes, seed, restarts, record_property)
    for names in (NAMES, ("validation/mlm_loss", "validation/nsp_accuracy")):
        for ours, theirs in zip(column(read_metrics(run), *names), column(metrics, *names), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
    assert read_json(run / FINISHED) == read_json(whole / FINISHED)
    left, right = last_state(run), last_state(whole)
    apart = {
        name: float((left[name] - value).norm() / value.norm())
        for name, value in right.items()
        if not name.endswith("key.bias")  # softmax takes no notice of it: rounding alone moves it
    }
    assert left.keys() == right.keys() and max(apart.values()) <= 1e-5, max(apart, key=apart.__getitem__)
