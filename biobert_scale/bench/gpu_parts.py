"""The measurements of the GPU suite, each a function that returns what it found; `gpu` runs them in processes of their own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from biobert_scale.bench.contestants import CONTESTANTS, Load, load_of, ours, switched
from biobert_scale.bench.train_step import contest
from biobert_scale.config import Config, ModelConfig
from biobert_scale.modeling.bert import PackedBatch, bert_config, build_model
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.switches import switch_on
from biobert_scale.recipes import load_config

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_TINY = ModelConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, max_position_embeddings=128)


def suite_config(*, dtype: str, sequences: int, micro_batch_size: int, tiny: bool) -> Config:
    """biobert-large with another batch; or in `tiny` a model for trying the suite itself."""
    config = load_config("biobert-large")
    training = replace(config.training, precision=replace(config.training.precision, dtype=dtype), global_batch_size=sequences, micro_batch_size=micro_batch_size)  # type: ignore[arg-type]
    config = replace(config, training=training)
    if tiny:
        config = replace(config, model=_TINY, data=replace(config.data, max_seq_length=128), vocabulary=replace(config.vocabulary, size=1000))
    return config


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _types(device: torch.device) -> list[str]:
    return ["bf16", "fp16"] if device.type == "cuda" else ["bf16"]


def _possible(dtype: str, device: torch.device) -> str:
    """fp16 is for GPUs; a trial on a CPU takes bf16 in its place."""
    return dtype if dtype in _types(device) else "bf16"


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def measure_products(*, tiny: bool) -> dict[str, Any]:
    """The rate of square matrix products, FLOP/s: what a step's rate is compared with."""
    device, size = _device(), 256 if tiny else 8192
    rates = {}
    for dtype in _types(device):
        left, right = (torch.randn(size, size, device=device).to(_TYPES[dtype]) for _ in range(2))
        for _ in range(3):
            left @ right
        rates[dtype] = statistics.median(2 * size**3 * 10 / _seconds(lambda: [left @ right for _ in range(10)], device) for _ in range(5))  # noqa: B023
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "size": size, "flops_per_second": rates}


def measure_parity(*, tiny: bool) -> dict[str, Any]:
    """Losses and gradients with every switch against the plain way in fp32, as relative errors; and what leaks from one sequence into another."""
    device = _device()
    shape = replace(_TINY if tiny else ModelConfig(), num_hidden_layers=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config = suite_config(dtype="bf16", sequences=8, micro_batch_size=8, tiny=tiny)
    load = load_of(config, None, 1, "abstracts", device)
    batch = PackedBatch.of(load.steps[0].micro_batches[0]).to(device)

    def losses_and_gradients(dtype: str, batch: PackedBatch = batch, **switches: Any) -> tuple[torch.Tensor, torch.Tensor]:
        model: Any = build_model(bert_config(shape, vocabulary_size=load.vocabulary_size, pad_token_id=0), seed=1)
        model.to(device)
        switch_on(model, replace(config.compute, **switches))
        with torch.autocast(device.type, _TYPES[dtype], enabled=dtype != "fp32"):
            sums = model(batch)
        (sums["mlm_loss"] / len(batch.mlm_labels) + sums["nsp_loss"] / len(batch.nsp_labels)).backward()
        gradients = torch.cat([parameter.grad.float().flatten() for parameter in model.parameters()])
        return torch.stack([sums["mlm_loss"], sums["nsp_loss"]]).detach().float(), gradients

    plain: dict[str, Any] = {"unpadded": False, "quick_dropout": False, "sparse_head": False, "head_rows": 0, "fused_qkv": False}
    loss, gradient = losses_and_gradients("fp32", **plain)
    cases: dict[str, tuple[str, dict[str, Any]]] = {"fp32": ("fp32", {})} | {f"{dtype}{', compiled' * on}": (dtype, {"compile": on}) for dtype in _types(device) for on in (False, True)}
    cases |= {f"{dtype}, plain": (dtype, plain) for dtype in _types(device)}
    errors = {}
    for name, (dtype, switches) in cases.items():
        other_loss, other_gradient = losses_and_gradients(dtype, **switches)
        errors[name] = {"loss": float((other_loss / loss - 1).abs().max()), "gradient": float((other_gradient - gradient).norm() / gradient.norm())}
    first = batch.sequence_lengths[0]
    changed = batch.input_ids.clone()
    changed[:first] = 500
    own = batch.mlm_positions >= first
    kept = replace(batch, mlm_positions=batch.mlm_positions[own], mlm_labels=batch.mlm_labels[own])
    there, elsewhere = (losses_and_gradients("bf16", replace(kept, input_ids=ids))[0][0] for ids in (batch.input_ids, changed))
    return {"errors": errors, "leak": float((there - elsewhere).abs())}


def measure_sweep(*, tiny: bool, dtype: str = "bf16", lengths: str = "full", seconds: float = 100) -> dict[str, Any]:
    """Sequences a second by micro-batch, compiled and not, until the time is up; the whole step of 256 sequences each time."""
    device, begun, rows = _device(), time.monotonic(), []
    dtype = _possible(dtype, device)
    sizes, sequences = ([4, 8], 8) if tiny else ([32, 64, 16, 128, 8], 256)
    for compile in (False, True):
        for micro_batch_size in sizes:
            if time.monotonic() - begun > seconds * (0.4 if not compile else 1):
                continue
            config = suite_config(dtype=dtype, sequences=sequences, micro_batch_size=micro_batch_size, tiny=tiny)
            load = load_of(config, None, 2, lengths, device)
            run: Any = None
            row: dict[str, Any] = {"compiled": compile, "micro_batch_size": micro_batch_size}
            try:
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                run = switched(load, compile=compile)
                row["first_seconds"] = run()
                row["seconds"] = [run() for _ in range(2)]
                row["memory_bytes"] = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
                row["sequences_per_second"] = 2 * sequences / statistics.median(row["seconds"])
                row["flops_per_second"] = row["sequences_per_second"] * _flops_a_sequence(load)
            except torch.OutOfMemoryError:
                row["out_of_memory"] = True
            run = None
            rows.append(row)
    return {"dtype": dtype, "lengths": lengths, "rows": rows}


def _flops_a_sequence(load: Load) -> float:
    lengths = [end - start for step in load.steps for batch in step.micro_batches for start, end in zip(batch.cu_seqlens, batch.cu_seqlens[1:], strict=False)]
    predictions = sum(len(batch.mlm_labels) for step in load.steps for batch in step.micro_batches)
    return training_flops(load.shape(), torch.tensor(lengths).numpy(), predictions) / len(lengths)


def measure_peers(*, tiny: bool, lengths: str, letters: str, micro_batch_size: int = 32) -> dict[str, Any]:
    """This project beside its peers on the same samples in turns (`contest`)."""
    sequences = 8 if tiny else 128
    config = suite_config(dtype="bf16", sequences=sequences, micro_batch_size=4 if tiny else micro_batch_size, tiny=tiny)
    load = load_of(config, None, 1, lengths, _device())
    return {"lengths": lengths, **contest(load, {CONTESTANTS[letter][0]: CONTESTANTS[letter][1] for letter in letters}, repeats=3)}


def measure_trainer(*, tiny: bool, dtype: str, scratch: str, compile: bool = False) -> dict[str, Any]:
    """The command `train` itself under DeepSpeed, on made-up tokens: its metrics of some steps, a save behind training included."""
    from biobert_scale.bench.made_up_tokens import write_made_up_tokens

    dtype = _possible(dtype, _device())
    vocabulary, documents = (1000, 400) if tiny else (28_996, 2_000)
    tokens = write_made_up_tokens(Path(scratch) / "tokens", documents=documents, vocabulary_size=vocabulary, sentences=10 if tiny else 150)
    steps = 6 if tiny else 24
    sizes = {"training.global-batch-size": 8 if tiny else 256, "training.micro-batch-size": 4 if tiny else 32, "training.schedule.warmup-steps": 4, "training.schedule.total-steps": steps}
    shape = {f"model.{name.replace('_', '-')}": getattr(_TINY, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")} | {"data.max-seq-length": 128}
    settings = {
        **sizes, **(shape if tiny else {}), "training.precision.dtype": dtype, "training.log-every-steps": 1, "training.checkpoint.every-steps": steps // 3,
        "training.checkpoint.keep-best": 0, "training.checkpoint.keep-last": 1, "training.validation.sequences": 64, "training.precision.loss-scale-window": 8,
        "training.precision.initial-scale-power": 24, "training.precision.hysteresis": 1, "loader.workers": 4,
    }  # fmt: skip
    command = [sys.executable, "-m", "biobert_scale.train", "--config", "biobert-large", "--tokens", str(tokens), "--output", f"{scratch}/run-{dtype}"]
    command += ["--compute.compile"] * compile + [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"dtype": dtype, "failed": done.stderr[-2000:]}
    records = [json.loads(line) for line in (Path(scratch) / f"run-{dtype}" / "metrics.jsonl").read_text().splitlines()]
    trained = [record for record in records if "perf/mfu" in record]
    steady = trained[len(trained) // 2 :]

    def median(name: str) -> float:
        return statistics.median(record[name] for record in steady)

    return {
        "dtype": dtype, "sequences_per_second": median("perf/sequences_per_second"), "mfu": median("perf/mfu"),
        "data_wait_fraction": median("perf/data_wait_seconds") / (sizes["training.global-batch-size"] / median("perf/sequences_per_second")),
        "loss_scales": [record.get("optim/loss_scale") for record in trained], "skipped_steps": trained[-1]["optim/skipped_steps"],
        "losses": [record["train/loss"] for record in trained], "peak_memory_bytes": max(record["perf/peak_memory_bytes"] for record in trained),
        "checkpoint_stall_seconds": [record["perf/checkpoint_stall_seconds"] for record in records if "perf/checkpoint_stall_seconds" in record],
        "checkpoint_write_seconds": [record["perf/checkpoint_write_seconds"] for record in records if "perf/checkpoint_write_seconds" in record],
    }  # fmt: skip


def measure_profile(*, tiny: bool, compile: bool) -> dict[str, Any]:
    """Where the time of a step goes: kernels by their time on the device."""
    device = _device()
    config = suite_config(dtype="bf16", sequences=8 if tiny else 64, micro_batch_size=4 if tiny else 32, tiny=tiny)
    config = replace(config, compute=replace(config.compute, compile=compile))
    run = ours(load_of(config, None, 1, "full", device))
    run()
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if device.type == "cuda" else [])]) as profile:
        seconds = run()
    on_device = device.type == "cuda"
    kernels = [(event.key[:90], (event.self_device_time_total if on_device else event.self_cpu_time_total) / 1e6, event.count) for event in profile.key_averages()]
    kernels = [kernel for kernel in sorted(kernels, key=lambda kernel: -kernel[1]) if kernel[1] > 0][:25]
    return {"compiled": compile, "seconds": seconds, "kernels": kernels}
