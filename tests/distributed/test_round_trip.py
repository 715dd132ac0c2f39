"""Every engine, precision and DeepSpeed setting that is accepted: weights and moments in a checkpoint are the
engine's own, and another engine of the kind steps on from them as the first one does."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.launch.ports import free_port
from biobert_scale.training.checkpoint.retention import complete, incomplete
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.engine.accepted import ACCEPTED, FROM_RUN
from biobert_scale.training.engine.settings import find_file
from tests.distributed.round_trip import config_of, engine_of, round_trip, step
from tests.launching import ROOT, environment

QUICK = ("ddp:fp32", "zero0:bf16", "zero1:bf16", "zero3:bf16")
PACKAGED = (
    *("ddp:bf16", "zero0:fp32"),
    *(f"zero{stage}:{dtype}" for stage in (1, 2, 3) for dtype in ("fp32", "bf16", "fp16")),
    *(f"zero{stage}_offload:{dtype}" for stage in (2, 3) for dtype in ("fp32", "bf16", "fp16")),
)
OFFLOADED = {"offload_optimizer.device": "cpu", "zero_force_ds_cpu_optimizer": False}
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("zero1", {"zero_optimization.overlap_comm": True, "zero_optimization.reduce_bucket_size": 1000}),
    ("zero1", {"zero_optimization.contiguous_gradients": False, "zero_optimization.reduce_scatter": False}),
    ("zero1", {"zero_optimization.allgather_partitions": False, "zero_optimization.stage": 1}),
    ("zero1", {"zero_optimization.allgather_bucket_size": 1000, "wall_clock_breakdown": True}),
    ("zero1", {"zero_optimization.offload_optimizer.device": "cpu", "zero_force_ds_cpu_optimizer": False}),
    ("zero1", {"communication_data_type": "fp32", "steps_per_print": 1}),
    ("zero2", {"zero_optimization.overlap_comm": False, "zero_optimization.allgather_bucket_size": 1000}),
    ("zero2", {"zero_optimization.contiguous_gradients": False, "communication_data_type": "fp32"}),
    ("zero2_offload", {"zero_optimization.offload_optimizer.pin_memory": False}),
    ("zero3", {"zero_optimization.sub_group_size": 1000, "zero_optimization.overlap_comm": False}),
    ("zero3", {"zero_optimization.stage3_param_persistence_threshold": 0}),
    ("zero3", {"zero_optimization.stage3_prefetch_bucket_size": 0}),
    ("zero3", {"zero_optimization.stage3_max_live_parameters": 1000}),
    ("zero3", {"zero_optimization.stage3_max_reuse_distance": 0, "communication_data_type": "fp32"}),
    ("zero3", {"zero_optimization.stage3_gather_16bit_weights_on_model_save": True}),
    (
        "zero3_offload",
        {"zero_optimization.sub_group_size": 1000, "zero_optimization.offload_param.device": "none"},
    ),
    (
        "zero3_offload",
        {"zero_optimization.offload_param.pin_memory": False, "zero_optimization.reduce_scatter": False},
    ),
)


def leaves(accepted: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, kind in accepted.items():
        if isinstance(kind, dict):
            found |= leaves(kind, f"{prefix}{name}.")
        elif kind is not FROM_RUN:
            found.add(prefix + name)
    return found


def write_file(path: Path, base: str, changes: dict[str, Any]) -> Path:
    settings = json.loads(find_file(base).read_text())
    for dotted, value in changes.items():
        *outer, last = dotted.split(".")
        inner = settings
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = value
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("case", QUICK)
@pytest.mark.fault(
    "a restart under {case}",
    "weights, both moments and the step after it equal the engine's own",
)
def test_a_checkpoint_holds_what_the_engine_holds(case: str, tmp_path: Path) -> None:
    round_trip(case, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in PACKAGED if case not in QUICK])
def test_a_checkpoint_holds_what_every_engine_holds(case: str, tmp_path: Path) -> None:
    round_trip(case, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("base", "changes"), SETTINGS, ids=[",".join(each) for _, each in SETTINGS])
def test_a_checkpoint_holds_what_the_engine_holds_under_every_accepted_setting(
    base: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    round_trip(f"{write_file(tmp_path / 'mine.json', base, changes)}:bf16", tmp_path / "run")


def test_no_setting_is_accepted_that_is_not_tried() -> None:
    assert leaves(ACCEPTED) == {name for _, changes in SETTINGS for name in changes}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_ranks_write_what_their_engines_hold(tmp_path: Path) -> None:
    files = [
        write_file(tmp_path / f"{number}.json", base, changes)
        for number, (base, changes) in enumerate(SETTINGS)
    ]
    # Without DeepSpeed first: behind it the ranks' one group is DeepSpeed's.
    cases = sorted({*QUICK, *PACKAGED}) + [f"{path}:bf16" for path in files]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    script = str(ROOT / "tests/distributed/round_trip.py")
    started = []
    for rank in ("0", "1"):
        with open(tmp_path / f"log{rank}", "w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", script, str(tmp_path), *cases],
                    env={**environment(), **group, "RANK": rank, "LOCAL_RANK": rank},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    codes = [process.wait(1700) for process in started]
    written = (tmp_path / "log0").read_text()
    assert codes == [0, 0], written[-3000:]
    assert [line.split()[1] for line in written.splitlines() if line.startswith("equal ")] == cases


@pytest.mark.parametrize(
    "changes",
    [
        {"data_types.grad_accum_dtype": "fp32"},
        {"bf16.bf16_master_weights_and_grads": True},
        {"bf16.bf16_optimizer_states": True},
    ],
    ids=str,
)
@pytest.mark.fault(
    "a DeepSpeed file with {changes}, whose checkpoints would be empty",
    "refused by name before the engine starts",
)
def test_settings_that_change_what_is_held_are_refused_before_the_engine_starts(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = write_file(tmp_path / "mine.json", "zero1", changes)
    with (
        pytest.raises(UserError, match=next(iter(changes)).split(".")[-2]),
        engine_of(config_of(f"{path}:bf16"), tmp_path / "run"),
    ):
        raise AssertionError("an engine was started")


@pytest.mark.fault("DeepSpeed takes an optimizer class that is not known", "refused by name")
def test_an_optimizer_class_that_is_not_known_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biobert_scale.training.engine.settings.check_settings", lambda settings, where: None)
    path = write_file(tmp_path / "mine.json", "zero1", {"data_types.grad_accum_dtype": "fp32"})
    with (
        pytest.raises(UserError, match=r"BF16_Optimizer"),
        engine_of(config_of(f"{path}:bf16"), tmp_path / "run"),
    ):
        raise AssertionError("a run was begun")


def with_zeros(local_fragments: Any, kind: str, **options: Any) -> Any:
    """As if the code that saves read the wrong tensors."""
    fragments = local_fragments(**options)
    for fragment in fragments:
        fragment.tensors[kind] = torch.zeros_like(fragment.tensors[kind])
    return fragments


@pytest.mark.parametrize(("case", "kind"), [("zero1:bf16", "exp_avg"), ("zero3:fp32", "weight")])
@pytest.mark.fault(
    "the code that saves reads zeros as {kind} ({case})",
    "the check at the save compares with the engine, and refuses",
    lost="the steps since the last save",
)
def test_a_save_is_refused_where_it_does_not_hold_what_the_engine_holds(
    case: str, kind: str, tmp_path: Path
) -> None:
    with engine_of(config_of(case), tmp_path) as (_, engine, checkpoints):
        step(engine, 0)
        checkpoints.save(TrainerState(global_step=1), validation_loss=None, wait=True)
        step(engine, 1)
        engine.local_fragments = partial(with_zeros, engine.local_fragments, kind)
        with pytest.raises(RunFailed, match=f"{kind} of .* is not what the engine holds"):
            checkpoints.save(TrainerState(global_step=2), validation_loss=None, wait=True)
        assert [path.name for path in complete(tmp_path)] == ["step-00000001"]
        assert not incomplete(tmp_path)
        del engine, checkpoints
