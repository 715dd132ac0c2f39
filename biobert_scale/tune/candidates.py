"""The candidates of `biobert-scale tune`: which one is tried next, and the best one as lines of a recipe."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass, replace
from typing import Any

from rich.console import RenderableType

from biobert_scale.config import Config
from biobert_scale.display import heading, separated, table

_WORTH = 1.03
"""Times as fast that a larger micro-batch must be for a still larger one to be tried."""
_ENGINES = ("ddp", "zero1", "zero2", "zero3")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A micro-batch, an engine and settings of `compute` for the recipe."""

    micro_batch_size: int
    engine: str
    """`ddp`, or a file of `ds_configs/`."""
    changes: tuple[tuple[str, Any], ...] = ()
    """Names and values in `compute` that differ from the recipe's."""

    def with_setting(self, config: Config, name: str, value: Any) -> Candidate:
        """With one more setting of `compute`; it is named only where the recipe has another value."""
        changes = {**dict(self.changes), name: value}
        return replace(
            self,
            changes=tuple(
                sorted(
                    (key, value) for key, value in changes.items() if value != getattr(config.compute, key)
                )
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was measured of a candidate; a speed of 0 where it could not run."""

    candidate: Candidate
    sequences_per_second: float
    peak_memory_bytes: int
    failed: str = ""
    """Why it could not run."""


def next_candidate(config: Config, trials: list[Trial], *, world_size: int) -> Candidate | None:
    """What to try after some trials: the micro-batch doubled while that is worth it, then the best candidate
    with other engines and settings; None where nothing is left."""
    tried = {trial.candidate for trial in trials}
    shapes = [replace(trial.candidate, micro_batch_size=1) for trial in trials]
    best, last = max(trials, key=lambda trial: trial.sequences_per_second), trials[-1]
    larger = replace(last.candidate, micro_batch_size=2 * last.candidate.micro_batch_size)
    training, at_once = config.training, larger.micro_batch_size * world_size
    gained = len(trials) == 1 or last.sequences_per_second > _WORTH * trials[-2].sequences_per_second
    if (
        len(set(shapes)) == 1
        and gained
        and math.gcd(training.global_batch_size, training.batch_warmup_start) % at_once == 0
    ):
        return larger
    engines = [
        replace(best.candidate, engine=engine)
        for engine in _ENGINES
        if world_size > 1 or engine in ("ddp", "zero1")
    ]
    settings = [
        best.candidate.with_setting(config, name, value)
        for name, values in _settings().items()
        for value in values
    ]
    return next((other for other in (*settings[:1], *engines, *settings) if other not in tried), None)


def _settings() -> dict[str, tuple[Any, ...]]:
    """Names and values in `compute` whose worth depends on the device; the one with the largest effect is
    first."""
    attention = ("auto", "flash-attn") if importlib.util.find_spec("flash_attn") else ("auto",)
    return {
        "compile": (True, False),
        "fused_qkv": (False, True),
        "head_rows": (0, 1024),
        "attention": attention,
    }


def tune_page(config: Config, trials: list[Trial], *, processes: int, note: str = "") -> RenderableType:
    """The table of trials, and the best one as lines of a recipe."""
    best = max(trials, key=lambda trial: trial.sequences_per_second)
    rows = []
    for trial in trials:
        rate, candidate = trial.sequences_per_second, trial.candidate
        share = f"{rate / best.sequences_per_second:.0%}"
        measured = (f"{rate:,.2f}", share, f"{trial.peak_memory_bytes / 1e9:,.1f}", "")
        changes = ", ".join(map(_toml, candidate.changes)) or "as it is"
        shape = (str(candidate.micro_batch_size), candidate.engine, changes)
        rows.append((*shape, *(measured if rate else ("", "", "", trial.failed))))
    header = ("micro-batch", "engine", "compute", "sequences/s", "of the best", "peak memory, GB", "")
    engine = best.candidate.engine
    recipe = [
        "[training]",
        f"micro_batch_size = {best.candidate.micro_batch_size}",
        "",
        "[training.engine]",
        *(['name = "ddp"'] if engine == "ddp" else ['name = "deepspeed"', f'deepspeed_config = "{engine}"']),
        *(["", "[compute]", *map(_toml, best.candidate.changes)] if best.candidate.changes else []),
    ]
    started = f"{config.name}, {config.training.precision.dtype}, {processes:,} process(es)"
    return separated(
        [
            heading(f"{started}; {note}" if note else started),
            table(rows, header=header),
            heading("for the recipe"),
            "\n".join(recipe),
        ]
    )


def _toml(change: tuple[str, Any]) -> str:
    return f"{change[0]} = {json.dumps(change[1])}"
