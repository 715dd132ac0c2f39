"""What the environment says of ranks, and what does not fit together."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from biobert_scale.environment import is_restart
from biobert_scale.errors import UserError
from biobert_scale.recipes import load_config
from biobert_scale.training import runtime

WHOLE = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({name: None}, f"{name} is not set") for name in WHOLE),
        ({name: None for name in WHOLE if name != "RANK"}, "LOCAL_RANK, WORLD_SIZE, MASTER_ADDR"),
        ({name: None for name in WHOLE if name != "WORLD_SIZE"}, "RANK, LOCAL_RANK, MASTER_ADDR"),
        ({"RANK": "2"}, "do not fit together"),
        ({"LOCAL_RANK": "2"}, "do not fit together"),
        ({"WORLD_SIZE": "0"}, "do not fit together"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is two"),
        ({"RANK": "-1"}, "RANK is -1"),
        ({"RANK": ""}, "RANK is not set"),
    ],
)
@pytest.mark.fault(
    "`RANK` alone, or other half descriptions of ranks",
    "one line with the variable that is missing or wrong",
)
def test_ranks_that_are_described_by_half_are_refused(
    changes: dict[str, str | None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    monkeypatch.setattr(os, "environ", kept)
    with pytest.raises(UserError) as caught:
        runtime.describe_ranks()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, {"RANK": "", "WORLD_SIZE": ""}])
def test_a_process_by_itself_is_a_world_of_one_again_and_again(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    assert runtime.describe_ranks() == 1 and runtime.describe_ranks() == 1


def test_whole_descriptions_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(WHOLE))
    assert runtime.describe_ranks() == 2


@pytest.mark.parametrize(("count", "restart"), [("", False), ("0", False), ("2", True), ("many", False)])
def test_a_restart_is_counted_by_numbers(count: str, restart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
    assert is_restart() == restart


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "MASTER_ADDR": "n1"},
            ("3", "1", "4", "29500"),
        ),
        (
            {
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_RANK": "0",
                "MASTER_ADDR": "n1",
                "MASTER_PORT": "7",
            },
            ("1", "0", "2", "7"),
        ),
        (
            {"SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "MASTER_ADDR": "n1"},
            ("0", "0", "1", ""),
        ),  # in a batch script, outside srun
    ],
)
def test_ranks_are_read_from_the_launcher(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "environ", dict(names))
    assert runtime.describe_ranks() == int(expected[2])
    assert tuple(os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")) == expected[:3]
    assert not expected[3] or os.environ["MASTER_PORT"] == expected[3]


def test_ranks_that_do_not_know_where_to_meet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os, "environ", {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    )
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        runtime.describe_ranks()


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    config = load_config("demo")
    with pytest.raises(UserError, match="no tracker 'aim'"):
        runtime.start(
            replace(
                config,
                training=replace(
                    config.training,
                    trackers=("aim",),
                    precision=replace(config.training.precision, dtype="fp32"),
                ),
            ),
            run="unused",
        )
