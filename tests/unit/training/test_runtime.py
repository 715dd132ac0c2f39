"""What the environment says of ranks, and what does not fit together."""

from __future__ import annotations

import os

import pytest

from biobert_scale.environment import is_restart
from biobert_scale.errors import UserError
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
