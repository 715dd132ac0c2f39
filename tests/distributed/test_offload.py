"""Every file of `ds_configs/` with real engines on two ranks: whose optimizer steps, what is held, what is
sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.files import read_json, write_json
from biobert_scale.plan.dry_run import plan_run
from biobert_scale.plan.memory import Sharding
from biobert_scale.recipes import structure_config
from biobert_scale.training.engine.settings import find_file
from tests.distributed.engine_ranks import RECIPE, check_plan, run_of, start_engines
from tests.factories import write_tokens
from tests.launching import ROOT, train
from tests.launching import column as losses

pytestmark = pytest.mark.slow  # a dozen engines are started

# stage 3 with no tensor whole on every rank, and weights that stay from the forward pass to the backward one,
# or do not
GATHERING = {
    "staying": {"stage3_max_live_parameters": 10**9, "stage3_max_reuse_distance": 10**9},
    "leaving": {
        "stage3_max_live_parameters": 13_000,
        "stage3_max_reuse_distance": 13_000,
        "stage3_prefetch_bucket_size": 6_000,
    },
}
PACKAGED = [
    "zero0:fp32",
    "zero0:bf16",
    "zero1:fp32",
    "zero1:bf16",
    "zero2:bf16",
    "zero2_offload:bf16",
    "zero2_offload:fp32",
    "zero3:bf16",
    "zero3_offload:bf16",
    "zero3_offload:fp32",
]
PARAMETERS, EMBEDDINGS = 39_983, 301 * 32


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engines")
    write_json(directory / "recipe.json", RECIPE)
    for name, settings in GATHERING.items():
        content = json.loads(find_file("zero3").read_text())
        content["zero_optimization"] |= {"stage3_param_persistence_threshold": 0, **settings}
        write_json(directory / f"{name}.json", content)
    return directory


@pytest.fixture(scope="module")
def ranks(directory: Path) -> list[dict[str, dict[str, Any]]]:
    """What each of two ranks tells of its engines, by case."""
    cases = [*PACKAGED, *(f"{directory / name}.json:fp32" for name in GATHERING)]
    return start_engines(directory, cases, ranks=2)


def test_every_packaged_file_is_tried() -> None:
    assert {case.split(":")[0] for case in PACKAGED} == {
        path.stem for path in (ROOT / "ds_configs").glob("*.json")
    }


def test_the_optimizer_that_steps_is_ours(ranks: list[dict[str, dict[str, Any]]]) -> None:
    """Where the optimizer is offloaded, Accelerate would put DeepSpeedCPUAdam in its place."""
    for case, told in ranks[0].items():
        assert told["optimizer"] == "torch.optim.adamw.AdamW", case
        assert told["groups"] == [
            {"betas": [0.8, 0.95], "eps": 1e-7, "weight_decay": decay} for decay in (0.05, 0.0)
        ], case


def test_every_file_trains_the_same_model(ranks: list[dict[str, dict[str, Any]]]) -> None:
    for rank in ranks:
        for case, told in rank.items():
            assert told["steps"] == 2 and len(told["losses"]) == 8, case
            assert told["losses"] == pytest.approx(
                rank["zero0:fp32"]["losses"], rel=1e-6 if case.endswith("fp32") else 2e-3
            ), case
        assert rank["zero2_offload:bf16"]["losses"] == rank["zero2:bf16"]["losses"]
        assert rank["zero3_offload:bf16"]["losses"] == rank["zero3:bf16"]["losses"]


@pytest.mark.parametrize("case", PACKAGED)
def test_memory_is_what_was_predicted(ranks: list[dict[str, dict[str, Any]]], case: str) -> None:
    predicted = plan_run(run_of(case), world_size=2, vocabulary_size=301).memory
    stage = Sharding.of(run_of(case), world_size=2).stage
    most = {
        name: max(rank[case][name] for rank in ranks)
        for name in ("weights", "whole", "fp32_weights", "moments", "gradients")
    }
    kept = {name: max(rank[case]["kept"][name] for rank in ranks) for name in ranks[0][case]["kept"]}
    weights = most["weights"] + most["whole"]
    assert predicted.device.weights + predicted.host.weights == pytest.approx(
        weights, abs=8
    )  # the wrapper of stage 0 aligns by an element
    if case == "zero0:fp32":
        assert predicted.device.fp32_weights == 0
    else:
        assert predicted.device.fp32_weights + predicted.host.fp32_weights == most["fp32_weights"]
    assert predicted.device.moments + predicted.host.moments == most["moments"]
    if stage == 3:
        gradients = most["gradients"] + kept["fp32"]
    else:
        gradients = kept["on_parameters"] + kept["reduced"] + kept["accumulated"] + kept["fp32"]
    assert predicted.device.gradients + predicted.host.gradients == gradients


@pytest.mark.parametrize("case", PACKAGED)
def test_the_plan_s_memory_is_what_engines_hold(ranks: list[dict[str, dict[str, Any]]], case: str) -> None:
    check_plan(run_of(case), case.split(":")[0], [rank[case] for rank in ranks])


def test_what_is_sent_is_what_was_predicted(ranks: list[dict[str, dict[str, Any]]], directory: Path) -> None:
    """In elements: stage 2 reduces four micro-steps, stage 3 with small tensors whole gathers them once a
    step."""
    for case, reduced, scattered, gathered in (
        ("zero0:fp32", 1, 0, 0),
        ("zero1:bf16", 1, 0, 1),
        ("zero2:bf16", 4, 0, 1),
        ("zero2_offload:bf16", 4, 0, 1),
        ("zero3:bf16", 0, 4, 1),
        (f"{directory / 'staying'}.json:fp32", 0, 4, 4),
    ):
        sent = ranks[0][case]["sent"]
        found = [
            sent.get(name, 0) for name in ("all_reduce", "reduce_scatter_tensor", "all_gather_into_tensor")
        ]
        assert found == pytest.approx(
            [times * PARAMETERS for times in (reduced, scattered, gathered)], abs=4
        ), case


def test_weights_that_leave_are_gathered_again_and_take_less_room(
    ranks: list[dict[str, dict[str, Any]]], directory: Path
) -> None:
    staying, leaving = (ranks[0][f"{directory / name}.json:fp32"] for name in ("staying", "leaving"))
    assert staying["gathered"] == PARAMETERS
    assert leaving["gathered"] <= 13_000 + 6_000
    # The matrix of the embeddings serves at both ends of the model, and may be gathered once more for it.
    assert 8 * PARAMETERS <= leaving["sent"]["all_gather_into_tensor"] <= 8 * PARAMETERS + 4 * EMBEDDINGS


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.mark.parametrize("name", ["zero2_offload", "zero3_offload"])
def test_an_offloaded_run_trains(tokens: Path, name: str, tmp_path: Path) -> None:
    """The other files train in `test_training.py`."""
    told = train(
        tokens,
        tmp_path / "run",
        "--training.engine.deepspeed-config",
        name,
        processes=1,
        dtype="bf16",
        steps=3,
    )
    assert [step for step, *_ in losses(told, "train/loss", "optim/grad_norm")] == [1, 2, 3]
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000003"
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    config = structure_config(read_json(checkpoint / "config.json"), where="test")
    predicted = plan_run(config, world_size=1, vocabulary_size=300).checkpoint
    assert predicted < size < 1.5 * predicted + 100_000, (predicted, size)


@pytest.mark.parametrize("name", ["zero2_offload", "zero3_offload"])
def test_an_offloaded_run_resumes_exactly(tokens: Path, name: str, tmp_path: Path) -> None:
    options = ("--training.engine.deepspeed-config", name)
    whole = train(tokens, tmp_path / "run", *options, processes=2)
    names = ("train/loss", "optim/grad_norm", "consumed_samples")
    assert [step for step, *_ in losses(whole, *names)] == list(range(1, 9))
    (tmp_path / "run" / "finished.json").unlink()
    last = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert last.name == "step-00000008"
    (last / "manifest.json").unlink()
    assert losses(train(tokens, tmp_path / "run", *options, processes=2), *names) == losses(whole, *names)
