"""Contestants that take turns on one core, by its CPU time and by the clock.

Other work on the machine disturbs the clock more than the CPU time, and both drift: turns alternate, who
begins changes from turn to turn, and medians count.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to make batches."""

    name: str
    sequences: int
    """Sequences in each of its batches."""
    begin: Callable[[int], Generator[Any, None, None]]
    """Endless batches of a turn; closing the generator ends its threads."""
    measure: Callable[[Any], tuple[int, int]]
    """Tokens (padding left out) and predictions in a batch."""
    pairs: bool = True
    """Whether its sequences are NSP pairs."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a contestant did: one entry a turn."""

    name: str
    pairs: bool
    sequences_per_cpu_second: list[float]
    sequences_per_second: list[float]
    tokens_per_sequence: float
    predictions_per_sequence: float


def compare(contestants: list[Contestant], *, repeats: int, seconds: float) -> list[Speed]:
    """Let contestants take turns of at least `seconds` of CPU time each; a first turn that is not counted
    warms up."""
    sizes = {item.name: _measured(item, seconds) for item in contestants}
    by_cpu: dict[str, list[float]] = {item.name: [] for item in contestants}
    by_clock: dict[str, list[float]] = {item.name: [] for item in contestants}
    with _quiet():
        for turn, item in in_turns(contestants, repeats):
            sequences, cpu, clock = _take(item, turn + 1, seconds)
            by_cpu[item.name].append(sequences / cpu)
            by_clock[item.name].append(sequences / clock)
    return [
        Speed(
            name=item.name,
            pairs=item.pairs,
            sequences_per_cpu_second=by_cpu[item.name],
            sequences_per_second=by_clock[item.name],
            tokens_per_sequence=sizes[item.name][0],
            predictions_per_sequence=sizes[item.name][1],
        )
        for item in contestants
    ]


def in_turns(items: list[Item], repeats: int) -> Iterator[tuple[int, Item]]:
    """(turn, item): every item once a turn, another one first each time."""
    for turn in range(repeats):
        first = turn % len(items)
        for item in (*items[first:], *items[:first]):
            yield turn, item


def cpu_seconds(*of: int) -> float:
    """Of this process and of its children that have ended.

    Args:
        of: `resource.RUSAGE_SELF` or `resource.RUSAGE_CHILDREN`, for one of both alone.
    """
    usages = map(resource.getrusage, of or (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _measured(item: Contestant, seconds: float) -> tuple[float, float]:
    """Mean tokens and predictions of a sequence over one turn."""
    sequences = tokens = predictions = 0
    begun = time.process_time()
    with closing(item.begin(0)) as batches:
        for batch in batches:
            more = item.measure(batch)
            sequences, tokens, predictions = (
                sequences + item.sequences,
                tokens + more[0],
                predictions + more[1],
            )
            if time.process_time() - begun >= seconds:
                break
    return tokens / sequences, predictions / sequences


def _take(item: Contestant, turn: int, seconds: float) -> tuple[int, float, float]:
    """Sequences, CPU seconds of the whole process, seconds by the clock; ending the threads counts."""
    sequences = 0
    cpu, clock = time.process_time(), time.perf_counter()
    with closing(item.begin(turn)) as batches:
        for _ in batches:
            sequences += item.sequences
            if time.process_time() - cpu >= seconds:
                break
    return sequences, time.process_time() - cpu, time.perf_counter() - clock


@contextmanager
def _quiet() -> Iterator[None]:
    """One thread for torch, and what the contestants hold in memory is not searched for garbage in each
    other's turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
