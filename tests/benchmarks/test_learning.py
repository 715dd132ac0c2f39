from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.learning.table import shortened
from biobert_scale.files import write_json
from biobert_scale.recipes import load_config
from tests.factories import ONE_MICRO_BATCH, write_tokens

pytestmark = pytest.mark.slow

STEPS = 8


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished benchmark of a tiny model on made-up documents."""
    found = tmp_path_factory.mktemp("learning")
    tokens = write_tokens(found / "made-up", documents=200)
    write_json(found / "tiny.json", ONE_MICRO_BATCH)
    assert (
        main(
            [
                "learning",
                "--tokens",
                str(tokens),
                "--output",
                str(found / "results"),
                "--config",
                str(found / "tiny.json"),
                "--equal-rates",
            ]
        )
        == 0
    )
    return found / "results"


@pytest.fixture(scope="module")
def result(directory: Path) -> dict[str, Any]:
    (path,) = directory.glob("learning-*.json")
    return json.loads(path.read_text())


def losses(side: dict[str, Any], name: str = "validation/mlm_loss") -> list[float]:
    return [point[name] for point in side["curve"]]


def test_both_sides_begin_with_the_same_weights_and_score_the_same_samples(result: dict[str, Any]) -> None:
    ours, peers = result["sides"]
    for name in ("validation/mlm_loss", "validation/nsp_loss"):
        assert losses(ours, name)[0] == pytest.approx(losses(peers, name)[0], abs=1e-4)


def test_without_dropout_and_in_fp32_the_two_libraries_learn_the_same(result: dict[str, Any]) -> None:
    ours, peers = result["sides"]
    assert (
        [point["global_step"] for point in ours["curve"]]
        == [point["global_step"] for point in peers["curve"]]
        == list(range(STEPS + 1))
    )
    assert losses(ours) == pytest.approx(losses(peers), abs=1e-3)
    assert losses(ours, "validation/nsp_loss") == pytest.approx(
        losses(peers, "validation/nsp_loss"), abs=1e-3
    )
    assert losses(ours)[-1] < losses(ours)[0] - 0.1, "nothing was learned, so that nothing was compared"


def test_both_have_their_time_and_tokens(result: dict[str, Any]) -> None:
    ours, peers = result["sides"]
    assert (
        ours["real_tokens"] == peers["real_tokens"] == ours["curve"][-1]["consumed_tokens"] > STEPS * 16 * 16
    )
    for side in (ours, peers):
        assert 0 < side["training_seconds"] < side["whole_seconds"]


def test_the_page_shows_the_curves_and_the_picture_is_beside_it(
    directory: Path, result: dict[str, Any]
) -> None:
    (page,), (picture,) = directory.glob("learning-*.md"), directory.glob("learning-*.png")
    text = page.read_text()
    assert f"({picture.name})" in text and picture.read_bytes().startswith(b"\x89PNG")
    for ours, peers in zip(*(side["curve"] for side in result["sides"]), strict=True):
        assert (
            f"| {ours['global_step']} | {ours['consumed_tokens']:,} | {ours['validation/mlm_loss']:.4f} |"
            f" {peers['validation/mlm_loss']:.4f} |" in text
        )
    assert "--config FILE --steps 8 --equal-rates" in text and str(directory.parent) not in text


def test_a_shorter_run_keeps_the_warm_ups_share(tmp_path: Path) -> None:
    recipe = load_config("demo-real")
    total, warmup = recipe.training.schedule.total_steps, recipe.training.schedule.warmup_steps
    half = shortened(recipe, total // 2).training
    assert (half.schedule.total_steps, half.schedule.warmup_steps) == (total // 2, warmup // 2)
    assert half.precision.dtype in ("fp32", "bf16") and half.optimizer == recipe.training.optimizer


@pytest.mark.parametrize(
    ("options", "says"), [(["--steps", "-1"], "--steps cannot be -1"), ([], "no such directory")]
)
def test_a_mistake_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert (
        main(
            [
                "learning",
                "--tokens",
                str(tmp_path / "missing"),
                "--output",
                str(tmp_path / "results"),
                *options,
            ]
        )
        == 2
    )
    assert says in capsys.readouterr().err and not (tmp_path / "results").exists()
