"""One rank that starts real engines one after another, and writes what each of them holds and sends.

Started by `start_engines`: `python engine_ranks.py OUTPUT CASE...`, a case being
ds_config:dtype.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.collectives import count_collectives
from biobert_scale.config import Config
from biobert_scale.files import read_json
from biobert_scale.recipes import structure_config
from tests.launching import environment, free_port

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "vocabulary": {"size": 301},
    "model": {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    },
    "data": {"max_seq_length": 32},
    "training": {
        "global_batch_size": 8,
        "micro_batch_size": 1,
        "schedule": {"warmup_steps": 2, "total_steps": 8},
        "optimizer": {"betas": [0.8, 0.95], "epsilon": 1e-7, "weight_decay": 0.05},
    },
}


def start_engines(directory: Path, cases: list[str], *, ranks: int) -> list[dict[str, dict[str, Any]]]:
    """What each rank writes of its engines, by case."""
    group = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in map(str, range(ranks)):
        with open(directory / f"log{rank}", "w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", __file__, str(directory), *cases],
                    env={**environment(), **group, "RANK": rank, "LOCAL_RANK": rank},
                    stdout=log,
                    stderr=log,
                )
            )
    codes = [process.wait(300) for process in started]
    assert codes == [0] * ranks, (directory / "log0").read_text()[-3000:]
    return [read_json(directory / f"rank{rank}.json") for rank in range(ranks)]


def run_of(case: str) -> Config:
    name, dtype = case.split(":")
    return structure_config(
        {
            **RECIPE,
            "training": {
                **RECIPE["training"],
                "precision": {"dtype": dtype},
                "engine": {"deepspeed_config": name},
            },
        },
        where="test",
    )


def bytes_of(tensors: Iterable[Any]) -> int:
    """Bytes of the distinct storages behind some tensors."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in tensors
        if torch.is_tensor(tensor)
    }
    return sum(storages.values())


def held(engine: Any) -> dict[str, Any]:
    """What an engine holds after a step, by part, and which optimizer does the work."""
    outer = engine.optimizer
    inner = getattr(outer, "optimizer", outer)
    names = ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat", "fp32_groups")
    master = [
        tensor
        for name in names
        for group in getattr(outer, name, ())
        for tensor in (group if isinstance(group, list) else [group])
    ]
    moments = [
        value for state in inner.state.values() for key, value in state.items() if key.startswith("exp_avg")
    ]
    weights = list(engine.module.parameters())
    partitions = [parameter.ds_tensor for parameter in weights if hasattr(parameter, "ds_tensor")]
    return {
        "optimizer": f"{type(inner).__module__}.{type(inner).__name__}",
        "wrapper": type(outer).__name__,
        "groups": [
            {key: group[key] for key in ("betas", "eps", "weight_decay")} for group in inner.param_groups
        ],
        "weights": bytes_of(partitions) if partitions else bytes_of(weights),
        "whole": bytes_of(parameter for parameter in weights if getattr(parameter, "ds_persist", False)),
        "fp32_weights": bytes_of(master),
        "moments": bytes_of(moments),
        "gradients": (
            bytes_of([outer.grad_partitions_flat_buffer])
            if hasattr(outer, "grad_partitions_flat_buffer")
            else 0
        ),
    }


def kept_gradients(engine: Any) -> dict[str, int]:
    """Bytes of gradients that an engine keeps between two micro-batches: on the parameters, reduced, and in
    the host's memory."""
    outer = engine.optimizer
    averaged = [
        tensor
        for name in ("averaged_gradients", "all_grad_tensors")
        for group in (getattr(outer, name, None) or {}).values()
        for tensor in group or ()
    ]
    return {
        "on_parameters": bytes_of(parameter.grad for parameter in engine.module.parameters()),
        "reduced": bytes_of(averaged),
        "accumulated": bytes_of(getattr(outer, "accumulated_grads_in_cpu", {}).values()),
        "fp32": bytes_of(
            tensor.grad
            for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
            for tensor in getattr(outer, name, ())
        ),
    }


def main(output: Path, cases: list[str]) -> None:
    sent = count_collectives()
    from accelerate.state import AcceleratorState

    from biobert_scale.modeling.batch import PackedBatch
    from biobert_scale.modeling.model import bert_config, build_model
    from biobert_scale.recipes import load_config
    from biobert_scale.training import runtime
    from biobert_scale.training.engine import build_engine, partitions_weights
    from biobert_scale.training.ranks import read_rank_info

    results = {}
    for case in cases:
        name, dtype = case.split(":")
        config = load_config(output / "recipe.json")
        training = replace(
            config.training,
            precision=replace(config.training.precision, dtype=dtype),  # type: ignore[arg-type]
            engine=replace(config.training.engine, deepspeed_config=name),
        )
        config = replace(config, training=training)
        accelerator = runtime.start(read_rank_info(os.environ), config)
        shape = bert_config(config.model, vocabulary_size=config.vocabulary.size, pad_token_id=0)
        model = build_model(shape, seed=1, partitioned=partitions_weights(accelerator))
        ours: Any = build_engine(accelerator, model, config)
        engine = ours.engine
        del model
        torch.manual_seed(accelerator.process_index)
        losses: list[float] = []
        most_gathered = 0
        kept: dict[str, Any] = {}
        for step in range(2):
            if step == 1:
                sent.clear()
            for number in range(accelerator.gradient_accumulation_steps):
                with ours.micro_step(last=number == accelerator.gradient_accumulation_steps - 1):
                    sums = ours.forward(
                        made_up_batch(PackedBatch, config.data.max_seq_length, config.vocabulary.size)
                    )
                    losses.append(float(sums["mlm_loss"]))
                    live = sum(
                        parameter.numel()
                        for parameter in engine.module.parameters()
                        if not getattr(parameter, "ds_persist", True)
                    )
                    most_gathered = max(most_gathered, live)
                    ours.backward(sums["mlm_loss"] + sums["nsp_loss"])
                if not kept:
                    kept = kept_gradients(engine)
            ours.step(config.training.optimizer.learning_rate)
        results[case] = {
            **held(engine),
            "kept": kept,
            "gathered": most_gathered,
            "sent": dict(sent.elements),
            "losses": losses,
            "steps": engine.global_steps,
        }
        del engine, ours
        accelerator.free_memory()
        rank = accelerator.process_index
        del accelerator
        gc.collect()
        AcceleratorState._reset_state()
    (output / f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def check_plan(config: Any, engine: str, told: list[dict[str, Any]]) -> None:
    """Compare what `plan` prints for a run, by part of the memory, with what its engine's ranks told: within
    a tenth.

    Args:
        config: of the run that was started, micro-batch included.
        told: of each rank, what `held` and `kept_gradients` returned.
    """
    from biobert_scale.plan.plan import make_plan
    from biobert_scale.plan.predict import Machine, Rates
    from biobert_scale.plan.table import as_json

    machine = Machine(devices=len(told), devices_per_node=len(told), device_memory=0)
    rows = as_json(make_plan(config, machine, Rates(), vocabulary_size=config.vocabulary.size))[
        "configurations"
    ]
    (row,) = [
        row
        for row in rows
        if (row["engine"], row["micro_batch_size"]) == (engine, config.training.micro_batch_size)
    ]

    def gradients(one: dict[str, Any]) -> int:
        kept = one["kept"]
        return (
            one["gradients"] + kept["fp32"]
            if row["stage"] == 3
            else kept["on_parameters"] + kept["reduced"] + kept["accumulated"] + kept["fp32"]
        )

    for part, found in (
        ("weights", max(one["weights"] + one["whole"] for one in told)),
        # Stage 0's wrapper names the weights as its fp32 copy in fp32, where there is none.
        (
            "optimizer",
            max(
                one["moments"]
                + (
                    0
                    if (row["stage"], config.training.precision.dtype) == (0, "fp32")
                    else one["fp32_weights"]
                )
                for one in told
            ),
        ),
        ("gradients", max(map(gradients, told))),
    ):
        planned = row["device"][part] + row["host"][part]
        assert abs(planned - found) <= 0.1 * found, (engine, part, planned, found)


def made_up_batch(kind: Any, length: int, vocabulary: int) -> Any:
    return kind(
        input_ids=torch.randint(5, vocabulary, (length,)),
        token_type_ids=torch.zeros(length, dtype=torch.long),
        position_ids=torch.arange(length),
        cu_seqlens=torch.tensor([0, length], dtype=torch.int32),
        sequence_lengths=(length,),
        mlm_positions=torch.tensor([1, 5]),
        mlm_labels=torch.randint(5, vocabulary, (2,)),
        nsp_labels=torch.tensor([0]),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
