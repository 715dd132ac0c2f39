"""What counts as a crash loop, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.errors import RunFailed
from biobert_scale.files import read_json
from biobert_scale.training.restarts import REACHED, STARTS, Reached, note_end, note_start


def start(run: Path, *, at: int, steps: int) -> None:
    """A start from a checkpoint of step `at` that is killed after so many more steps."""
    note_start(run, at)
    reached = Reached(run)
    for step in range(at + 1, at + steps + 1):
        reached.at(step)
    reached.close()


def starts(run: Path, monkeypatch: pytest.MonkeyPatch, lives: list[tuple[int, int]]) -> int:
    """How many of the lives were begun."""
    for number, (at, steps) in enumerate(lives):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(number))
        try:
            start(run, at=at, steps=steps)
        except RunFailed as failure:
            assert "ended at the same point" in str(failure) and f"at step {at}" in str(failure)
            with pytest.raises(RunFailed):  # and does not begin where it is restarted all the same
                note_start(run, at)
            return number
    return len(lives)


@pytest.mark.parametrize(
    ("lives", "begun"),
    [
        ([(0, 50), (0, 40), (0, 45), (0, 44), (0, 60)], 5),  # preempted before its first checkpoint
        ([(0, 0), (0, 0), (0, 0), (0, 0)], 2),  # never gets to a step
        ([(0, 7), (0, 7), (0, 7), (0, 7)], 2),  # always fails at step 8
        ([(0, 10), (100, 3), (100, 3), (100, 3), (100, 3)], 3),  # the same, behind a checkpoint
        ([(0, 7), (0, 7), (10, 7), (10, 9), (10, 9), (20, 1)], 6),  # a checkpoint in between
        ([(0, 0), (0, 5), (0, 0), (0, 5), (0, 0)], 5),
        ([(5, 0), (5, 3), (5, 2), (5, 2), (5, 2)], 4),
    ],
)
@pytest.mark.fault(
    "starts that are preempted or die before their first or next checkpoint",
    "only those that end at one point again and again are stopped",
)
def test_only_starts_that_end_at_the_same_point_are_a_crash_loop(
    lives: list[tuple[int, int]], begun: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert starts(tmp_path, monkeypatch, lives) == begun


def test_a_start_by_hand_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert starts(tmp_path, monkeypatch, [(0, 7)] * 4) == 2
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    start(tmp_path, at=0, steps=7)
    note_end(tmp_path)
    assert not (tmp_path / STARTS).exists() and not (tmp_path / REACHED).exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[]", b"3", b""])
@pytest.mark.fault("the note of earlier starts is damaged", "the run resumes")
def test_a_damaged_note_does_not_keep_a_run_from_resuming(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for name in (STARTS, REACHED):
        (tmp_path / name).write_bytes(content)
    start(tmp_path, at=3, steps=1)
    assert read_json(tmp_path / STARTS)["deaths"] == 0
