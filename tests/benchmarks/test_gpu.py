"""The GPU suite on a CPU, with its tiny model: every part runs, and the table says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.mission import mission
from benchmarks.gpu.page import suite_page
from benchmarks.gpu.parity import compare_dropout, judge
from benchmarks.gpu.suite import PARTS, run_suite
from biobert_scale.errors import UserError
from biobert_scale.modeling import attention
from biobert_scale.modeling.attention import Backend
from tests.factories import write_prepared, write_tokens

ROOT = Path(__file__).parents[2]
EMPTY: Any = {
    "gpu": "a card",
    "date": "2026-11-23",
    "tiny": True,
    "versions": {"torch": "2.11"},
    "machine": {"cpu": "CPU", "cores": 2, "system": "Linux"},
    "command": "run.sh",
    "commit": "abc",
    "parts": {},
    "failed": {},
    "cut_short": {},
    "left_out": {},
}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_part_runs_from_the_script(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [ROOT / "benchmarks/gpu/run.sh", "out", "--tiny"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    (path,) = (tmp_path / "out").glob("gpu-*.json")
    result = json.loads(path.read_text())
    assert (
        not result["left_out"]
        and not result["cut_short"]
        and not result["failed"]
        and set(result["parts"]) == {name for name, *_ in PARTS}
    )
    assert result["parts"]["parity"]["troubles"] == [] and all(
        "seconds" in row for row in result["parts"]["sweep"]["rows"]
    )
    for name in ("trainer_fp16", "trainer_bf16"):
        assert result["parts"][name]["checkpoint_write_seconds"] and result["parts"][name]["losses"]
    assert path.with_suffix(".md").read_text() in done.stdout + "\n" and "hours" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_mission_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, prepared = write_tokens(tmp_path / "made"), write_prepared(tmp_path / "prepared")
    mission(
        tokens=tokens,
        prepared=prepared,
        output=tmp_path / "results",
        scratch=tmp_path / "scratch",
        steps=40,
        epochs=1,
        tiny=True,
    )
    (path,) = (tmp_path / "results").glob("mission-*.json")
    result = json.loads(path.read_text())
    assert set(result["losses"]) == set(map(str, range(1, 41)))
    assert result["killed_at"] > 20 and result["resumed_at"] >= 20
    assert list(result["seconds"]) == ["until it was killed", "the rest, resumed", "export", "fine-tuning"]
    assert "| 40 |" in path.with_suffix(".md").read_text() and "killed (SIGKILL)" in capsys.readouterr().out


def test_what_failed_or_found_no_time_is_named() -> None:
    page = suite_page(
        EMPTY
        | {
            "left_out": {"ablation": "no time was left"},
            "failed": {"peers": "Traceback\nRuntimeError: no kernel"},
            "cut_short": {"sweep": "cut short after 9 s"},
        }
    )
    assert (
        "- ablation: no time was left" in page
        and "- peers: RuntimeError: no kernel" in page
        and "- sweep: cut short after 9 s" in page
    )
    assert "torch 2.11; commit abc" in page


def test_a_sweep_is_shown_as_far_as_it_came() -> None:
    row = {"dtype": "bf16", "lengths": "full", "engine": "zero1", "compiled": True, "micro_batch_size": 32}
    measured = row | {
        "seconds": [0.5, 0.4, 0.6],
        "memory_bytes": 9e9,
        "sequences": 256,
        "tokens": 131072,
        "flops": 2.5e14,
    }
    other = measured | {"dtype": "fp16"}  # whose products found no time
    parts = {
        "products": {"device": "GPU", "flops_per_second": {"bf16": 1e15}},
        "sweep": {"rows": [measured, row | {"failed": "out of memory"}, other]},
    }
    page = suite_page(EMPTY | {"parts": parts})
    assert (
        "| full, bf16 | zero1, compiled | 32 | 512.0 (426.7 to 640.0) | 262,144 | 500.0 | 50% | 9.0 | 20.8 |"
        in page
        and "| 32 | out of memory |" in page
    )


def test_parts_alone_join_no_results_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / f"gpu-{date.today().isoformat()}.json"
    path.write_text(json.dumps(EMPTY | {"tiny": False}))
    with pytest.raises(UserError, match="another tiny and machine and gpu and versions and commit"):
        run_suite(tmp_path, seconds=60, tiny=True, only=("products",))
    assert json.loads(path.read_text())["commit"] == "abc"


def test_a_suite_without_parity_is_not_well(tmp_path: Path) -> None:
    page, well = run_suite(tmp_path, seconds=60, tiny=True, only=("parity",), begun=time.time() - 100)
    assert not well and "- parity: no time was left" in page
    assert "`python -m benchmarks gpu --output DIR --seconds 60 --tiny --only parity`" in page
    (written,) = tmp_path.glob("gpu-*.md")
    assert written.read_text() == page


@pytest.mark.parametrize("backend", ["auto", "sdpa"])
def test_attention_drops_what_it_says_and_knows_it_backwards(backend: Backend) -> None:
    device, dtype = (
        (torch.device("cuda"), torch.bfloat16)
        if torch.cuda.is_available()
        else (torch.device("cpu"), torch.float32)
    )
    found = compare_dropout(device, dtype, backend=backend)
    assert abs(found["dropped"] - 0.1) < 5 * found["standard_error"] < 0.01
    assert max(found["values"], found["gradient"]) < (1e-5 if dtype == torch.float32 else 0.02)


def test_a_fault_in_dropout_is_out_of_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    fine: Any = {"errors": {}, "leak": 0.0}
    cpu = torch.device("cpu")
    assert judge(fine | {"dropout": {"x": compare_dropout(cpu, torch.float32)}}) == []
    right = attention.attention_with_dropout
    monkeypatch.setattr(
        attention,
        "attention_with_dropout",
        lambda *states, dropout, **rest: right(*states, dropout=2 * dropout, **rest),
    )
    assert any(
        "dropped of 0.1" in trouble
        for trouble in judge(fine | {"dropout": {"x": compare_dropout(cpu, torch.float32)}})
    )


def test_bounds_follow_from_the_plain_way_in_the_same_type() -> None:
    plain = {"loss": 1e-3, "gradient": 1e-2}
    parity: Any = {
        "errors": {
            "bf16, plain": plain,
            "bf16, as shipped": {"loss": 3e-3, "gradient": 1.6e-2},
            "fp32": {"loss": 1e-6, "gradient": 1e-5},
        },
        "leak": 0.0,
        "dropout": {},
    }
    assert judge(parity) == []
    parity["errors"] |= {
        "bf16, compiled": {"loss": 1e-3, "gradient": 0.5},
        "fp32": {"loss": 1e-2, "gradient": float("nan")},
    }
    assert [trouble.split(":")[0] for trouble in judge(parity | {"leak": 1e-3})] == [
        "fp32",
        "fp32",
        "bf16, compiled",
        "a changed neighbour changes a sequence's loss by 1.0e-03",
    ]
