"""Runs that are killed, starved of disk, or robbed of files: each comes back, and ends with the weights of a
run that nothing happened to."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.files import write_json
from biobert_scale.training.checkpoint.retention import complete, incomplete
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.restarts import STARTS
from tests.distributed.mortal_points import IN_SAVES, IN_STEPS, OF_THE_MAIN_PROCESS
from tests.launching import attempt, column, command, environment, last_state, train

WORKER = str(Path(__file__).with_name("mortal_worker.py"))
DROPOUT = ("--model.hidden-dropout-prob", "0.1", "--model.attention-probs-dropout-prob", "0.1")
OFTEN = ("--training.checkpoint.every-steps", "2", "--training.checkpoint.keep-last", "2")


def assert_same(ours: Path, theirs: Path) -> None:
    left, right = last_state(ours), last_state(theirs)
    assert left.keys() == right.keys() and complete(ours)[-1].name == complete(theirs)[-1].name
    assert all(torch.equal(left[name], right[name]) for name in left)
    names = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples")
    assert column(read_metrics(ours), *names) == column(read_metrics(theirs), *names)


def elastic(line: list[str], *, restarts: int, processes: int) -> list[str]:
    """The command of a run under torchrun's elastic agent, in place of accelerate's launcher."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
        "--max-restarts",
        str(restarts),
        *line[line.index(WORKER) :],
    ]


def survive(
    tokens: Path, run: Path, deaths: list[dict[str, Any]], *overrides: str, timeout: float, **options: Any
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """A run with deaths, brought back by the agent; returns what was said, and the faults with steps lost."""
    write_json(run.with_name("deaths.json"), deaths)
    line = elastic(
        command(tokens, run, *overrides, worker=WORKER, **options),
        restarts=len(deaths) + 1,
        processes=options["processes"],
    )
    # torch's agent would hand out the old store's address after a restart.
    where = {
        **environment(),
        "DEATHS": str(run.with_name("deaths.json")),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    done = subprocess.run(line, env=where, capture_output=True, text=True, timeout=timeout, cwd=run.parent)
    told = [json.loads(line) for line in run.with_name("deaths.log").read_text().splitlines()]
    started = {start: step for start, what, _, step in told if what == "started"}
    killed = {start: (point, step) for start, what, point, step in told if what == "killed"}
    return done, [
        [point, str(step), str(step - 1 - started[start + 1])]
        for start, (point, step) in killed.items()
        if start + 1 in started
    ]


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of one of two ranks between two micro-batches",
    "torchrun's agent starts both again, without a person",
    lost="the steps since the last save",
)
@pytest.mark.fault(
    "SIGKILL of both ranks with half a checkpoint file written",
    "the half checkpoint is passed over and deleted; the run ends",
    lost="the steps since the last save",
)
def test_a_killed_rank_brings_the_run_back_by_itself(tokens: Path, tmp_path: Path) -> None:
    train(tokens, tmp_path / "whole", *DROPOUT, *OFTEN, processes=2, dtype="bf16")
    deaths = [
        {"point": "between two micro-batches", "step": 4, "rank": 1},
        {"point": "half a file", "step": 6, "rank": -1},
    ]
    done, faults = survive(
        tokens,
        tmp_path / "run",
        deaths,
        *DROPOUT,
        *OFTEN,
        "--training.micro-batch-size",
        "2",
        processes=2,
        dtype="bf16",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [fault[0] for fault in faults] == ["between two micro-batches", "half a file"]
    assert not incomplete(tmp_path / "run")


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("engine", "dtype"), [("zero1", "bf16"), ("ddp", "fp32")])
@pytest.mark.fault(
    "thirty SIGKILLs at drawn points, {engine} {dtype}",
    "started again after each; the end equals the undisturbed run's bit for bit",
    lost="at most four steps a kill",
)
def test_thirty_kills_at_random_points_leave_no_trace(
    tokens: Path, tmp_path: Path, engine: str, dtype: str, record_property: Callable[[str, object], None]
) -> None:
    chosen = (
        *(
            ("--training.engine.name", "ddp")
            if engine == "ddp"
            else ("--training.engine.deepspeed-config", engine)
        ),
        *DROPOUT,
        *OFTEN,
        "--training.micro-batch-size",
        "2",
    )
    draw = random.Random(engine)
    points = [*IN_STEPS, *IN_SAVES] * 3
    draw.shuffle(points)
    deaths = [
        {
            "point": point,
            "step": 3 + 2 * k,
            "rank": 0 if point in OF_THE_MAIN_PROCESS else draw.choice((0, 1, -1)),
        }
        for k, point in enumerate(points)
    ]
    train(tokens, tmp_path / "whole", *chosen, processes=2, dtype=dtype, steps=66)
    done, faults = survive(
        tokens, tmp_path / "run", deaths, *chosen, processes=2, dtype=dtype, steps=66, timeout=3000
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(tmp_path / "run", tmp_path / "whole")
    record_property(
        "drawn", {"run": f"{engine}, {dtype}, two ranks, 66 steps, saves every 2", "faults": faults}
    )
    assert len(faults) == 30 and all(int(lost) <= 4 for *_, lost in faults)


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL at the same step of every start",
    "stopped at the second restart without progress, with the reason; a start by hand resumes",
)
def test_a_crash_loop_stops_with_the_reason(tokens: Path, tmp_path: Path) -> None:
    deaths = [{"point": "before the step", "step": 4, "rank": 0}] * 3
    at_once = (*OFTEN, "--training.checkpoint.no-background")  # step 2 is saved before the kill
    done, _ = survive(tokens, tmp_path / "run", deaths, *at_once, processes=1, timeout=300)
    assert (
        done.returncode != 0
        and "restarted 2 times at step 2 without reaching another checkpoint" in done.stderr
    )
    assert done.stderr.count("killed before the step") == 3
    again = train(tokens, tmp_path / "run", *OFTEN, processes=1)  # by hand, without the fault
    assert again[-1]["global_step"] == 8 and not (tmp_path / "run" / STARTS).exists()


def damage(path: Path, how: str) -> None:
    if how == "lost":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        with open(path, "r+b") as stream:
            stream.seek(path.stat().st_size // 2)
            byte = stream.read(1)[0]
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte ^ 4]))


@pytest.fixture(scope="module")
def whole(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process that nothing happens to, with its checkpoints of steps 2, 4, 6 and 8."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(
        tokens,
        run,
        *DROPOUT,
        "--training.checkpoint.every-steps",
        "2",
        "--training.checkpoint.keep-last",
        "9",
        processes=1,
    )
    return run


@pytest.mark.parametrize("how", ["lost", "truncated", "flipped"])
@pytest.mark.fault(
    "a file of the newest checkpoint {how}",
    "named and passed over; the end equals the undisturbed run's bit for bit",
    lost="the steps since the checkpoint before",
)
def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    tokens: Path, whole: Path, tmp_path: Path, how: str
) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(whole), str(run)], check=True)
    (run / "finished.json").unlink()
    files = {
        "lost": "trainer_state.json",
        "truncated": "state-00000-of-00001.safetensors",
        "flipped": "state-00000-of-00001.safetensors",
    }
    damage(complete(run)[-1] / files[how], how)
    done = attempt(tokens, run, *DROPOUT, *OFTEN, processes=1)
    assert (
        done.returncode == 0
        and "step-00000008 is passed over" in done.stderr
        and "resuming from step-00000006" in done.stderr
    ), done.stderr[-2000:]
    assert_same(run, whole)


@pytest.mark.fault("every checkpoint damaged", "refused in one line; nothing is overwritten")
def test_where_no_checkpoint_is_intact_the_run_does_not_begin_anew(
    tokens: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(whole), str(run)], check=True)
    for checkpoint in complete(run):
        damage(checkpoint / "config.json", "truncated")
    done = attempt(tokens, run, *DROPOUT, *OFTEN, processes=1)
    assert (
        done.returncode == 2
        and "none of 4 checkpoint(s) is intact" in done.stderr
        and len(complete(run)) == 4
    )


Stretch = tuple[int, int, str]
"""Ranks, the step after which the stretch ends, and the engine."""


def assert_continuous(tokens: Path, directory: Path, stretches: list[Stretch], batch: int) -> None:
    """A run that changes its ranks and engines on the way has the losses of one that does not."""
    names = ("train/loss", "optim/grad_norm", "optim/learning_rate", "consumed_samples")
    size = ("--training.global-batch-size", str(batch))
    still, run = (
        train(
            tokens,
            directory / "still",
            *size,
            "--training.micro-batch-size",
            str(batch),
            "--training.engine.name",
            "ddp",
            processes=1,
        ),
        directory / "run",
    )
    for processes, last, engine in stretches:
        chosen = (
            ("--training.engine.name", "ddp")
            if engine == "ddp"
            else ("--training.engine.deepspeed-config", engine)
        )
        done = attempt(
            tokens,
            run,
            *size,
            *chosen,
            "--training.micro-batch-size",
            "2",
            processes=processes,
            worker=str(Path(__file__).with_name("faulty_worker.py")),
            variables={"STOP_AFTER": str(last)},
        )
        assert (run / "finished.json").exists() == (last > 8) and column(read_metrics(run), *names)[-1][
            0
        ] == min(last, 8), done.stderr[-3000:]
    for left, right in zip(column(read_metrics(run), *names), column(still, *names), strict=True):
        assert left == pytest.approx(right, rel=1e-5)


@pytest.mark.slow
@pytest.mark.fault(
    "1, 2 and 1 ranks under ZeRO-2, ZeRO-3 and DDP, one after another",
    "losses, norms and learning rates within 1e-5 of one process'",
)
def test_ranks_and_engines_change_on_the_way(tokens: Path, tmp_path: Path) -> None:
    assert_continuous(tokens, tmp_path, [(1, 2, "zero2"), (2, 5, "zero3"), (1, 9, "ddp")], batch=16)


@pytest.mark.slow
@pytest.mark.fault(
    "eight restarts over every engine, on one or two ranks",
    "losses, norms and learning rates within 1e-5 of one process'",
)
def test_every_engine_reads_what_every_other_wrote(tokens: Path, tmp_path: Path) -> None:
    assert_continuous(
        tokens,
        tmp_path,
        [
            (1, 1, "zero3"),
            (1, 2, "zero1"),
            (1, 3, "zero0"),
            (2, 4, "zero2"),
            (1, 5, "zero3"),
            (1, 6, "ddp"),
            (2, 7, "zero1"),
            (1, 9, "zero2"),
        ],
        batch=16,
    )


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.fault(
    "16 ranks become 4, and 16 again",
    "losses, norms and learning rates within 1e-5 of one process'",
)
def test_sixteen_ranks_then_four_then_sixteen(tokens: Path, tmp_path: Path) -> None:
    assert_continuous(tokens, tmp_path, [(16, 3, "zero1"), (4, 6, "zero3"), (16, 9, "zero1")], batch=32)


@pytest.mark.fault(
    "the disk fills up during a save",
    "one line; the last checkpoint stays; with room again the end equals the undisturbed run's bit for bit",
    lost="the steps since the last save",
)
def test_a_disk_that_fills_up_in_the_middle_keeps_the_last_checkpoint(
    tokens: Path, whole: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("no tmpfs here")
    try:
        worker = str(Path(__file__).with_name("crowded_worker.py"))
        options: dict[str, Any] = {"processes": 1, "worker": worker}
        crowded = {"CROWDED_AT": "6"}
        done = attempt(tokens, disk / "run", *DROPOUT, *OFTEN, **options, variables=crowded)
        told = [text for text in done.stderr.splitlines() if text.startswith("biobert-scale:")]
        # Of the checkpoint's part or, where it comes first, of the step's record.
        assert done.returncode == 1 and len(told) == 1, done.stderr[-2000:]
        assert re.search("no space (is )?left", told[0], re.IGNORECASE), told[0]
        assert complete(disk / "run")[-1].name == "step-00000004" and not incomplete(disk / "run")
        (disk / "junk").unlink()
        done = attempt(tokens, disk / "run", *DROPOUT, *OFTEN, **options)
        assert done.returncode == 0 and "resuming from step-00000004" in done.stderr, done.stderr[-2000:]
        assert_same(disk / "run", whole)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
