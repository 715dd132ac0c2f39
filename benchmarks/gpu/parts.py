"""The measurements of the GPU suite.

`suite` runs each in a process of its own, and keeps what it has reported when its time ends.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.parity import compare_computations, compare_dropout, judge
from benchmarks.gpu.records import (
    Comparison,
    Contests,
    JudgedComparison,
    Parity,
    Products,
    Profile,
    Profiles,
    SuiteContest,
    Sweep,
    SweepRow,
)
from benchmarks.gpu.settings import TINY, TYPES, Report, possible, suite_config, types_of
from benchmarks.gpu.training_run import measure_trainer
from benchmarks.train_step.contestants import ABLATION, CONTESTANTS, Maker
from benchmarks.train_step.load import load_of, this_device
from benchmarks.train_step.operations import operations
from benchmarks.train_step.records import Contest, Operation
from benchmarks.train_step.table import contest
from biobert_scale.config import ModelConfig
from biobert_scale.errors import RunFailed
from biobert_scale.files import write_json
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment
from biobert_scale.tune.timing import OUT_OF_MEMORY, forget_engine, on_engine, reason_of, time_steps


def measure_products(report: Report, *, tiny: bool) -> None:
    """The sustained rate of square matrix products, FLOP/s: what a step's rate is compared with."""
    device, size, least_seconds = this_device(), 256 if tiny else 8192, 0.1 if tiny else 2.0
    rates: dict[str, float] = {}
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    for dtype in types_of(device):
        left, right = (torch.randn(size, size, device=device).to(TYPES[dtype]) for _ in range(2))
        left @ right
        taken: list[float] = []
        while sum(taken) < least_seconds:  # long enough for the clock to settle under load
            begun = time.perf_counter()
            for _ in range(10):
                left @ right
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - begun)
        rates[dtype] = 2 * size**3 * 10 / statistics.median(taken)
        report(Products(device=name, torch=torch.__version__, size=size, flops_per_second=rates))


def measure_parity(report: Report, *, tiny: bool) -> None:
    """Two layers of BERT-Large with every setting of `compute` against none in fp32; attention's dropout;
    what leaks from one sequence into another."""
    device = this_device()
    types = {dtype: TYPES[dtype] for dtype in types_of(device)}
    shape = replace(TINY if tiny else ModelConfig(), num_hidden_layers=2)
    dropout = {
        f"attention's dropout, {name}": compare_dropout(device, dtype) for name, dtype in types.items()
    }

    def judged(found: Comparison) -> None:
        with_dropout: JudgedComparison = {**found, "dropout": dropout}
        report(Parity(**with_dropout, troubles=judge(with_dropout)))

    compare_computations(
        suite_config(dtype="bf16", sequences=8, micro_batch_size=8, tiny=tiny), shape, device, types, judged
    )


_SWEEP = (
    ("bf16", "full", 0, ((True, "zero1", 32), (False, "zero1", 32), (True, "zero1", 64))),
    ("bf16", "abstracts", 0, ((True, "zero1", 64), (False, "zero1", 64))),
    ("fp16", "full", 0, ((True, "zero1", 32),)),
    ("bf16", "full", 0, ((True, "ddp", 32), (True, "zero1", 128))),
    ("bf16", "abstracts", 128, ((True, "zero1", 64),)),
    ("fp16", "abstracts", 0, ((True, "zero1", 64),)),
    ("bf16", "full", 0, ((True, "zero1", 16), (True, "zero1", 8))),
)
"""Type, lengths, bucket of tokens, and compiled, engine, micro-batch: the most telling first. `ddp` on one
device is Accelerate's autocast over fp32 weights."""


@rank_environment()
def measure_sweep(report: Report, *, tiny: bool) -> None:
    """BERT-Large's step of 256 sequences, as training takes it, by engine and micro-batch, compiled and not;
    memory that does not suffice ends no sweep."""
    device, rows = this_device(), list[SweepRow]()
    engines = ["zero1", "ddp"] if importlib.util.find_spec("deepspeed") else ["ddp"]
    for wanted, lengths, bucket, cases in _SWEEP:
        dtype = possible(wanted, device)
        for compile, engine, size in cases:
            if engine not in engines:
                continue
            config = suite_config(
                dtype=dtype,
                sequences=16 if tiny else 256,
                micro_batch_size=max(size // 16, 2) if tiny else size,
                tiny=tiny,
            )
            config = on_engine(
                replace(
                    config,
                    compute=replace(config.compute, compile=compile),
                    loader=replace(config.loader, pad_to_multiple_of=bucket),
                ),
                engine,
            )
            row: SweepRow = {
                "dtype": dtype,
                "lengths": lengths,
                "pad_to_multiple_of": bucket,
                "engine": engine,
                "compiled": compile,
                "micro_batch_size": config.training.micro_batch_size,
            }
            try:
                timed = time_steps(config, lengths=lengths, steps=4)
                row |= {
                    "first_seconds": timed.seconds[0],
                    "seconds": timed.seconds[1:],
                    "memory_bytes": timed.peak_memory_bytes,
                    "sequences": timed.sequences,
                    "tokens": timed.tokens,
                    "flops": timed.flops,
                }
            except RuntimeError as error:
                row["failed"] = reason_of(error)
            forget_engine()
            rows.append(row)
            report(Sweep(rows=rows))
    runtime.leave()
    _complain([row.get("failed", OUT_OF_MEMORY) for row in rows], "sweep")


def _complain(failures: Iterable[str], where: str) -> None:
    """At the end of a part: what failed for anything but memory fails the part, whose rows are kept."""
    if troubles := {why for why in failures if why != OUT_OF_MEMORY}:
        raise RunFailed("; ".join(sorted(troubles)), where=where, remedy="see the rows")


def measure_peers(report: Report, *, tiny: bool, contests: list[list[str]]) -> None:
    """This project beside its peers on the same samples in turns (`contest`): lengths, and letters of
    `CONTESTANTS`, by contest."""
    _contests(
        report,
        [(lengths, dict(CONTESTANTS[letter] for letter in letters)) for lengths, letters in contests],
        tiny=tiny,
    )


def measure_ablation(report: Report, *, tiny: bool) -> None:
    """This project with one setting of `compute` after another changed."""
    _contests(report, [("abstracts", ABLATION)], tiny=tiny)


def _contests(report: Report, contests: list[tuple[str, dict[str, Maker]]], *, tiny: bool) -> None:
    config = suite_config(
        dtype="bf16", sequences=8 if tiny else 128, micro_batch_size=4 if tiny else 32, tiny=tiny
    )
    found: list[SuiteContest] = []
    for lengths, makers in contests:

        def so_far(result: Contest, lengths: str = lengths) -> None:
            report(Contests(contests=[*found, {"lengths": lengths, **result}]))

        load = load_of(config, None, 1, lengths, this_device())
        found.append({"lengths": lengths, **contest(load, makers, repeats=3, report=so_far)})
        forget_engine()
    _complain((why for each in found for why in each["failed"].values()), "contest")


def _collect(kernels: list[Operation], step: Callable[[], None], device: torch.device) -> None:
    kernels.extend(operations(step, device))


@rank_environment()
def measure_profile(report: Report, *, tiny: bool) -> None:
    """Where the time of a step goes, as `one-gpu` takes it, compiled and not: kernels by their time on the
    device."""
    engine, found = "zero1" if importlib.util.find_spec("deepspeed") else "ddp", list[Profile]()
    for compile in (True, False):
        config = suite_config(
            dtype="bf16", sequences=8 if tiny else 64, micro_batch_size=4 if tiny else 32, tiny=tiny
        )
        kernels: list[Operation] = []
        timed = time_steps(
            on_engine(replace(config, compute=replace(config.compute, compile=compile)), engine),
            lengths="full",
            steps=3,
            at_end=partial(_collect, kernels),
        )
        seconds = min(timed.seconds[1:])
        found.append({"engine": engine, "compiled": compile, "seconds": seconds, "kernels": kernels})
        report(Profiles(profiles=found))
        forget_engine()
    runtime.leave()


FUNCTIONS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        measure_products,
        measure_parity,
        measure_sweep,
        measure_profile,
        measure_trainer,
        measure_peers,
        measure_ablation,
    )
}

if __name__ == "__main__":
    part, options, answer = sys.argv[1:]
    FUNCTIONS[part](lambda found: write_json(Path(answer), found), **json.loads(options))
