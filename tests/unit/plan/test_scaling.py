"""What many ranks cost a step, by hand and at the limits."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biobert_scale.modeling.model import bert_config
from biobert_scale.plan.dry_run import count_parameters
from biobert_scale.plan.memory import Sharding, collective_calls
from biobert_scale.plan.predict import Machine, Prediction, Rates, predict, with_micro_batch
from biobert_scale.plan.scaling import Links, expected_maximum
from biobert_scale.recipes import load_config

LARGE = load_config("biobert-large")
COUNTED = count_parameters(LARGE, bert_config(LARGE.model, vocabulary_size=28_996, pad_token_id=0))
RATES = Rates(flops=300e12, bandwidth=200e9, network=40e9)


def on(devices: int, engine: str = "zero1", **rates: Any) -> Prediction:
    where = Machine(devices=devices, devices_per_node=8, device_memory=0)
    config = with_micro_batch(LARGE, engine, 1)
    return predict(config, where, replace(RATES, **rates), vocabulary_size=28_996, counted=COUNTED)


def test_small_buffers_go_by_tree_and_large_ones_by_ring() -> None:
    links = Links(devices=16, rate=1e9, latency=1e-5)
    assert links.all_reduce_seconds(1.875e9, 1) == pytest.approx(1.875 + 30e-5), "2 x 15 messages"
    assert links.all_reduce_seconds(1.875e3, 1) == pytest.approx(2e-6 + 8e-5), "2 log2(16) messages"
    assert links.all_reduce_seconds(1.875e4, 10) == pytest.approx(2e-5 + 80e-5)
    assert links.gather_seconds(1e9, 2) == pytest.approx(1 + 30e-5)


def test_one_device_sends_nothing_and_waits_for_nobody() -> None:
    alone = Links(devices=1, rate=0.0, latency=1.0)
    assert alone.all_reduce_seconds(5.0, 1) == alone.gather_seconds(5.0, 1) == 0.0 == expected_maximum(1)
    one, plain = on(1, latency=1.0, spread=1.0), on(1)
    assert one.communication_seconds == 0.0 and one.step_seconds == plain.step_seconds


def test_without_latency_an_all_reduce_is_a_ring_and_with_infinite_rates_nothing() -> None:
    assert Links(1024, 1e9, 0.0).all_reduce_seconds(2e9, 7) == 2.0
    assert on(16, bandwidth=math.inf, network=math.inf).communication_seconds == 0.0


@pytest.mark.parametrize(
    ("draws", "expected"),
    [(2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (10, 1.53875), (1000, 3.24144)],
)
def test_the_expected_maximum_is_that_of_the_tables(draws: int, expected: float) -> None:
    """Harter 1961."""
    assert expected_maximum(draws) == pytest.approx(expected, abs=2e-5)


def test_a_step_waits_for_the_slowest_of_its_ranks() -> None:
    mean, slowest = on(16), on(16, spread=0.05)
    assert mean.compute_seconds is not None
    assert slowest.compute_seconds == pytest.approx(mean.compute_seconds * (1 + 0.05 * expected_maximum(16)))


def test_an_engine_s_messages_are_its_buckets() -> None:
    count, steps = 334_661_958, 8
    assert collective_calls(count, Sharding(stage=None), micro_steps=steps) == (52, 0)  # 25 MiB each
    assert collective_calls(count, Sharding(stage=0), micro_steps=steps) == (1, 0)
    small = Sharding(stage=1, bucket=50_000_000, gather_bucket=100_000_000)
    assert collective_calls(count, small, micro_steps=steps) == (7, 4)
    assert collective_calls(count, replace(small, stage=2), micro_steps=steps) == (56, 4)
    assert collective_calls(count, replace(small, stage=3), micro_steps=steps) == (56, 8 * 7), "weights stay"
    again = replace(small, stage=3, reuse_distance=0)
    assert collective_calls(count, again, micro_steps=steps) == (56, 2 * 8 * 7)
    plain, late = on(16), on(16, latency=1e-3)
    assert plain.communication_seconds is not None
    # ds_configs/zero1.json has buckets of 50 million elements: 7 reductions by tree, 7 gathers by ring.
    tree = plain.communication_seconds / 3 * 2 * 16 / 15 + 7 * 2 * 4e-3
    assert late.communication_seconds == pytest.approx(tree + plain.communication_seconds / 3 + 7 * 15e-3)


@settings(deadline=None)
@given(
    buffer=st.floats(1, 1e12),
    calls=st.integers(1, 1000),
    devices=st.integers(2, 2000),
    rate=st.floats(1e3, 1e12),
    latency=st.floats(0, 1),
    better=st.floats(1, 10),
)
def test_collectives_take_longer_on_slower_links_and_on_more_devices(
    buffer: float, calls: int, devices: int, rate: float, latency: float, better: float
) -> None:
    def seconds(links: Links) -> tuple[float, float]:
        sent = buffer * (links.devices - 1) / links.devices
        return links.all_reduce_seconds(2 * sent, calls), links.gather_seconds(sent, calls)

    here = seconds(Links(devices, rate, latency))
    for least, most in (
        (seconds(Links(devices, rate * better, latency / better)), here),
        (here, seconds(Links(devices + 1, rate, latency))),
    ):
        assert all(low <= high * (1 + 1e-9) for low, high in zip(least, most, strict=True))
    assert expected_maximum(devices) < expected_maximum(devices + 1)


@pytest.mark.parametrize("engine", ["ddp", "zero1"])
def test_more_devices_divide_the_arithmetic_and_send_no_less(engine: str) -> None:
    found = [on(devices, engine, latency=1e-5, spread=0.02) for devices in (8, 16, 64, 256)]
    for few, many in itertools.pairwise(found):
        assert few.compute_seconds is not None and many.compute_seconds is not None
        assert few.communication_seconds is not None and many.communication_seconds is not None
        assert many.compute_seconds < few.compute_seconds
        assert many.communication_seconds > few.communication_seconds
