"""How evenly a step's tokens are spread over ranks and micro-steps: balanced by length, and at random."""

from __future__ import annotations

import numpy as np

from benchmarks.data.records import Balance
from benchmarks.data.samples import GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE, RANKS, SEED
from biobert_scale.data.load_balancing import balance_by_length
from biobert_scale.data.order import samples_at
from biobert_scale.data.pairs import unpack


def measure_balance(index: np.ndarray, *, steps: int) -> Balance:
    """Balanced by length and at random, on the same steps.

    Args:
        index: (samples, 2) uint64, the samples that the steps are drawn from.
    """
    rng = np.random.default_rng(SEED)
    ratios: dict[str, dict[str, list[float]]] = {
        way: {"micro_batch": [], "rank": [], "step": []} for way in ("balanced by length", "at random")
    }
    for step in range(steps):
        _, indices = samples_at(step * GLOBAL_BATCH_SIZE, GLOBAL_BATCH_SIZE, size=len(index), seed=SEED)
        lengths = unpack(index[indices]).lengths
        by_length = balance_by_length(lengths, micro_batch_size=MICRO_BATCH_SIZE, world_size=RANKS)
        at_random = rng.permutation(len(lengths)).reshape(by_length.shape)
        for way, chosen in (("balanced by length", by_length), ("at random", at_random)):
            loads = lengths[chosen].sum(axis=2)  # (micro_steps, ranks)
            fullest, ranks = loads.max(axis=1), loads.sum(axis=0)
            ratios[way]["micro_batch"].extend(fullest / loads.mean(axis=1))
            ratios[way]["rank"].append(ranks.max() / ranks.mean())
            ratios[way]["step"].append(fullest.sum() / loads.mean(axis=1).sum())
    return {
        "steps": steps,
        "samples": len(index),
        "mean_length": float(unpack(index).lengths.mean()),
        "ways": {
            way: {
                name: {"mean": float(np.mean(values)), "worst": float(np.max(values))}
                for name, values in of.items()
            }
            for way, of in ratios.items()
        },
    }
