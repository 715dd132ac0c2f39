"""The recommended configuration on more and more devices, and what `plan --simulate` says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.files import write_json
from biobert_scale.plan.dry_run import plan_run
from biobert_scale.plan.measured import rates_from, read_run
from biobert_scale.plan.predict import Rates, with_micro_batch
from biobert_scale.plan.scaling import expected_maximum
from biobert_scale.recipes import load_config

RATES = ("--device-tflops", "200", "--bandwidth-gbs", "150", "--network-gbs", "40")
FAILING = ("--node-mtbf-days", "20", "--save-seconds", "2", "--write-seconds", "20")


def planned(path: Path, *options: str) -> dict[str, Any]:
    assert main(["plan", "--simulate", *options, "--json", str(path)]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_devices_double_to_1024_and_what_does_not_divide_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path / "plan.json", *RATES, *FAILING)
    found = plan["simulation"]
    assert [one["devices"] for one in found["scales"]] == [16, 32, 64, 128, 256]
    assert [one["nodes"] for one in found["scales"]] == [2, 4, 8, 16, 32]
    batch, micro = plan["global_batch_size"], plan["recommended"]["micro_batch_size"]
    assert [one["micro_batch_size"] for one in found["scales"]] == [
        min(micro, batch // one["devices"]) for one in found["scales"]
    ]
    own = next(
        row
        for row in plan["configurations"]
        if (row["engine"], row["micro_batch_size"]) == (plan["recommended"]["engine"], micro)
    )
    assert found["scales"][0]["step_seconds"] == own["step_seconds"]
    assert found["scales"][0]["days"] == own["days"]
    for one in found["scales"]:
        assert one["mtbf_days"] == pytest.approx(20 / one["nodes"])
        recipe, daly = one["saved"]
        assert (recipe["by"], recipe["steps"], daly["by"]) == ("recipe", 1000, "Daly")
        assert daly["steps"] == round(one["daly_steps"]) < one["young_steps"]
        assert daly["outcome"]["seconds"] <= recipe["outcome"]["seconds"] * 1.001
    told = capsys.readouterr().out
    for devices in ("512", "1,024"):
        assert f"left out: {devices} devices: global_batch_size 256 does not divide" in told
    rows = [line.split() for line in told.splitlines() if line.split()[7:9] == ["1,000", "recipe"]]
    assert [row[0] for row in rows] == ["16", "32", "64", "128", "256"]
    for row, one in zip(rows, found["scales"], strict=True):
        outcome = one["saved"][0]["outcome"]
        assert row[9] == f"{outcome['seconds'] / 86400:.2f}" and row[11] == f"{outcome['restarts']:.1f}"
        assert row[12:] == [f"{outcome[name]:.2%}" for name in ("lost", "restarting", "saving")]


def test_nodes_that_do_not_fail_lose_nothing(tmp_path: Path) -> None:
    found = planned(tmp_path / "plan.json", *RATES, "--devices", "64")["simulation"]
    assert found["node"]["mtbf"] is None
    for one in found["scales"]:
        ((outcome),) = (saved["outcome"] for saved in one["saved"])
        assert outcome["restarts"] == outcome["lost"] == 0.0
        assert outcome["seconds"] == pytest.approx(one["days"] * 86400)
        assert one["daly_steps"] is None is one["mtbf_days"]


def test_too_many_failures_are_not_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--devices", "256", "--node-mtbf-days", "0.001", "--save-seconds", "1")
    (one,) = planned(tmp_path / "plan.json", *RATES, *options)["simulation"]["scales"]
    assert all(saved["outcome"] is None for saved in one["saved"])
    assert "too many failures" in capsys.readouterr().out


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, remedy in (
        (["--simulate"], "--device-tflops"),
        (["--simulate", *RATES[:2]], "--bandwidth-gbs"),
        (["--simulate", *RATES, "--node-mtbf-days", "3"], "--save-seconds"),
        (["--node-mtbf-days", "3"], "--simulate"),
        (["--simulate", *RATES, "--spread", "2"], "--spread"),
        (["--simulate", *RATES, "--device-memory-gib", "0.5"], "nothing fits"),
    ):
        assert main(["plan", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("biobert-scale:") and remedy in line


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The records of a run on two GPUs, one of them slower, that has saved."""
    demo = load_config("demo")
    config = with_micro_batch(demo, "zero1", 32)
    write_json(tmp_path / "config.json", config)
    write_json(tmp_path / "device.json", {"device": "some GPU"})
    flops = plan_run(config, world_size=2, vocabulary_size=demo.vocabulary.size).sequence_flops * 64
    records: list[dict[str, Any]] = [
        {
            "global_step": step,
            "consumed_samples": 128 * step,
            "consumed_tokens": 4096 * step,
            "perf/step_seconds": 2.0,
            "perf/tokens_per_second_per_device": 1024.0,
            "perf/model_flops_per_second_per_device": flops / 2.0,
            "perf/forward_seconds": 0.5,
            "perf/backward_seconds": 1.0,
            "perf/optimizer_seconds": 0.25,
            "perf/slowest_rank_excess": 0.04,
            "perf/peak_memory_bytes": 10**9,
        }
        for step in range(1, 6)
    ]
    saves = [{"perf/checkpoint_stall_seconds": stall} for stall in (9.0, 0.5, 0.5)]
    saves.append({"perf/checkpoint_stall_seconds": 0.5, "perf/checkpoint_write_seconds": 7.0})
    lines = [*records, *({"global_step": 5, "consumed_samples": 640, **save} for save in saves)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_run_s_records_say_how_far_its_ranks_are_apart_and_what_a_save_costs(measured: Path) -> None:
    run = read_run(measured)
    assert (run.slowest_excess, run.save_seconds, run.write_seconds) == (0.04, 0.5, 7.0)
    rates = rates_from(run, Rates())
    assert rates.spread == pytest.approx(0.04 / expected_maximum(2))
    assert rates.flops == pytest.approx(run.flops / 1.5 * 1.04), "the mean rank's, which is faster"
    assert rates_from(run, Rates(spread=0.5)).spread == 0.5


def test_a_simulation_takes_from_the_run_what_is_not_given(measured: Path, tmp_path: Path) -> None:
    options = ("--config", "demo", "--devices", "2", "--run", str(measured), "--node-mtbf-days", "3")
    plan = planned(tmp_path / "plan.json", *options, "--bandwidth-gbs", "10", "--write-seconds", "8")
    assert (plan["simulation"]["node"]["save"], plan["simulation"]["node"]["write"]) == (0.5, 8.0)
    first = plan["simulation"]["scales"][0]
    assert first["devices"] == 2
    assert plan["measured"][0]["step_seconds_error"] == pytest.approx(0.0, abs=1e-6)
