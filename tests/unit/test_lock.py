from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from biobert_scale import holder as holders
from biobert_scale import lock as locks
from biobert_scale.errors import UserError
from biobert_scale.holder import Holder, is_at_work, this_process
from biobert_scale.lock import LAPSE_SECONDS, LOCK, Lock

HERE = this_process("train")
GONE = replace(HERE, started="1", token="gone")
"""A process of this number that started at another time."""
ELSEWHERE = replace(HERE, host="node7", namespace="pid:[1]", token="elsewhere")
"""The same number on another node, in another namespace of the same kernel."""


def leave(directory: Path, holder: Holder, *, silent_seconds: float = 0.0) -> None:
    """A lock as a holder has left it, so many seconds after its last sign of life."""
    directory.mkdir(exist_ok=True)
    (directory / LOCK).write_text(json.dumps(asdict(holder)))
    last = (directory / LOCK).stat().st_mtime - silent_seconds
    os.utime(directory / LOCK, (last, last))


def held_by(directory: Path) -> dict[str, Any]:
    return json.loads((directory / LOCK).read_text())


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    with Lock(tmp_path / "run", "train"):
        assert held_by(tmp_path / "run")["pid"] == os.getpid()
        assert os.listdir(tmp_path / "run") == [LOCK]
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.fault("an error while the lock is held", "given up")
def test_an_error_inside_gives_the_lock_up(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lock(tmp_path, "train"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with (
        Lock(tmp_path, "train"),
        pytest.raises(UserError, match=f"'train' is at work here: process {os.getpid()} on "),
        Lock(tmp_path, "export"),
    ):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("holder", "silent_seconds"), [(GONE, 0), (ELSEWHERE, LAPSE_SECONDS + 1), (ELSEWHERE, 10**6)]
)
@pytest.mark.fault("a lock whose holder died, here or out of sight for minutes", "taken over")
def test_a_holder_that_is_gone_is_replaced(tmp_path: Path, holder: Holder, silent_seconds: float) -> None:
    leave(tmp_path, holder, silent_seconds=silent_seconds)
    with Lock(tmp_path, "train") as lock:
        assert held_by(tmp_path)["token"] == lock.me.token
    assert os.listdir(tmp_path) == []


@pytest.mark.fault("a lock whose holder on another host gives signs of life", "refused")
def test_a_holder_out_of_sight_that_moves_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path, ELSEWHERE, silent_seconds=5)
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.utime(tmp_path / LOCK))
    with pytest.raises(UserError, match=r"'train' is at work here: process .* on node7"), Lock(tmp_path, "x"):
        pass
    assert held_by(tmp_path)["token"] == "elsewhere" and os.listdir(tmp_path) == [LOCK]


@pytest.mark.fault(
    "a holder on another host falls silent, clocks differ",
    "taken over, by the file server's clock",
)
def test_a_holder_out_of_sight_that_falls_silent_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock of a host counts: the record of the one that looks moves on the server."""
    leave(tmp_path, ELSEWHERE)
    silent = (tmp_path / LOCK).stat().st_mtime
    monkeypatch.setattr(
        locks.time, "sleep", lambda _: os.utime(tmp_path / LOCK, (silent, silent - LAPSE_SECONDS))
    )
    with Lock(tmp_path, "train") as lock:
        assert held_by(tmp_path)["token"] == lock.me.token


@pytest.mark.fault("an empty lock file", "taken over after the time for signs of life")
def test_a_record_that_nobody_can_read_is_waited_out(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("")
    os.utime(tmp_path / LOCK, (1, 1))
    with Lock(tmp_path, "train") as lock:
        assert held_by(tmp_path)["token"] == lock.me.token


@pytest.mark.fault("a rival died while it took the lock over", "taken over")
def test_a_rival_that_died_while_it_took_over_bars_nobody(tmp_path: Path) -> None:
    leave(tmp_path, GONE)
    rival = replace(GONE, token="rival")
    (tmp_path / f"{LOCK}-after-gone").write_text(json.dumps(asdict(rival)))
    os.utime(tmp_path / f"{LOCK}-after-gone", (1, 1))
    with Lock(tmp_path, "train") as lock:
        assert held_by(tmp_path)["token"] == lock.me.token
        assert os.listdir(tmp_path) == [LOCK]


@pytest.mark.fault("a slow rival meets a lock that was taken over meanwhile", "does not replace it")
def test_a_rival_that_was_slow_does_not_replace_the_one_that_was_quicker(tmp_path: Path) -> None:
    """It looked the dead holder up, and another took over and removed its traces before it went on."""
    slow = Lock(tmp_path, "slow")
    slow._record.write_text(slow._text)
    leave(tmp_path, ELSEWHERE)
    assert not slow._succeed(GONE, GONE)
    assert held_by(tmp_path)["token"] == "elsewhere" and not list(tmp_path.glob(f"{LOCK}-after-*"))


@pytest.mark.fault("four processes at once after a dead holder", "they enter one after another")
def test_many_rivals_of_a_dead_holder_enter_one_after_another(tmp_path: Path) -> None:
    leave(tmp_path, GONE)
    code = (
        "import sys; from pathlib import Path; from biobert_scale.lock import Lock\n"
        "for _ in range(5):\n"
        "    with Lock(Path(sys.argv[1]), 'rival', wait=True):\n"
        "        inside = Path(sys.argv[1]) / 'inside'\n"
        "        inside.touch(exist_ok=False)\n"
        "        inside.unlink()\n"
    )
    rivals = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [rival.communicate(timeout=120)[1] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0] * 4, said
    assert os.listdir(tmp_path) == []


@pytest.mark.fault("a file system without hard links", "the lock holds all the same")
def test_a_file_system_without_hard_links_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(locks.os, "link", link)
    leave(tmp_path, GONE)
    with Lock(tmp_path, "train"), pytest.raises(UserError, match="at work here"), Lock(tmp_path, "train"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.fault(
    "a holder that stood still was replaced and wakes up",
    "ends itself with one line before it writes",
)
def test_a_holder_that_was_replaced_ends_at_its_next_sign_of_life(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from biobert_scale.lock import Lock\n"
        "with Lock(Path(sys.argv[1]), 'train') as lock:\n"
        "    print('held', flush=True); sys.stdin.readline(); lock.beat(); print('still here')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        leave(tmp_path, ELSEWHERE)
        out, complaint = process.communicate("\n")
    assert process.returncode == 1 and out == ""
    assert complaint.startswith("biobert-scale: another process has taken over") and "node7" in complaint
    assert held_by(tmp_path)["token"] == "elsewhere"


@pytest.mark.fault("the lock file is removed by hand while it is held", "written again")
def test_a_lock_that_was_removed_by_hand_comes_back(tmp_path: Path) -> None:
    with Lock(tmp_path, "train") as lock:
        (tmp_path / LOCK).unlink()
        lock.beat()
        assert held_by(tmp_path)["token"] == lock.me.token and os.listdir(tmp_path) == [LOCK]


def test_no_thread_stays_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with Lock(tmp_path, "train"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


JOB = replace(ELSEWHERE, job="42", cluster="made-up")


def scontrol(
    shown: str, *, complaint: str = "", cluster: str = "made-up"
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def answer(*arguments: str) -> subprocess.CompletedProcess[str]:
        if arguments == ("show", "config"):
            text = f"CheckpointType = none\nClusterName             = {cluster}\n"
            return subprocess.CompletedProcess(arguments, 0, text, "")
        assert arguments == ("--oneliner", "show", "job", "42")
        return subprocess.CompletedProcess(arguments, int(bool(complaint)), shown, complaint)

    return answer


RUNNING = "JobId=42 JobName=t Requeue=1 Restarts=0 BatchFlag=1 JobState=RUNNING Reason=None\n"


@pytest.mark.parametrize(
    ("shown", "complaint", "cluster", "at_work"),
    [
        (RUNNING, "", "made-up", None),  # the job is not the process
        (RUNNING.replace("RUNNING", "COMPLETING"), "", "made-up", None),
        (RUNNING.replace("RUNNING", "SUSPENDED"), "", "made-up", True),
        (RUNNING.replace("Restarts=0", "Restarts=1"), "", "made-up", False),
        (RUNNING.replace("RUNNING", "PENDING"), "", "made-up", False),
        (RUNNING.replace("RUNNING", "COMPLETED"), "", "made-up", False),
        (RUNNING.replace("RUNNING", "NODE_FAIL"), "", "made-up", False),
        (RUNNING.replace("42", "41") + RUNNING.replace("RUNNING", "TIMEOUT"), "", "made-up", False),
        ("", "slurm_load_jobs error: Invalid job id specified\n", "made-up", False),
        ("", "slurm_load_jobs error: Unable to contact slurm controller\n", "made-up", None),
        ("", "slurm_load_jobs error: Invalid job id specified\n", "another", None),
        (RUNNING.replace("RUNNING", "COMPLETED"), "", "another", None),
        ("slurm speaks otherwise now\n", "", "made-up", None),
    ],
)
@pytest.mark.fault(
    "SLURM says of the holder's job: requeued, over, unknown, or nothing",
    "taken over only where it proves the end",
)
def test_slurm_is_asked_about_a_job_of_its_own_cluster(
    monkeypatch: pytest.MonkeyPatch, shown: str, complaint: str, cluster: str, at_work: bool | None
) -> None:
    monkeypatch.setattr(holders, "_scontrol", scontrol(shown, complaint=complaint, cluster=cluster))
    assert is_at_work(JOB) is at_work


@pytest.mark.fault("no SLURM commands where the holder's job is looked up", "its signs of life decide")
def test_without_slurms_commands_a_job_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert is_at_work(JOB) is None


SLURM = {"SLURM_JOB_ID": "42", "SLURM_CLUSTER_NAME": "made-up"}
ELASTIC = replace(ELSEWHERE, elastic_run="7f")


@pytest.mark.parametrize(
    ("holder", "environment", "at_work"),
    [
        (JOB, {**SLURM, "SLURM_RESTART_COUNT": "1"}, False),  # this job's start before
        (JOB, {**SLURM, "SLURM_RESTART_COUNT": "1", "SLURM_JOB_ID": "43"}, None),
        (JOB, {**SLURM, "SLURM_RESTART_COUNT": "1", "SLURM_CLUSTER_NAME": "another"}, None),
        (JOB, SLURM, None),  # another step of the same start
        (replace(JOB, requeues=2), {**SLURM, "SLURM_RESTART_COUNT": "1"}, None),
        (ELASTIC, {"TORCHELASTIC_RUN_ID": "7f", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        (ELASTIC, {"TORCHELASTIC_RUN_ID": "7f", "TORCHELASTIC_RESTART_COUNT": "0"}, None),
        (ELASTIC, {"TORCHELASTIC_RUN_ID": "80", "TORCHELASTIC_RESTART_COUNT": "1"}, None),
        (ELSEWHERE, {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}, None),
        (ELSEWHERE, {"SLURM_RESTART_COUNT": "1"}, None),
    ],
)
@pytest.mark.fault(
    "the earlier start of the same job or elastic run left its lock",
    "taken over; other jobs' are not",
)
def test_a_later_start_of_the_same_launch_replaces_the_earlier_one(
    monkeypatch: pytest.MonkeyPatch, holder: Holder, environment: dict[str, str], at_work: bool | None
) -> None:
    monkeypatch.setattr(holders, "_scontrol", lambda *_: None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_at_work(holder) is at_work


@pytest.mark.parametrize(
    ("holder", "at_work"),
    [
        (HERE, True),
        (GONE, False),
        (replace(HERE, pid=2**22 + 1), False),
        (replace(HERE, host="node7"), None),
        (replace(HERE, boot="another"), None),
        (replace(HERE, namespace="pid:[1]"), None),
    ],
)
@pytest.mark.fault(
    "the holder's number belongs to a process of another host, boot or namespace",
    "proves nothing",
)
def test_a_number_of_a_process_proves_nothing_elsewhere(holder: Holder, at_work: bool | None) -> None:
    assert is_at_work(holder) is at_work


@pytest.mark.fault("the holder is dead and its parent has not waited for it", "taken over")
def test_a_dead_process_that_nobody_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(HERE, pid=process.pid, started=holders.started_at(process.pid))
    assert is_at_work(holder) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_at_work(holder) is False
    process.communicate()
