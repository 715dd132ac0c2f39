"""Does a model learn with this trainer as well as with transformers' `Trainer`? Same weights, samples, budget
and settings, one after the other."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Literal

import torch

from benchmarks.child import ONE_THREAD, run_alone
from benchmarks.learning.page import learning_figure, learning_page
from benchmarks.learning.records import LearningResult, PeerTraining, Side, Training
from benchmarks.result import conditions, device_name, write_result
from benchmarks.trainer import Point, Trained
from benchmarks.turns import cpu_seconds
from biobert_scale.config import Config
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import read_manifest, write_json
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config, recipe_names
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.training.monitor.telemetry import read_metrics

_LIBRARIES = ("torch", "transformers", "accelerate", "deepspeed", "numpy")
_POINTS = 10


@within(steps="[0, 1e9]")
def learning(
    *, tokens: Path, output: Path, config: str = "demo-real", steps: int = 0, equal_rates: bool = False
) -> None:
    """Compare a small model's held-out loss and time with those under transformers' Trainer.

    From equal weights on equal samples; writes dated JSON, Markdown and a picture.

    Args:
        tokens: finished token shards.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file. One batch of it must fit the device, padded.
        steps: optimizer steps of each run, the warm-up shortened in proportion; 0 for the recipe's.
        equal_rates: give the Trainer this package's learning rate at each step; its own schedule is one step
            behind in the warm-up.
    """
    read = load_config(config)
    require_one_device("learning")
    recipe = shortened(read, steps or read.training.schedule.total_steps)
    counts = read_manifest(tokens, TOKENS_STAGE).counts
    with tempfile.TemporaryDirectory(prefix="biobert-scale-") as temporary:
        scratch = Path(temporary)
        write_json(scratch / "recipe.json", recipe)
        build_samples(tokens, scratch / "samples", recipe.data, seed=recipe.seed)
        _compile(tokens, scratch / "samples", recipe)
        load = os.getloadavg()[0]
        sides = [
            _timed(partial(_ours, tokens, scratch, recipe)),
            _timed(partial(_peers, tokens, scratch, equal_rates=equal_rates)),
        ]
    result: LearningResult = {
        **conditions(
            f"learning --tokens DIR --config {config if config in recipe_names() else 'FILE'}"
            f" --steps {recipe.training.schedule.total_steps}" + " --equal-rates" * equal_rates,
            _LIBRARIES,
        ),
        "load_before": load,
        "device": device_name("CPU, one thread of torch each"),
        "recipe_dtype": read.training.precision.dtype,
        "tokens": counts,
        "settings": {
            "seed": recipe.seed,
            "model": recipe.model,
            "data": recipe.data,
            "training": recipe.training,
        },
        "sides": sides,
    }
    assert [_seen(point) for point in sides[0]["curve"]] == [_seen(point) for point in sides[1]["curve"]], (
        "the two sides did not see the same samples"
    )
    stem = f"learning-{'equal-rates-' * equal_rates}{result['date']}"
    page = learning_page(result, recipe, figure=f"{stem}.png")
    write_result(output, stem, result, page, learning_figure(result))
    print(page)


def require_one_device(table: str) -> None:
    """See that there is one GPU, or none.

    Raises:
        UserError: there are more.
    """
    if torch.cuda.device_count() > 1:
        raise UserError(
            "more than one GPU: the Trainer would spread each batch over all",
            where=table,
            remedy="make one visible, as with CUDA_VISIBLE_DEVICES=0",
        )


def _seen(point: Point) -> tuple[int, int]:
    return point["global_step"], point["consumed_tokens"]


def shortened(config: Config, steps: int, *, points: int = _POINTS) -> Config:
    """The recipe over so many steps, held-out losses before them and about `points` times on the way, in a
    precision that the device computes in."""
    training, every = config.training, max(1, steps // points)
    warmup_steps = round(training.schedule.warmup_steps * steps / training.schedule.total_steps)
    return replace(
        config,
        training=replace(
            training,
            schedule=replace(training.schedule, total_steps=steps, warmup_steps=warmup_steps),
            precision=replace(training.precision, dtype=_dtype(training.precision.dtype)),
            checkpoint=replace(training.checkpoint, every_steps=steps),
            validation=replace(training.validation, every_steps=every),
            log_every_steps=every,
        ),
    )


def _dtype(wanted: Literal["fp32", "bf16", "fp16"]) -> Literal["fp32", "bf16"]:
    """fp32 where 16 bits would be emulated, at very different costs in the two libraries; bf16 for fp16,
    whose skipped steps would part their samples."""
    if wanted == "fp32":
        return "fp32"
    on_gpu = torch.cuda.is_available()
    computes = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if on_gpu
        else multiplies_natively(torch.empty(0, dtype=torch.bfloat16))
    )
    return "bf16" if computes else "fp32"


def _compile(tokens: Path, samples: Path, config: Config) -> None:
    """Draw a step, so that compiled code is on disk before either side is timed."""
    stream = SampleStream.open(tokens, samples, config.data, seed=config.seed)
    stream.step(
        0,
        global_batch_size=config.training.global_batch_size,
        micro_batch_size=config.training.micro_batch_size,
        world_size=1,
        rank=0,
    )


def _timed(side: Callable[[], Training]) -> Side:
    """Run a side; its whole process by the clock, and by the processor's time, which other work on the
    machine disturbs less."""
    clock, cpu = time.monotonic(), cpu_seconds(resource.RUSAGE_CHILDREN)
    trained = side()
    return {
        **trained,
        "whole_seconds": time.monotonic() - clock,
        "whole_cpu_seconds": cpu_seconds(resource.RUSAGE_CHILDREN) - cpu,
    }


def _ours(tokens: Path, scratch: Path, config: Config) -> Training:
    """One process of this package's trainer."""
    run = scratch / "run"
    command = train_command(
        config=scratch / "recipe.json", tokens=tokens, samples=scratch / "samples", output=run
    )
    code = subprocess.run(["env", *ONE_THREAD, *command], stdout=subprocess.DEVNULL).returncode
    if code:
        raise RunFailed(
            f"this package's training ended with code {code}",
            where="learning",
            remedy="see the messages above",
        )
    engine = config.training.engine
    return {
        "name": "biobert_scale",
        "engine": engine.name if engine.name == "ddp" else f"DeepSpeed, {engine.deepspeed_config}",
        "attention": "packed rows",
        "schedule": "this package's learning rates",
        **read_run(run, config),
    }


def train_command(**options: Path) -> list[str]:
    """One process of this package's trainer, with these options."""
    return [
        sys.executable,
        "-m",
        "biobert_scale.train",
        *(str(word) for name, path in options.items() for word in (f"--{name}", path)),
    ]


def read_run(run: Path, config: Config) -> Trained:
    """A finished run's `metrics.jsonl`, where steps are logged as often as held-out samples are scored."""
    metrics = read_metrics(run)
    steps = {record["global_step"]: record for record in metrics if "train/loss" in record}
    tokens_at = {0: 0} | {step: record["consumed_tokens"] for step, record in steps.items()}
    names = ("global_step", "validation/mlm_loss", "validation/nsp_loss", "validation/sequences")
    # A record's seconds are those of a mean step since the record before.
    spans = [
        (step - before) * steps[step]["perf/step_seconds"]
        for before, step in zip([0, *steps], steps, strict=False)
    ]
    seconds_at = dict(zip([0, *steps], accumulate(spans, initial=0.0), strict=True))
    return {
        "curve": [
            {
                **{name: record[name] for name in names},  # type: ignore[literal-required, typeddict-item]
                "consumed_tokens": tokens_at[record["global_step"]],
                "training_seconds": seconds_at[record["global_step"]],
            }
            for record in metrics
            if names[1] in record
        ],
        "training_seconds": seconds_at[config.training.schedule.total_steps],
        "real_tokens": tokens_at[config.training.schedule.total_steps],
    }


def _peers(tokens: Path, scratch: Path, *, equal_rates: bool) -> Training:
    """transformers' `Trainer`, in a process of its own too."""
    paths = {
        "config": scratch / "recipe.json",
        "tokens": tokens,
        "samples": scratch / "samples",
        "scratch": scratch / "trainer",
    }
    trained: PeerTraining = run_alone(
        "benchmarks.learning.peer",
        {**{name: str(path) for name, path in paths.items()}, "equal_rates": equal_rates},
    )
    return {
        "name": "transformers' Trainer",
        "engine": "Accelerate",
        "schedule": "this package's learning rates" if equal_rates else "`linear`",
        **trained,
    }
