"""A process' peak memory is its own."""

from __future__ import annotations

import multiprocessing

import numpy as np

from biobert_scale.resident import peak_resident_bytes


def _with(megabytes: int) -> int:
    held = np.ones(megabytes * 2**17)
    assert held[-1] == 1
    del held
    return peak_resident_bytes()


def test_what_the_parent_holds_does_not_count_and_what_was_given_back_does() -> None:
    held = np.ones(2**27)  # 2**30 bytes
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        alone = pool.apply(peak_resident_bytes)
        peak = pool.apply(_with, (256,))
    assert held.nbytes < peak_resident_bytes()
    assert alone < 5e8 and 256 * 2**20 < peak < 256 * 2**20 + 5e8
