"""A run whose batch grows: the same at every world size and under every engine, and resumed inside it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch

from biobert_scale.config import BatchSizes, Config
from biobert_scale.errors import UserError
from biobert_scale.recipes import change_settings, structure_config
from biobert_scale.report.sources import read_sources
from biobert_scale.training.checkpoint.retention import FINISHED, complete, step_of
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.run import train
from tests import launching
from tests.factories import TINY, write_tokens
from tests.launching import column, last_state

WARMUP = ("--training.batch-warmup-start", "8", "--training.batch-warmup-steps", "6")
BATCH = ("--training.global-batch-size", "32", "--training.micro-batch-size", "4")
NAMES = ("train/loss", "optim/grad_norm", "consumed_samples", "consumed_tokens")
SIZES = [8, 8, 16, 16, 24, 24, 32, 32]


def config(*changes: str) -> Config:
    options = [f"{name[2:]}={value}" for name, value in zip(*[iter((*WARMUP, *BATCH))] * 2, strict=True)]
    fixed = ("training.engine.name=ddp", "training.trackers=[]", "training.checkpoint.keep_last=9")
    dropout = ("model.hidden_dropout_prob=0.1", "training.schedule.decay=constant")
    return change_settings(
        structure_config(TINY, where="a test"), [*options, *fixed, *dropout, *changes], where="a test"
    )


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.fixture(scope="module")
def whole(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 8 steps with the checkpoints of steps 3, 6 and 8."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(config(), tokens, run)
    return run


def test_the_batch_grows_and_every_count_follows(whole: Path) -> None:
    records = [record for record in read_metrics(whole) if "train/loss" in record]
    seen = [0, *(record["consumed_samples"] for record in records)]
    assert [after - before for before, after in itertools.pairwise(seen)] == SIZES
    sizes = read_sources(whole).batch_sizes
    assert sizes == BatchSizes.of(config())
    assert [sizes.samples_before(step) for step in range(9)] == seen


@pytest.mark.parametrize("step", [3, 6])
def test_a_run_resumed_inside_its_warm_up_is_the_undisturbed_one(
    step: int, whole: Path, tokens: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / FINISHED).unlink()
    for path in complete(run):
        if step_of(path) > step:
            shutil.rmtree(path)
    assert train(config(), tokens, run)
    assert column(read_metrics(run), *NAMES) == column(read_metrics(whole), *NAMES)
    ours, theirs = last_state(run), last_state(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_a_continued_run_is_inside_the_same_warm_up_or_refused(
    whole: Path, tokens: Path, tmp_path: Path
) -> None:
    longer = config("training.schedule.total_steps=10")
    assert train(longer, tokens, tmp_path / "new", continue_from=f"{whole}@3")
    assert column(read_metrics(tmp_path / "new"), *NAMES)[:5] == column(read_metrics(whole), *NAMES)[3:]
    other = write_tokens(tmp_path / "grown", documents=210, vocabulary=tokens.parent / "vocabulary")
    slower = config("training.batch_warmup_steps=7")
    for settings, text in ((longer, other), (slower, tokens)):
        with pytest.raises(UserError, match="this warm-up of the batch is at") as refused:
            train(settings, text, tmp_path / "refused", continue_from=f"{whole}@6")
        assert "to 0" in refused.value.remedy
    full = config("training.batch_warmup_start=0", "training.batch_warmup_steps=0")
    assert train(full, other, tmp_path / "grown-run", continue_from=f"{whole}@6")
    assert [seen for _, _, _, seen, _ in column(read_metrics(tmp_path / "grown-run"), *NAMES)] == [32, 64]


def alone(tokens: Path, run: Path) -> Path:
    options = ("--training.engine.name", "ddp", "--training.micro-batch-size", "8")
    launching.train(tokens, run, *BATCH[:2], *options, *WARMUP, processes=1)
    return run


def check(tokens: Path, directory: Path, engine: str) -> None:
    """Two ranks of micro-batches of 4: one, two, three and four micro-steps."""
    reference = column(read_metrics(alone(tokens, directory / "alone")), *NAMES)
    option = "--training.engine.name" if engine == "ddp" else "--training.engine.deepspeed-config"
    metrics = launching.train(tokens, directory / "two", *BATCH, *WARMUP, option, engine, processes=2)
    for ours, theirs in zip(column(metrics, *NAMES), reference, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_two_ranks_are_one_process(tokens: Path, tmp_path: Path) -> None:
    check(tokens, tmp_path, "ddp")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["zero0", "zero1", "zero2", "zero3"])
def test_two_ranks_of_every_zero_stage_are_one_process(engine: str, tokens: Path, tmp_path: Path) -> None:
    check(tokens, tmp_path, engine)
