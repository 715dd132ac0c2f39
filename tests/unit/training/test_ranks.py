"""What the environment says of ranks, and what does not fit together."""

from __future__ import annotations

import os

import pytest

from biobert_scale.environment import is_restart
from biobert_scale.errors import UserError
from biobert_scale.training.ranks import rank_environment, read_rank_info

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
def test_ranks_that_are_described_by_half_are_refused(changes: dict[str, str | None], words: str) -> None:
    kept = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    with pytest.raises(UserError) as caught:
        read_rank_info(kept)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, {"RANK": "", "WORLD_SIZE": ""}])
def test_a_process_by_itself_is_a_world_of_one(environment: dict[str, str]) -> None:
    info = read_rank_info(environment)
    assert (info.rank, info.local_rank, info.world_size) == (0, 0, 1) and info.port == "0"


def test_whole_descriptions_are_taken() -> None:
    assert read_rank_info(WHOLE).variables == WHOLE


def test_the_environment_is_as_it_was_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*WHOLE, "ACCELERATE_MIXED_PRECISION"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    before = dict(os.environ)
    with pytest.raises(RuntimeError), rank_environment() as info:
        assert os.environ["WORLD_SIZE"] == "1" == str(info.world_size)
        assert "ACCELERATE_DYNAMO_BACKEND" not in os.environ
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"  # what a library leaves
        raise RuntimeError
    assert dict(os.environ) == before


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
def test_ranks_are_read_from_the_launcher(names: dict[str, str], expected: tuple[str, ...]) -> None:
    found = read_rank_info(names).variables
    assert tuple(found[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")) == expected[:3]
    assert not expected[3] or found["MASTER_PORT"] == expected[3]


def test_ranks_that_do_not_know_where_to_meet_are_refused() -> None:
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        read_rank_info({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"})
