from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from biobert_scale.config import GuardsConfig, PrecisionConfig
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.training.device import device_peak
from biobert_scale.training.monitor.guards import EVENTS, Guards
from biobert_scale.training.monitor.profile import parse_steps
from biobert_scale.training.monitor.timers import StepTimer
from biobert_scale.training.monitor.watchdog import DIRECTORY, Watchdog


def events(run: Path) -> list[dict[str, object]]:
    return (
        [json.loads(line) for line in (run / EVENTS).read_text().splitlines()]
        if (run / EVENTS).exists()
        else []
    )


def judge(guards: Guards, step: int, losses: list[float], *, waited: tuple[float, float] = (0.0, 0.0)) -> str:
    return guards.judge(step, np.array(losses), waited=np.array(waited), seconds=1.0)


def warmed_up(run: Path, **policies: object) -> Guards:
    guards = Guards(GuardsConfig(**policies), PrecisionConfig(), run, writes=True, loss_scale=1.0)  # type: ignore[arg-type]
    for step in range(30):
        assert judge(guards, step, [1.0, 1.0 + step % 3 / 10]) == "go on"
    return guards


def test_a_loss_that_is_no_number_stops_with_step_and_rank(tmp_path: Path) -> None:
    guards = warmed_up(tmp_path)
    with pytest.raises(RunFailed, match=r"nan at step 31, from rank 1"):
        judge(guards, 31, [1.0, float("nan")])
    assert [(event["global_step"], event["rank"]) for event in events(tmp_path)] == [(31, 1)]


def test_what_is_skipped_by_policy_is_reported_once_and_goes_on(tmp_path: Path) -> None:
    guards = warmed_up(tmp_path, non_finite_loss="skip")
    for step in (31, 35):
        assert judge(guards, step, [float("inf"), 1.0]) == "go on"
    assert [(event["kind"], event["global_step"], event["rank"]) for event in events(tmp_path)] == [
        ("non-finite loss", 31, 0)
    ]


@pytest.mark.fault(
    "a loss is NaN again after every roll-back",
    "stopped at the number that the recipe sets",
    lost="the steps since the last save",
)
def test_rolling_back_has_an_end(tmp_path: Path) -> None:
    guards = warmed_up(tmp_path, non_finite_loss="roll_back", roll_backs=2)
    assert [judge(guards, step, [float("nan"), 1.0]) for step in (31, 40)] == ["roll back", "roll back"]
    with pytest.raises(RunFailed):
        judge(guards, 50, [float("nan"), 1.0])


@pytest.mark.parametrize(("policy", "expected"), [("warn", "go on"), ("roll_back", "roll back")])
@pytest.mark.fault("the loss of one rank jumps", "warned of or rolled back by policy, with the rank")
def test_a_spike_is_judged_by_the_running_median(tmp_path: Path, policy: str, expected: str) -> None:
    guards = warmed_up(tmp_path, loss_spike=policy)
    assert judge(guards, 31, [1.2, 1.3]) == "go on" and not events(tmp_path)
    assert judge(guards, 32, [1.0, 4.0]) == expected
    (event,) = events(tmp_path)
    assert event["rank"] == 1 and event["global_step"] == 32
    assert max(guards.losses, default=0) < 3, "a spike must not move the median"


def test_the_beginning_of_a_run_is_no_spike(tmp_path: Path) -> None:
    guards = Guards(GuardsConfig(), PrecisionConfig(), tmp_path, writes=True, loss_scale=1.0)
    for step in range(10):
        judge(guards, step, [10.0 - step, 0.0])
    judge(guards, 11, [12.0, 0.0])
    assert not events(tmp_path)


@pytest.mark.fault("one rank waits for its data", "reported once with the rank")
def test_waiting_for_data_is_reported_once_with_the_rank(tmp_path: Path) -> None:
    guards = Guards(GuardsConfig(), PrecisionConfig(), tmp_path, writes=True, loss_scale=1.0)
    for step in range(60):
        judge(guards, step, [1.0, 1.0], waited=(0.1, 0.5))
    (event,) = events(tmp_path)
    assert event["kind"] == "data starvation" and event["rank"] == 1


def test_only_one_rank_writes(tmp_path: Path) -> None:
    guards = Guards(
        GuardsConfig(loss_spike="warn"), PrecisionConfig(), tmp_path, writes=False, loss_scale=1.0
    )
    for step in range(30):
        judge(guards, step, [1.0, 1.0])
    judge(guards, 31, [9.0, 9.0])
    assert not events(tmp_path)


def test_time_within_a_part_counts_once() -> None:
    timer = StepTimer(torch.device("cpu"))
    clock = iter(
        [0.0, 1.0, 4.0, 6.0, 10.0, 20.0]
    )  # into and out of forward, into backward, into and out of its step, out of backward
    timer.mark = lambda: next(clock)
    with timer.part("forward"):
        pass
    with timer.part("backward"), timer.part("step"):
        pass
    seconds = timer.take()
    assert (seconds["forward"], seconds["backward"], seconds["step"]) == (1.0, 2.0 + 10.0, 4.0)
    assert sum(timer.take().values()) == 0


def test_the_watchdog_names_the_rank_that_stands_behind(tmp_path: Path) -> None:
    ranks = [Watchdog(tmp_path, rank=rank, world_size=3, stall_seconds=1000) for rank in range(3)]
    try:
        for rank, micro_step in enumerate((7, 3, 7)):
            ranks[rank].at(12, micro_step, "computing")
            ranks[rank]._write()
        text, rank = ranks[0].diagnosis()
        assert rank == 1 and "step 12, micro-step 3, computing" in text
    finally:
        for watchdog in ranks:
            watchdog.close()
    assert not list((tmp_path / DIRECTORY).iterdir())


@pytest.mark.fault("a rank on another node gives no sign of life", "named with its node and step")
def test_the_watchdog_names_a_rank_that_is_silent_and_tells_once(tmp_path: Path) -> None:
    alive = Watchdog(tmp_path, rank=1, world_size=2, stall_seconds=1000)
    try:
        gone = Watchdog(tmp_path, rank=0, world_size=2, stall_seconds=1000)
        gone.close()
        beat = json.loads((tmp_path / DIRECTORY / "rank-00001.json").read_text())
        old = {**beat, "rank": 0, "host": "node7", "global_step": 5, "written": time.time() - 1000}
        (tmp_path / DIRECTORY / "rank-00000.json").write_text(json.dumps(old))
        text, rank = alive.diagnosis()
        assert rank == 0 and "node7" in text and "no sign of life" in text
        alive._report()
        assert [event["rank"] for event in events(tmp_path)] == [0]
    finally:
        alive.close()


@pytest.mark.fault("a rank stands still, and the others end in errors one by one", "that rank is named")
def test_a_rank_that_ended_is_not_taken_for_the_one_that_is_silent(tmp_path: Path) -> None:
    first, ended, silent = (
        Watchdog(tmp_path, rank=rank, world_size=3, stall_seconds=1000) for rank in range(3)
    )
    silent.close()
    path = tmp_path / DIRECTORY / "rank-00002.json"
    beat = json.loads((tmp_path / DIRECTORY / "rank-00000.json").read_text())
    path.write_text(json.dumps({**beat, "rank": 2, "host": "node7", "written": time.time() - 1000}))
    ended.at(12, 3, "computing")
    ended.close(failed=True)
    text, rank = first.diagnosis()
    assert rank == 2 and "node7" in text and "no sign of life" in text and "more" not in text
    path.write_text(json.dumps({**beat, "rank": 2}))
    text, rank = first.diagnosis()
    assert rank == 1 and "ended in an error" in text and "step 12" in text
    first.begun = time.time() + 1  # of the next start
    assert [beat.rank for beat in first.heartbeats()] == [0, 2]


@pytest.mark.fault("a power failure empties a rank's heartbeat", "the rank is one that is silent")
def test_an_empty_heartbeat_is_none(tmp_path: Path) -> None:
    first = Watchdog(tmp_path, rank=0, world_size=2, stall_seconds=1000)
    (tmp_path / DIRECTORY / "rank-00001.json").write_text("")
    text, rank = first.diagnosis()
    assert rank == 1 and "no sign of life" in text
    first.close()


def test_a_measured_peak_is_stated_as_such() -> None:
    peak = device_peak(torch.device("cpu"), torch.float32)
    assert peak.source.startswith("measured") and 1e9 < peak.flops_per_second < 1e14 and os.cpu_count()


@pytest.mark.parametrize("text", ["", "3", "5:3", "0:4", "a:b", "1:2:3"])
def test_a_range_of_steps_is_checked(text: str) -> None:
    with pytest.raises(UserError):
        parse_steps(text)
    assert parse_steps("2:9") == (2, 9)
