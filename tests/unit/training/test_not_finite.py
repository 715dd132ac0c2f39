"""A run that has diverged: its figures, its guards, and its checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from biobert_scale.config import GuardsConfig, PrecisionConfig
from biobert_scale.errors import RunFailed
from biobert_scale.training.checkpoint.tensor_files import tensor_name, write_shard
from biobert_scale.training.checkpoint.writer import ShardWriter, on_host
from biobert_scale.training.engine.fragments import Fragment
from biobert_scale.training.monitor.guards import Guards
from biobert_scale.training.validation import perplexity


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.0, 1.0), (math.log(7), 7.0), (1e4, math.inf), (math.inf, math.inf), (math.nan, math.nan)],
)
@pytest.mark.fault("a loss whose perplexity exceeds all numbers", "infinity, not a traceback")
def test_the_perplexity_of_any_loss(loss: float, expected: float) -> None:
    assert perplexity(loss) == pytest.approx(expected, nan_ok=True)


def judge(policy: str, run: Path, *, loss: float, norm: float | None) -> str:
    guards = Guards(
        GuardsConfig(non_finite_loss=policy, roll_backs=1),  # type: ignore[arg-type]
        PrecisionConfig(),
        run,
        writes=True,
        loss_scale=1.0,
    )  # type: ignore[arg-type]
    return guards.judge(5, np.array([loss]), waited=np.array([0.0]), seconds=1.0, taken_norm=norm)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
@pytest.mark.parametrize("loss", [2.0, math.nan])
@pytest.mark.fault(
    "the gradient norm of a step that was taken is NaN or infinite",
    "stopped or rolled back by policy",
    lost="the steps since the last save",
)
def test_weights_that_are_no_numbers_any_more_stop_the_run_or_roll_it_back(
    norm: float, loss: float, tmp_path: Path
) -> None:
    for policy in ("stop", "skip"):  # skipping is too late
        with pytest.raises(RunFailed, match="at step 5"):
            judge(policy, tmp_path, loss=loss, norm=norm)
    assert judge("roll_back", tmp_path, loss=loss, norm=norm) == "roll back"


def test_a_step_that_was_not_taken_harms_nothing(tmp_path: Path) -> None:
    assert judge("stop", tmp_path, loss=2.0, norm=None) == "go on"
    assert judge("skip", tmp_path, loss=math.nan, norm=None) == "go on"
    assert judge("stop", tmp_path, loss=2.0, norm=7.5) == "go on"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "position"), [("weight", 0), ("exp_avg", 4_999_999), ("exp_avg_sq", 3)])
@pytest.mark.fault(
    "NaN or infinity in {kind} when a checkpoint is written",
    "not committed; one line with the remedy",
    lost="the steps since the last save",
)
def test_a_checkpoint_that_holds_no_numbers_is_not_written(
    kind: str, position: int, value: float, tmp_path: Path
) -> None:
    tensors = {name: torch.zeros(5_000_000) for name in ("weight", "exp_avg", "exp_avg_sq")}
    tensors[kind][position] = value
    fragments = [Fragment("a.b", 0, tensors)]
    committed: list[object] = []
    writer = ShardWriter(
        tmp_path,
        on_host(fragments, copied=False, buffers={}),
        rank=0,
        ranks=1,
        patience=1,
        commit=committed.append,
    )
    writer.run()
    assert isinstance(writer.trouble, RunFailed) and not committed
    assert f"{kind} of a.b holds NaN or infinity" in str(writer.trouble)
    assert "roll_back" in writer.trouble.remedy


@pytest.mark.fault(
    "NaN in another rank's part of a checkpoint",
    "not committed; one line with the remedy",
    lost="the steps since the last save",
)
def test_another_rank_s_trouble_keeps_its_remedy(tmp_path: Path) -> None:
    bad = {tensor_name("weight", "a", 0): torch.tensor([math.nan])}
    writers = [
        ShardWriter(tmp_path, tensors, rank=rank, ranks=2, patience=1, commit=commit)
        for rank, (tensors, commit) in enumerate([({}, lambda files: None), (bad, None)])
    ]
    writers[1].run()
    writers[0].run()
    assert isinstance(writers[0].trouble, RunFailed) and "roll_back" in writers[0].trouble.remedy


def test_large_values_are_numbers(tmp_path: Path) -> None:
    write_shard(tmp_path / "x", {"weight/a@0": torch.full((100,), 3e38)})
    assert (tmp_path / "x").stat().st_size > 400
