"""How fast the index of samples is made, and how fast a process that finds a very large one draws its first
step."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any, cast

from benchmarks.child import run_alone
from benchmarks.data.records import Drawn, FirstStep, IndexBuilding
from benchmarks.data.samples import GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE, RANKS, SEED
from benchmarks.turns import in_turns
from biobert_scale.config import DataConfig
from biobert_scale.data.packing import PairBuilder
from biobert_scale.data.samples import build_samples
from biobert_scale.tokens.shards import SPLITS, TokenStore

_STEP = 100_000
_WORKERS = (1, 2)


def measure_building(tokens: Path, scratch: Path, config: DataConfig, *, repeats: int) -> IndexBuilding:
    """Packing on one core by its CPU time, and the whole stage by the clock.

    Args:
        tokens: a finished token directory.
    """
    store = TokenStore.open(tokens / "train")
    builder = PairBuilder(store, config, seed=SEED)
    builder.pack(0)  # compiles
    packing: list[float] = []
    building: dict[str, list[float]] = {str(workers): [] for workers in _WORKERS}
    samples = 0
    for turn, workers in in_turns(list(_WORKERS), repeats):
        if len(packing) == turn:
            begun = time.process_time()
            samples = sum(len(builder.pack(shard)) for shard in range(len(store.shards)))
            packing.append(time.process_time() - begun)
        begun = time.perf_counter()
        build_samples(tokens, scratch / "samples", config, seed=SEED, workers=workers)
        building[str(workers)].append(time.perf_counter() - begun)
        shutil.rmtree(scratch / "samples")
    return {
        "tokens": store.tokens,
        "samples": samples,
        "shards": len(store.shards),
        "stage_tokens": sum(TokenStore.open(tokens / split).tokens for split in SPLITS),
        "packing_cpu_seconds": packing,
        "stage_seconds": building,
    }


def measure_first_step(tokens: Path, samples: Path, config: DataConfig, *, repeats: int) -> list[FirstStep]:
    """Fresh processes that draw step 100,000: the whole of it, and one of 16 ranks' share; medians."""
    rows: list[FirstStep] = []
    for world_size, rank in ((1, 0), (RANKS, 3)):
        arguments = {
            "tokens": str(tokens),
            "samples": str(samples),
            "max_seq_length": config.max_seq_length,
            "first_sample": _STEP * GLOBAL_BATCH_SIZE,
            "world_size": world_size,
            "rank": rank,
            "global_batch_size": GLOBAL_BATCH_SIZE,
            "micro_batch_size": MICRO_BATCH_SIZE,
            "seed": SEED,
        }
        if not rows:  # the very first one may compile
            _draw(arguments)
        drawn = _medians([_draw(arguments) for _ in range(repeats)])
        rows.append({"world_size": world_size, "rank": rank, "step": _STEP, **drawn})
    return rows


def _draw(arguments: dict[str, Any]) -> Drawn:
    drawn: Drawn = run_alone("benchmarks.data.first_step", {"begun": time.monotonic(), **arguments})
    return drawn


def _medians(all_drawn: list[Drawn]) -> Drawn:
    return cast(Drawn, {name: statistics.median(each[name] for each in all_drawn) for name in all_drawn[0]})  # type: ignore[literal-required]
