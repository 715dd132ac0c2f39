"""One rank that takes a few steps under one engine after another, saves, and compares what was written, and
what another engine of the same kind reads, with what the engines themselves say.

`python round_trip.py DIRECTORY CASE...` under a launcher; in one process `round_trip` is called. A case is a
DeepSpeed file (its name in `ds_configs/` or its path) or `ddp`, a colon, and a precision.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from torch import Tensor

from biobert_scale.config import Config
from biobert_scale.data.batches import RankStep
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.recipes import structure_config
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint.checkpoints import Checkpoints
from biobert_scale.training.checkpoint.manifest import problem
from biobert_scale.training.checkpoint.retention import checkpoint_path
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.engine import build_engine, partitions_weights
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.step import HostStep, train_step
from tests.launching import TINY, state_of

STEPS, LENGTH, VOCABULARY, RATE = 3, 16, 101, 1e-3


def config_of(case: str) -> Config:
    name, dtype = case.rsplit(":", 1)
    config = structure_config(TINY, where="a test")
    engine = (
        replace(config.training.engine, name="ddp")
        if name == "ddp"
        else replace(config.training.engine, deepspeed_config=name)
    )
    training = replace(
        config.training,
        engine=engine,
        precision=replace(config.training.precision, dtype=dtype, initial_scale_power=4),  # type: ignore[arg-type]
        trackers=(),
    )
    return replace(config, training=training)


@contextmanager
def engine_of(config: Config, run: Path) -> Iterator[tuple[Any, Any, Checkpoints]]:
    """Accelerator, engine and checkpoints, as a run makes them."""
    get_accelerator().is_fp16_supported = lambda: True  # on a CPU
    with rank_environment() as ranks:
        with patch.object(runtime, "check_precision", lambda precision: None):
            accelerator = runtime.start(ranks, config)
        engine = checkpoints = None
        try:
            shape = bert_config(config.model, vocabulary_size=VOCABULARY, pad_token_id=0)
            model = build_model(shape, seed=1, partitioned=partitions_weights(accelerator))
            engine = build_engine(accelerator, model, config)
            del model
            checkpoints = Checkpoints(accelerator, run, config, engine, samples_fingerprint="0" * 64)
            yield accelerator, engine, checkpoints
        finally:
            del engine, checkpoints
            if accelerator.num_processes == 1:
                runtime.stop(accelerator)
            else:  # the ranks meet once, and the group serves all cases
                accelerator.free_memory()
                gc.collect()
                AcceleratorState._reset_state()


def batch(number: int) -> PackedBatch:
    generator = torch.Generator().manual_seed(number)
    return PackedBatch(
        input_ids=torch.randint(5, VOCABULARY, (LENGTH,), generator=generator),
        token_type_ids=torch.zeros(LENGTH, dtype=torch.long),
        position_ids=torch.arange(LENGTH),
        cu_seqlens=torch.tensor([0, LENGTH], dtype=torch.int32),
        sequence_lengths=(LENGTH,),
        mlm_positions=torch.tensor([1, 5, 9]),
        mlm_labels=torch.randint(5, VOCABULARY, (3,), generator=generator),
        nsp_labels=torch.tensor([number % 2]),
    )


def step(engine: Any, number: int, micro_steps: int = 2) -> None:
    batches = [batch(100 * number + 10 * micro_step + engine.rank) for micro_step in range(micro_steps)]
    counts = RankStep(micro_batches=(), global_sequences=1, global_predictions=1, global_tokens=LENGTH)
    train_step(engine, HostStep(counts, tuple(batches)), RATE)


def own_values(engine: Any) -> dict[str, Tensor]:
    """Weights and moments of every parameter as the engine itself says, and AdamW's counter."""
    outer = getattr(engine, "outer", None) or engine.optimizer
    inner = getattr(outer, "optimizer", outer)
    if hasattr(outer, "_lazy_init_hp_params_optimizer_state"):
        outer._hp_optimizer_states_linked = False  # linked before the second group has a state
        outer._lazy_init_hp_params_optimizer_state()
    found: dict[str, Tensor] = {}
    low = flat(outer, "fp16_groups") if hasattr(outer, "fp32_groups") else []
    masters = dict(zip(map(id, low), flat(outer, "fp32_groups"), strict=True))
    for name, parameter in engine.module.named_parameters():
        partitioned = hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")
        master = masters.get(id(parameter), parameter)
        for kind in ("weight", "exp_avg", "exp_avg_sq"):
            if partitioned and kind == "weight":
                value = safe_get_full_fp32_param(parameter)
            elif partitioned:
                value = safe_get_full_optimizer_state(parameter, kind)
            else:
                value = master if kind == "weight" else inner.state[master][kind]
            assert value.dtype == torch.float32, (name, kind, value.dtype)
            found[f"{kind} {name}"] = value.detach().clone().flatten().cpu()
    counters = {float(state["step"]) for state in inner.state.values()}
    found["counter"] = torch.tensor(sorted(counters))
    return found


def flat(outer: Any, name: str) -> list[Tensor]:
    return [tensor for group in getattr(outer, name, []) for tensor in group]


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor], what: str) -> None:
    assert ours.keys() == theirs.keys(), what
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == [], what


def round_trip(case: str, run: Path) -> None:
    """Raise where a case's checkpoint is not the engine's own state, or where another engine does not step on
    from it as the first one does."""
    config = config_of(case)
    with engine_of(config, run) as (accelerator, engine, checkpoints):
        for number in range(STEPS):
            step(engine, number)
        own = own_values(engine)
        assert own["counter"].tolist() == [STEPS], "AdamW counts the steps taken"
        assert all(value.any() for name, value in own.items() if name.startswith("exp_avg bert.encoder"))
        name = "bert.pooler.dense.weight"
        sampled = engine.full_values(name)
        checkpoints.save(TrainerState(global_step=STEPS), validation_loss=None, wait=False)
        checkpoints.finish()
        step(engine, STEPS)
        for kind, value in sampled.items():
            expected = own[f"{kind} {name}"].to(value.dtype)
            assert torch.equal(value, expected), "a sample does not change with training"
        stepped = own_values(engine)
        accelerator.wait_for_everyone()
        checkpoint = checkpoint_path(run, STEPS)
        assert problem(checkpoint) is None
        assert_equal(state_of(checkpoint), {k: v for k, v in own.items() if k != "counter"}, "written")
        del engine, checkpoints
    with engine_of(config, run) as (accelerator, engine, checkpoints):
        assert checkpoints.load().global_step == STEPS
        assert_equal(own_values(engine), own, "loaded")
        step(engine, STEPS)
        assert_equal(own_values(engine), stepped, "the next step")
        accelerator.wait_for_everyone()
        del engine, checkpoints


if __name__ == "__main__":
    for position, named in enumerate(sys.argv[2:]):
        round_trip(named, Path(sys.argv[1]) / f"case-{position}")
        print("equal", named, flush=True)
    runtime.leave()
