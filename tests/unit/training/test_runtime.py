"""The ranks' group: what is refused before they meet, and rank 0's word to the others."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.recipes import load_config
from biobert_scale.training import runtime
from biobert_scale.training.ranks import read_rank_info


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    config = load_config("demo")
    with pytest.raises(UserError, match="no tracker 'aim'"):
        runtime.start(
            read_rank_info({}),
            replace(
                config,
                training=replace(
                    config.training,
                    trackers=("aim",),
                    precision=replace(config.training.precision, dtype="fp32"),
                ),
            ),
        )


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyboardInterrupt(), SystemExit(3), OSError(28, "full")]
)
@pytest.mark.fault("whatever goes wrong on rank 0 while the others wait", "the others end with its words")
def test_an_error_of_the_first_rank_reaches_the_others(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def broadcast(outcome: list[Any]) -> list[Any]:
        sent.extend(outcome)
        return outcome

    def fail() -> None:
        raise error

    monkeypatch.setattr(runtime, "broadcast_object_list", broadcast)
    first: Any = SimpleNamespace(is_main_process=True)
    with pytest.raises((type(error), UserError)):
        runtime.on_first_rank(first, fail)
    monkeypatch.setattr(runtime, "broadcast_object_list", lambda outcome: list(sent))
    other: Any = SimpleNamespace(is_main_process=False)
    with pytest.raises((RunFailed, UserError)):
        runtime.on_first_rank(other, lambda: pytest.fail("only rank 0 calls it"))


def test_what_cannot_be_sent_is_an_error_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(runtime, "broadcast_object_list", lambda outcome: sent.extend(outcome) or outcome)  # type: ignore[func-returns-value]
    first: Any = SimpleNamespace(is_main_process=True)
    with pytest.raises(Exception, match="pickle"):
        runtime.on_first_rank(first, lambda: lambda: None)
    well, seen = sent[0]
    assert not well and isinstance(seen, RunFailed)
