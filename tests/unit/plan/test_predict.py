from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.plan.choose import ENGINES, choose, predict_all
from biobert_scale.plan.dry_run import plan_run
from biobert_scale.plan.measured import compare, rates_from, read_run
from biobert_scale.plan.predict import ADAMW_BYTES, Machine, Prediction, Rates, predict, with_micro_batch
from biobert_scale.recipes import load_config

LARGE, DEMO = load_config("biobert-large"), load_config("demo")
COUNT = 334_661_958
FAST = Rates(flops=300e12, bandwidth=200e9, network=40e9, device_step=ADAMW_BYTES / 3e12)
GIB = 2**30


def machine(devices: int = 16, gib: float = 80.0, **options: Any) -> Machine:
    return Machine(devices=devices, devices_per_node=8, device_memory=int(gib * GIB), **options)


def large(rates: Rates = FAST, **options: Any) -> list[Prediction]:
    return predict_all(LARGE, machine(**options), rates, vocabulary_size=28_996)


def taken(gib: float, rates: Rates = FAST, **options: Any) -> tuple[str, int] | None:
    found = choose(large(rates, gib=gib, **options), machine(gib=gib), rates, own_engine="zero1").taken
    return None if found is None else (found.engine, found.micro_batch_size)


def test_every_engine_is_there_with_every_micro_batch_that_divides() -> None:
    found = {(one.engine, one.micro_batch_size, one.micro_steps) for one in large() if one.engine != "zero0"}
    assert found == {
        (engine, size, 16 // size) for engine in ENGINES if engine != "zero0" for size in (1, 2, 4, 8, 16)
    }
    refused = [one for one in large() if one.engine == "zero0"]
    assert len(refused) == 5 and all(
        "does not scale the loss in fp16" in one.trouble and one.step_seconds is None for one in refused
    )


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "zero0"])
def test_memory_and_bytes_are_those_of_the_dry_run(engine: str) -> None:
    for one in large():
        if one.engine == engine:
            run = plan_run(
                with_micro_batch(LARGE, engine, one.micro_batch_size), world_size=16, vocabulary_size=28_996
            )
            assert (one.device, one.host, one.sent) == (run.memory.device, run.memory.host, sum(run.sent))


def test_a_recipe_s_own_file_is_tried_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"zero_optimization": {"stage": 2}}')
    own = replace(
        DEMO,
        training=replace(DEMO.training, engine=replace(DEMO.training.engine, deepspeed_config=str(path))),
    )
    assert str(path) in {one.engine for one in predict_all(own, machine(2), Rates(), vocabulary_size=100)}


def test_the_seconds_of_a_step_by_hand() -> None:
    run = plan_run(LARGE, world_size=16, vocabulary_size=28_996)
    one = predict(LARGE, machine(), replace(FAST, other_seconds=0.5), vocabulary_size=28_996)
    compute, sending = run.sequence_flops * 16 / 300e12, 6 * COUNT * 15 / 16 / 40e9
    optimizer = -(-COUNT // 16) * ADAMW_BYTES / 3e12
    assert one.compute_seconds == pytest.approx(compute) and one.communication_seconds == pytest.approx(
        sending
    )
    again = replace(LARGE, compute=replace(LARGE.compute, activation_checkpointing=True))
    two = predict(again, machine(), FAST, vocabulary_size=28_996)
    assert two.compute_seconds == pytest.approx(4 / 3 * compute)
    assert one.optimizer_seconds == pytest.approx(optimizer)
    assert one.step_seconds == pytest.approx(compute + sending + optimizer + 0.5)
    validations = 151 * 8192 * run.sequence_flops / 3 / 16 / 300e12
    assert one.days == pytest.approx((150_000 * (one.step_seconds or 0) + validations) / 86400)


def test_a_ring_is_as_slow_as_its_slowest_link() -> None:
    for devices, per_node, rate in ((16, 8, 40e9), (16, 16, 200e9)):
        where = Machine(devices=devices, devices_per_node=per_node, device_memory=0)
        assert FAST.ring(where) == rate
    assert (
        replace(FAST, bandwidth=10e9).ring(machine()) == 10e9
        and replace(FAST, network=0.0).ring(machine()) == 200e9
    )


def test_what_hides_is_never_more_than_is_sent_nor_than_hides_it() -> None:
    for one in large():
        if one.micro_steps:
            assert (
                one.hidden_seconds is not None
                and one.communication_seconds is not None
                and one.compute_seconds is not None
            )
            assert 0 <= one.hidden_seconds <= min(one.communication_seconds, one.compute_seconds)
            assert (one.hidden_seconds == 0) == (one.engine == "zero1"), "its file overlaps nothing"


def test_an_unknown_rate_is_left_out_and_offloading_is_not_free() -> None:
    for one in large(Rates()):
        assert (one.step_seconds, one.days, one.communication_seconds) == (None, None, None)
    for one in large():
        assert (one.step_seconds is None) == (one.offloads or not one.micro_steps)
    timed = large(replace(FAST, host_step=ADAMW_BYTES / 10e9, transfer=25e9))
    for one in timed:
        if one.engine == "zero2_offload" and one.micro_batch_size == 2:
            share = -(-COUNT // 16)
            assert (
                one.transfer_seconds == pytest.approx(share * (7 * 2 * 2 + 4 + 2) / 25e9)
                and one.step_seconds is not None
            )


def test_less_memory_takes_other_configurations() -> None:
    """Smaller micro-batches first, then more sharding where that is all that fits, then offloading, then
    nothing."""
    assert taken(80) == ("zero1", 16)
    assert taken(4) == ("zero1", 4)
    assert taken(2.2) == (
        "zero3",
        2,
    ), "zero2 fits with single sequences only, and reduces gradients sixteen times then"
    assert taken(1.4) == ("zero3", 1)
    assert taken(1.2) == ("zero3_offload", 1)
    assert taken(0.5) is None


def test_the_reason_says_why() -> None:
    for gib, says in (
        (80, "of 7 alike it has the largest micro-batch and is the recipe's own engine"),
        (1.2, "without offloading nothing fits"),
        (0.5, "zero3_offload with a micro-batch of 1 needs the least of a device, 0.89 GiB"),
    ):
        assert says in choose(large(gib=gib), machine(gib=gib), FAST, own_engine="zero1").reason


def test_without_rates_the_one_that_sends_least_is_taken() -> None:
    assert taken(80, Rates()) == ("zero1", 16)


def test_fewer_free_hosts_fit_no_offloading() -> None:
    cramped = [one.trouble for one in large(host_memory=3 * GIB) if one.engine == "zero2_offload"]
    roomy = [one.trouble for one in large(host_memory=5 * GIB) if one.engine == "zero2_offload"]
    assert set(cramped) == {"too large for the host"} and set(roomy) == {""}


def test_the_reserve_counts() -> None:
    least = min(one.device.peak for one in large() if one.engine == "zero1") / GIB
    for reserve, fits in ((0.0, True), (0.1, False)):
        one = next(one for one in large(gib=least * 1.05, reserve=reserve) if one.engine == "zero1")
        assert (one.trouble == "") == fits


def test_devices_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(UserError, match="252 or 264"):
        large(devices=12)


def numbers(line: str) -> list[str]:
    return [cell for cell in line.split() if cell != "-"]


def test_the_table_holds_what_the_json_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--device-tflops",
        "300",
        "--bandwidth-gbs",
        "200",
        "--network-gbs",
        "40",
        "--memory-gbs",
        "3000",
        "--device-memory-gib",
        "4",
    ]
    assert main(["plan", *options, "--json", str(tmp_path / "plan.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["machine"]["devices"] == 16 and plan["rates"]["flops"] == 300e12
    table = {
        tuple(line.split()[:2]): line.split()[2:]
        for line in lines
        if line.split()[:1] and line.split()[0] in ENGINES
    }
    possible = [row for row in plan["configurations"] if row["micro_steps"]]
    assert len(table) == len(possible) == 30 and len(plan["configurations"]) == 35
    for row in plan["configurations"]:
        shown = table.get((row["engine"], str(row["micro_batch_size"])), [])
        if not row["micro_steps"]:
            assert f"not possible: {row['engine']} ({row['trouble']})" in lines
        else:
            sizes = [
                row["device"][name]
                for name in ("weights", "gradients", "optimizer", "activations", "buffers", "step", "at_most")
            ] + [row["host"]["at_most"]]
            assert (
                shown[:8] == [f"{size / GIB:.3f}" for size in sizes]
                and shown[8] == f"{row['sent'] / 1e9:.3f}"
            )
            device = row["device"]
            assert device["at_most"] == device["weights"] + device["gradients"] + device["optimizer"] + max(
                device["activations"] + device["buffers"], device["step"]
            )
            times = [row[name] for name in ("communication_seconds", "hidden_seconds", "step_seconds")]
            assert shown[9:12] == ["-" if value is None else f"{value:.4f}" for value in times]
            assert shown[12] == ("-" if row["days"] is None else f"{row['days']:.2f}")
            assert row["fits"] == (row["trouble"] == "")
            assert row["trouble"] in " ".join(shown)
    assert plan["recommended"] == {"engine": "zero1", "micro_batch_size": 4, "gradient_accumulation_steps": 4}
    assert lines[-1] == f"recommended: zero1, micro-batch 4, 4 accumulation steps ({plan['reason']})"
    assert [line.split()[0] for line in lines if line.endswith("<- recommended")] == ["zero1"]


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (
        ["--devices", "0"],
        ["--reserve", "1"],
        ["--devices", "12"],
        ["--run", str(tmp_path / "none")],
        ["--config", "none"],
    ):
        assert main(["plan", *arguments]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("biobert-scale:")]
    assert len(told) == 5


def planned(run: Path, output: Path) -> dict[str, Any]:
    """What `plan --json` writes of the demo's recipe beside a run."""
    line = ["plan", "--config", "demo", "--devices", "2", "--run", str(run), "--json", str(output)]
    assert main(line) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """The records of a run on two GPUs whose steps take 2 seconds and do half the arithmetic of full-length
    sequences."""
    config = with_micro_batch(DEMO, "zero1", 32)
    write_json(tmp_path / "config.json", config)
    write_json(
        tmp_path / "device.json", {"device": "some GPU", "flops_per_second": 1e12, "source": "data sheet"}
    )
    run = plan_run(config, world_size=2, vocabulary_size=DEMO.vocabulary.size)
    flops = run.sequence_flops * 64 / 2
    records: list[dict[str, Any]] = [{"global_step": 0, "validation/mlm_loss": 1.0}]
    for step in range(1, 6):
        seconds = 20.0 if step == 1 else 2.0
        records.append(
            {
                "global_step": step,
                "consumed_samples": 128 * step,
                "consumed_tokens": 4000 * step,
                "train/loss": 1.0,
                "perf/step_seconds": seconds,
                "perf/tokens_per_second_per_device": 4000 / seconds / 2,
                "perf/model_flops_per_second_per_device": flops / seconds,
                "perf/forward_seconds": 0.5,
                "perf/backward_seconds": 1.0,
                "perf/optimizer_seconds": 0.25,
                "perf/peak_memory_bytes": 10**9,
            }
        )
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def test_a_run_s_own_records_tell_its_rates(measured: Path) -> None:
    run = read_run(measured)
    assert (run.world_size, run.step_seconds, run.compute_seconds) == (
        2,
        2.0,
        1.5,
    ), "the first record, with all that is warming up, is left out"
    rates = rates_from(run, Rates())
    assert (
        rates.flops == pytest.approx(run.flops / 1.5)
        and rates.filling == pytest.approx(0.5)
        and rates.other_seconds == pytest.approx(0.25)
    )
    own = compare(run, rates, own_rates=True)
    assert own.step_seconds_error == pytest.approx(0.0, abs=1e-9)
    predicted = plan_run(run.config, world_size=2, vocabulary_size=DEMO.vocabulary.size).memory.device.peak
    assert own.predicted_peak_memory == predicted and own.peak_memory_error == pytest.approx(
        predicted / 1e9 - 1
    )


def test_a_run_s_second_half_is_predicted_from_its_first(measured: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (measured / "metrics.jsonl").read_text().splitlines()]
    for line in lines[-2:]:  # slower by a quarter of a second of waiting
        line["perf/step_seconds"] = 2.25
        line["perf/model_flops_per_second_per_device"] *= 2 / 2.25
    (measured / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = planned(measured, tmp_path / "plan.json")
    (own,) = plan["measured"]
    assert (own["predicted_step_seconds"], own["measured_step_seconds"]) == (pytest.approx(2.0), 2.25)
    assert own["step_seconds_error"] == pytest.approx(2.0 / 2.25 - 1)


def test_a_given_rate_stands_and_is_found_wrong(measured: Path) -> None:
    run = read_run(measured)
    rates = rates_from(run, Rates(flops=run.flops / 0.75))
    assert compare(run, rates, own_rates=False).step_seconds_error == pytest.approx(-0.75 / 2)


def test_sending_is_taken_out_of_the_passes_where_its_rate_is_given(measured: Path) -> None:
    run = read_run(measured)
    sent = plan_run(run.config, world_size=2, vocabulary_size=DEMO.vocabulary.size).sent
    rates = rates_from(run, Rates(bandwidth=sum(sent) / 0.5))
    assert rates.flops == pytest.approx(run.flops / 1.0)
    assert compare(run, rates, own_rates=True).step_seconds_error == pytest.approx(0.0, abs=1e-9)


def test_the_command_compares_with_a_run(
    measured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = planned(measured, tmp_path / "plan.json")
    assert plan["measured"][0]["measured_step_seconds"] == 2.0 and plan["measured"][0]["own_rates"]
    row = next(
        row for row in plan["configurations"] if (row["engine"], row["micro_batch_size"]) == ("zero1", 32)
    )
    assert row["step_seconds"] == pytest.approx(2.0)
    told = capsys.readouterr().out
    assert (
        "+0.0%" in told
        and f"{plan['measured'][0]['peak_memory_error']:+.1%}" in told
        and str(measured) in told
    )
