"""Every check is made to fail by what it is there to find."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biobert_scale.display import text
from biobert_scale.doctor.findings import Finding, guarded, merge, render
from biobert_scale.doctor.machine import (
    check_accelerator,
    check_compiler,
    check_driver,
    check_open_files,
    check_shared_memory,
)
from biobert_scale.doctor.network import check_all_reduce, check_clocks, judge_clocks
from biobert_scale.doctor.ranks import alone
from biobert_scale.doctor.storage import check_storage
from biobert_scale.doctor.tokens import check_tokens
from biobert_scale.doctor.versions import check_versions
from biobert_scale.errors import UserError
from biobert_scale.recipes import load_config
from tests.factories import write_tokens

ROOT = Path(__file__).parents[3]
DEMO = load_config("demo")
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=60)


@pytest.fixture
def copied(tokens: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tokens, tmp_path / "tokens")


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def doctor(*arguments: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in a shell that has done something first."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    command = [
        "bash",
        "-c",
        f'{shell}\nexec "$@"',
        "bash",
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "biobert_scale.cli",
        "doctor",
        *arguments,
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=200,
        env={**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_sick_machine_fails_and_every_trouble_is_told(copied: Path, tmp_path: Path) -> None:
    shard = next((copied / "train").glob("*.arrow"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    done = doctor(
        "--config",
        "demo",
        "--tokens",
        str(copied),
        "--output",
        "/proc/run",
        "--json",
        str(tmp_path / "told.json"),
        "--local_rank=0",
        shell=f"ulimit -n 200; export TORCH_EXTENSIONS_DIR={shard}/below",
    )
    assert done.returncode == 1, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    found = {finding["check"]: finding for finding in told["findings"]}
    assert told["failed"] and told["world_size"] == 1
    for name, status, says in (
        ("open files", "FAIL", "200 at most"),
        ("tokens", "FAIL", shard.name),
        ("checkpoint directory", "FAIL", "cannot be written"),
        ("extensions directory", "WARN", "cannot be written"),
        ("version of python", "OK", ""),
        ("ranks", "OK", "one process alone"),
    ):
        assert found[name]["status"] == status and says in found[name]["text"], found[name]
        assert (found[name]["remedy"] == "") == (status == "OK"), "each trouble has its remedy"
    lines = done.stdout.splitlines()
    assert lines[0] == "demo on 1 rank(s), 1 node(s), cpu" or torch.cuda.is_available()
    for finding in told["findings"]:
        assert any(
            line.startswith(f"{finding['status']:<4}  {finding['check']} ") and line.endswith(finding["text"])
            for line in lines
        ), finding
    counted = [
        sum(finding["status"] == status for finding in told["findings"]) for status in ("OK", "WARN", "FAIL")
    ]
    assert lines[-1] == "{} OK, {} WARN, {} FAIL".format(*counted)


def test_a_sound_machine_passes_and_nothing_is_left_behind(tokens: Path, tmp_path: Path) -> None:
    done = doctor("--config", "demo", "--tokens", str(tokens), "--output", str(tmp_path / "not" / "yet"))
    assert done.returncode == 0 and ", 0 FAIL" in done.stdout, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_libraries_here_are_the_tested_ones_or_told() -> None:
    for finding in check_versions():
        assert finding.status in ("OK", "WARN") and finding.same, finding


def test_versions_outside_the_ranges_fail_and_other_pins_warn(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.99"\ndependencies = ["torch<2", "accelerate>=1",'
        ' "transformers>=5"]\n'
    )
    (tmp_path / "constraints.txt").write_text(
        "accelerate==0.1.0\ntransformers==" + __import__("transformers").__version__ + "\n"
    )
    found = statuses(check_versions(tmp_path))
    assert found == {
        "version of python": "FAIL",
        "version of torch": "FAIL",
        "version of deepspeed": "OK",
        "version of accelerate": "WARN",
        "version of transformers": "OK",
    }


def test_a_library_that_is_not_there_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biobert_scale.doctor import versions

    monkeypatch.setattr(versions, "LIBRARIES", ("no-such-library",))
    assert statuses(check_versions())["version of no-such-library"] == "FAIL"


@on_cpu
def test_a_driver_without_a_gpu_in_sight_fails(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1\n")
    assert check_accelerator(alone(), "bf16", tmp_path / "version")[0].status == "FAIL"
    assert check_accelerator(alone(), "bf16", tmp_path / "none")[0].status == "OK"
    assert check_driver(alone())[0].status == "OK"


@on_cpu
def test_a_precision_that_the_device_cannot_do_fails() -> None:
    found = guarded("accelerator", lambda: check_accelerator(alone(), "fp16"))
    assert found[0].status == "FAIL" and "bf16" in found[0].remedy


def test_no_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check_compiler(alone())
    assert (
        statuses(found) == {"DeepSpeed operations": "WARN", "extensions directory": "OK"}
        and "no g++, ninja" in found[0].text
    )
    assert list((tmp_path / "extensions").iterdir()) == []


def test_too_little_shared_memory_is_told(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path / "none")[0].status == "FAIL"
    code = (
        "import pathlib, sys; from biobert_scale.doctor.machine import check_shared_memory as c;"
        " print(c(pathlib.Path(sys.argv[1]))[0].status)"
    )
    inside = (
        f'mount -t tmpfs -o size=8m none {tmp_path} && exec {sys.executable} -W ignore -c "{code}" {tmp_path}'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", inside],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    assert done.stdout.split() == ["WARN"], done.stderr


def test_more_ranks_need_more_open_files() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert check_open_files(soft)[0].status == "FAIL"
    assert check_open_files((soft // 4 - 256) // 8 + 32)[0].status == "WARN" or soft < 1024


def test_a_batch_that_does_not_divide_fails() -> None:
    from biobert_scale.doctor.examine import _batch

    assert _batch(DEMO, 4)[0].status == "OK"
    assert guarded("batch", lambda: _batch(DEMO, 3))[0].status == "FAIL"


def test_sound_tokens_are_told_by_their_fingerprint(tokens: Path) -> None:
    (found,) = check_tokens(alone(), tokens)
    assert found.status == "OK" and found.same is not None and found.text.startswith(found.same[:16])
    assert found.figures["files_compared"] == found.figures["files"] > 4
    assert check_tokens(alone(), tokens, bytes_a_rank=0)[0].figures["files_compared"] == 0


@pytest.mark.fault("a token shard changed before a run", "`doctor` fails")
def test_tampered_tokens_fail(copied: Path) -> None:
    shard = next((copied / "validation").glob("*.arrow"))
    whole = shard.read_bytes()
    for content in (
        whole[:-20],
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :],
    ):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=shard.name):
            check_tokens(alone(), copied)
    shard.write_bytes(whole)
    (copied / "tokenizer" / "vocab.txt").unlink(missing_ok=True)
    (copied / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="missing"):
        check_tokens(alone(), copied)


def test_shards_are_looked_at_also_where_no_checksum_is(copied: Path) -> None:
    shard = next((copied / "train").glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(UserError, match="cut off"):
        check_tokens(alone(), copied, bytes_a_rank=0)


def test_a_disk_too_small_or_too_slow_is_told(tmp_path: Path) -> None:
    sound = check_storage(alone(), tmp_path / "run", DEMO, checkpoint_bytes=1000)
    assert set(statuses(sound).values()) == {"OK"} and sound[0].figures["bytes_per_second"] > 0
    found = statuses(check_storage(alone(), tmp_path / "run", DEMO, checkpoint_bytes=10**18))
    assert found["checkpoint directory"] == "WARN" and found["checkpoint space"] == "FAIL"
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_are_there_need_no_new_room(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    kept = DEMO.training.checkpoint.keep_last + DEMO.training.checkpoint.keep_best
    size = int(free / (kept + 0.5))  # room for those kept, and not for one more
    assert (
        statuses(check_storage(alone(), tmp_path / "run", DEMO, checkpoint_bytes=size))["checkpoint space"]
        == "FAIL"
    )
    (tmp_path / "run" / "checkpoints" / "step-00000200").mkdir(parents=True)
    with open(tmp_path / "run" / "checkpoints" / "step-00000200" / "state", "wb") as stream:
        stream.truncate(size)  # takes no room itself
    assert (
        statuses(check_storage(alone(), tmp_path / "run", DEMO, checkpoint_bytes=size))["checkpoint space"]
        == "OK"
    )


def test_one_process_says_so() -> None:
    for (finding,) in (check_all_reduce(alone(), minimum_gbs=5.0, step_bytes=0), check_clocks(alone())):
        assert finding.status == "OK" and "alone" in finding.text


@pytest.mark.parametrize(("ahead", "status"), [(0.002, "OK"), (2.0, "WARN"), (-100.0, "FAIL")])
def test_clocks_apart_are_told_by_rank(ahead: float, status: str) -> None:
    found = judge_clocks([0.0, 0.001, ahead])
    assert found.status == status and ("rank 2" in found.text) == (status != "OK")


def test_the_worst_rank_speaks_for_all() -> None:
    well, sick = (
        Finding("disk", "OK", "fine"),
        Finding("disk", "FAIL", "full", "clear it"),
    )
    (merged,) = merge([[well], [sick], [sick]], ["a", "b", "c"])
    assert (merged.status, merged.text, merged.remedy) == (
        "FAIL",
        "full (rank 1 on b and 1 more)",
        "clear it",
    )
    assert merge([[well], [well]], ["a", "b"]) == [well]


def test_what_differs_between_ranks_fails_though_each_is_well() -> None:
    one = Finding("tokens", "OK", "x", same="x")
    (merged,) = merge([[one], [one], [replace(one, text="y", same="y")]], ["a", "b", "c"])
    assert merged.status == "FAIL" and "x on rank 0 (a), y on rank 2 (c)" in merged.text and merged.remedy


def test_a_remedy_stands_below_its_line() -> None:
    lines = text(render([Finding("disk", "WARN", "slow", "wait")], "here")).splitlines()
    assert lines == ["here", "WARN  disk  slow", "            -> wait", "0 OK, 1 WARN, 0 FAIL"]
