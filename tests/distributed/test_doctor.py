"""The doctor on two real ranks, under torchrun and accelerate launch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json
from tests.factories import write_tokens
from tests.launching import ROOT, environment, free_port

pytestmark = pytest.mark.slow  # five launches

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
ACCELERATE = [
    "-m",
    "accelerate.commands.launch",
    "--use_deepspeed",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
    "--main_process_port",
]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=60)


def start(launcher: list[str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *launcher, str(free_port()), *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )


def findings(path: Path) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in read_json(path)["findings"]}


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_sound_ranks(launcher: list[str], tokens: Path, tmp_path: Path) -> None:
    done = start(
        launcher,
        "-m",
        "biobert_scale.doctor",
        "--config",
        "demo",
        "--tokens",
        str(tokens),
        "--output",
        str(tmp_path / "run"),
        "--json",
        str(tmp_path / "told.json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("demo on 2 rank(s), 1 node(s)") == 1, "one rank tells"
    found = findings(tmp_path / "told.json")
    assert "FAIL" not in {finding["status"] for finding in found.values()}
    assert (
        found["all-reduce"]["figures"]["bus_bandwidth"] > 0
        and found["all-reduce"]["figures"]["step_bytes"] > 0
    )
    assert len(found["clocks"]["figures"]["offsets_seconds"]) == 2 and found["clocks"]["status"] == "OK"
    assert (
        found["batch"]["text"].startswith("2 x 32 x 2 = 128")
        and "all 2 ranks read" in found["checkpoint directory on all ranks"]["text"]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


@pytest.mark.fault(
    "one rank of two has other libraries, tokens and limits",
    "`doctor` fails and names the rank",
)
def test_what_is_wrong_with_one_rank_is_told_with_its_name(tokens: Path, tmp_path: Path) -> None:
    other = write_tokens(tmp_path / "other", documents=70)
    output = tmp_path / "checkpoints"
    output.mkdir()
    troubles = ["clock", "files", f"tokens={other}", *([f"mount={output}"] if os.geteuid() == 0 else [])]
    worker = str(ROOT / "tests" / "distributed" / "ailing_doctor.py")
    done = start(
        TORCHRUN,
        worker,
        ",".join(troubles),
        "--config",
        "demo",
        "--tokens",
        str(tokens),
        "--output",
        str(output),
        "--minimum-bandwidth-gbs",
        "1000000",
        "--json",
        str(tmp_path / "told.json"),
    )
    assert done.returncode == 1, done.stdout + done.stderr[-3000:]
    found = findings(tmp_path / "told.json")
    failed = {name for name, finding in found.items() if finding["status"] == "FAIL"}
    assert failed == {
        "clocks",
        "open files",
        "tokens",
        "all-reduce",
        *(["checkpoint directory on all ranks"] if os.geteuid() == 0 else []),
    }
    assert all(found[name]["remedy"] for name in failed)
    assert (
        "rank 1 is +120" in found["clocks"]["text"]
        and "rank 1 on" in found["open files"]["text"]
        and "on rank 1" in found["tokens"]["text"]
    )
    assert list(output.iterdir()) == []


@pytest.mark.fault("a rank never joins", "`doctor` says so within its time")
def test_a_rank_that_never_comes_is_told_within_the_time(tmp_path: Path) -> None:
    """One of two ranks is started."""
    waiting = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    command = [
        sys.executable,
        "-m",
        "biobert_scale.doctor",
        "--config",
        "demo",
        "--timeout-seconds",
        "2",
        "--json",
        str(tmp_path / "told.json"),
    ]
    done = subprocess.run(
        command, env={**environment(), **waiting}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1, done.stderr[-3000:]
    found = findings(tmp_path / "told.json")
    assert (
        found["ranks"]["status"] == "FAIL" and "do not find each other within 2 s" in found["ranks"]["text"]
    )
    assert found["version of torch"]["status"] in (
        "OK",
        "WARN",
    ), "what one rank can find, it finds all the same"
