"""A run of two phases, short samples and then long ones: resumed and continued on both sides of the
boundary."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.recipes import change_settings, load_config, structure_config
from biobert_scale.release.export import export_model
from biobert_scale.report.page import write_report
from biobert_scale.tokens.sources import SOURCES
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import FINISHED, complete, step_of
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.run import train
from tests import launching
from tests.factories import TINY, write_tokens
from tests.launching import column, last_state

PHASES: list[dict[str, int]] = [{"steps": 5, "max_seq_length": 32, "micro_batch_size": 8}, {}]
NAMES = ("train/loss", "optim/grad_norm", "consumed_samples", "consumed_tokens", "data/epoch")


def config(*changes: str, phases: list[dict[str, int]] = PHASES, steps: int = 8) -> Config:
    schedule = {"warmup_steps": 2, "total_steps": steps}
    training = {**TINY["training"], "phases": phases, "schedule": schedule}
    settings: dict[str, Any] = {**TINY, "training": training}
    fixed = ("training.engine.name=ddp", "training.trackers=[]", "training.schedule.decay=constant")
    kept = ("training.checkpoint.keep_last=9", "training.checkpoint.every_steps=1")
    dropout = "model.hidden_dropout_prob=0.1"
    recipe = structure_config(settings, where="a test")
    return change_settings(recipe, [*fixed, *kept, dropout, *changes], where="a test")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200, sources=("medline", "pmc"))


@pytest.fixture(scope="module")
def whole(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of five short steps and three long ones."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(config(), tokens, run)
    return run


def cut_after(run: Path, step: int, copy: Path) -> Path:
    """A copy of a finished run as it was when it had saved a step."""
    shutil.copytree(run, copy)
    (copy / FINISHED).unlink()
    for path in complete(copy):
        if step_of(path) > step:
            shutil.rmtree(path)
    return copy


def same_end(run: Path, other: Path) -> bool:
    ours, theirs = last_state(run), last_state(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_first_phase_is_a_run_without_phases(whole: Path, tokens: Path, tmp_path: Path) -> None:
    short = config("data.max_seq_length=32", "training.micro_batch_size=8", phases=[])
    assert train(short, tokens, tmp_path / "short")
    ours, theirs = (column(read_metrics(run), *NAMES) for run in (whole, tmp_path / "short"))
    assert ours[:5] == theirs[:5] and ours[5] != theirs[5]


def test_records_report_and_card_know_the_phases(whole: Path, tokens: Path, tmp_path: Path) -> None:
    records = [record for record in read_metrics(whole) if "train/loss" in record]
    assert [record["data/phase"] for record in records] == [1] * 5 + [2] * 3
    assert [record["consumed_samples"] for record in records] == [16 * step for step in range(1, 9)]
    epochs = [record["data/epoch"] for record in records]
    assert epochs[4] == pytest.approx(5 * epochs[0]) and epochs[7] == pytest.approx(3 * epochs[5])
    assert epochs[5] > epochs[0], "an epoch of longer samples has fewer of them"
    tokens_of = [records[k + 1]["consumed_tokens"] - records[k]["consumed_tokens"] for k in range(7)]
    assert max(tokens_of[:4]) <= 16 * 32 < min(tokens_of[4:])
    page = write_report(whole, tmp_path / "page.html").read_text()
    assert "of phase 1" in page and "of phase 2" in page and "[[training.phases]]" in page
    export_model(whole, tokens, tmp_path / "export")
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| phase 1 | from step 1: 16 sequences a step, 32 tokens at most |" in card
    assert "| phase 2 | from step 6: 16 sequences a step, 64 tokens at most |" in card
    assert (whole / SOURCES).exists() and (whole / "samples-32").is_dir()


@pytest.mark.parametrize("step", [3, 5, 6])
def test_a_run_resumed_on_either_side_of_the_boundary_is_the_undisturbed_one(
    step: int, whole: Path, tokens: Path, tmp_path: Path
) -> None:
    run = cut_after(whole, step, tmp_path / "run")
    assert train(config(), tokens, run)
    assert column(read_metrics(run), *NAMES) == column(read_metrics(whole), *NAMES)
    assert same_end(run, whole)


@pytest.mark.slow
def test_a_phase_s_micro_batch_may_change_and_its_length_may_not(
    whole: Path, tokens: Path, tmp_path: Path
) -> None:
    run = cut_after(whole, 6, tmp_path / "run")
    for change in ({"max_seq_length": 40}, {"steps": 4}, {"global_batch_size": 8}):
        with pytest.raises(UserError, match=r"training\.phases was"):
            train(config(phases=[PHASES[0] | change, {}]), tokens, run)
    assert train(config(phases=[PHASES[0] | {"micro_batch_size": 4}, {"micro_batch_size": 8}]), tokens, run)
    for ours, theirs in zip(
        column(read_metrics(run), *NAMES), column(read_metrics(whole), *NAMES), strict=True
    ):
        assert ours[3:] == theirs[3:]


def test_a_run_goes_over_from_short_samples_to_long_ones_in_a_new_run(
    whole: Path, tokens: Path, tmp_path: Path
) -> None:
    """As the run that had its phases from the start, whether the first run ended at the boundary or not."""
    short = config("data.max_seq_length=32", "training.micro_batch_size=8", phases=[], steps=5)
    assert train(short, tokens, tmp_path / "short")
    assert train(config(), tokens, tmp_path / "new", continue_from=str(tmp_path / "short"))
    assert column(read_metrics(tmp_path / "new"), *NAMES) == column(read_metrics(whole), *NAMES)[5:]
    assert same_end(tmp_path / "new", whole)


def test_later_phases_may_be_changed_and_added_in_a_new_run(
    whole: Path, tokens: Path, tmp_path: Path
) -> None:
    larger = config(phases=[PHASES[0], {"steps": 3}, {"global_batch_size": 32}], steps=10)
    assert train(larger, tokens, tmp_path / "new", continue_from=str(whole))
    (link,) = read_record(complete(tmp_path / "new")[-1])["lineage"]
    assert link["samples_continue"] and "training.phases" in link["changes"]
    assert [row[3] for row in column(read_metrics(tmp_path / "new"), *NAMES)] == [160, 192]
    others = [
        config(phases=[PHASES[0] | {"steps": 4}, {}], steps=10),
        config("training.global_batch_size=32", steps=10),
    ]
    for changed in others:
        with pytest.raises(UserError, match="these phases are at") as refused:
            train(changed, tokens, tmp_path / "refused", continue_from=str(whole))
        assert "begin with the old run's phases" in refused.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero1", "zero2", "zero3"])
def test_two_ranks_are_one_process(engine: str, tokens: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    write_json(recipe, {**TINY, "training": {**TINY["training"], "phases": PHASES}})
    assert load_config(recipe).training.phases
    alone = ("--config", str(recipe), "--training.engine.name", "ddp")
    option = "--training.engine.name" if engine == "ddp" else "--training.engine.deepspeed-config"
    reference = launching.train(tokens, tmp_path / "alone", *alone, processes=1)
    metrics = launching.train(tokens, tmp_path / "two", "--config", str(recipe), option, engine, processes=2)
    for ours, theirs in zip(column(metrics, *NAMES), column(reference, *NAMES), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
