"""Runs in the test's own process, one after another: what they leave, and what they resume from."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.config import Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.lock import Lock
from biobert_scale.recipes import structure_config
from biobert_scale.report.page import write_report
from biobert_scale.report.sources import read_sources
from biobert_scale.report.status import read_status
from biobert_scale.training.checkpoint.manifest import problem
from biobert_scale.training.checkpoint.retention import FINISHED, complete, is_finished, remove, step_of
from biobert_scale.training.monitor import webhook
from biobert_scale.training.monitor.telemetry import METRICS, read_metrics
from biobert_scale.training.monitor.watchdog import DIRECTORY
from biobert_scale.training.restarts import FAILED
from biobert_scale.training.run import train
from biobert_scale.training.step import HostStep
from biobert_scale.training.trainer import Trainer
from tests.factories import write_tokens
from tests.launching import TINY, column


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before, "given back"


def tiny(engine: str = "ddp", *, dtype: str = "fp32", **checkpoint: Any) -> Config:
    config = structure_config(TINY, where="a test")
    training = config.training
    chosen = (
        replace(training.engine, name="ddp")
        if engine == "ddp"
        else replace(training.engine, deepspeed_config=engine)
    )
    training = replace(
        training,
        engine=chosen,
        trackers=(),
        precision=replace(training.precision, dtype=dtype, max_skipped_in_a_row=3),  # type: ignore[arg-type]
        checkpoint=replace(training.checkpoint, **checkpoint),
        validation=replace(training.validation, every_steps=100, sequences=4),
    )
    return replace(config, training=training)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = Trainer.train_step

    def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
        if trainer.state.global_step + 1 == step:
            trainer.stop.path.touch()
        return original(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "train_step", train_step)


@pytest.mark.slow
@pytest.mark.fault("three runs in one process, under two engines", "each trains as the first")
def test_one_process_trains_several_times_under_other_engines(tokens: Path, tmp_path: Path) -> None:
    losses: dict[Any, Any] = {}
    for name in ("zero1", "ddp", "zero1"):
        run = tmp_path / f"{name}-{len(losses)}"
        assert train(tiny(name), tokens, run)
        losses[run.name] = [loss for _, loss in column(read_metrics(run), "train/loss")]
    first, *others = losses.values()
    assert len(first) == 8 and all(other == pytest.approx(first, abs=1e-4) for other in others)


def test_a_run_with_weighted_sources_says_what_it_saw(tmp_path: Path) -> None:
    mixed = write_tokens(tmp_path / "tokens", documents=60, sources=("medline", "pmc"))
    config = tiny()
    config = replace(config, data=replace(config.data, sources={"pmc": 2.5}))
    wrong = replace(config, data=replace(config.data, sources={"pcm": 2.5}))
    with pytest.raises(UserError, match="name sources that the tokens hold: medline, pmc"):
        train(wrong, mixed, tmp_path / "run")
    assert not (tmp_path / "run").exists(), "refused before anything is made"
    assert train(config, mixed, tmp_path / "run")
    sources = read_sources(tmp_path / "run").samples_by_source
    assert sources is not None
    held = sources.samples
    assert dict(sources.epoch) == {"medline": held["medline"], "pmc": round(2.5 * held["pmc"])}
    (*_, last) = (record for record in read_metrics(tmp_path / "run") if "data/epoch" in record)
    assert last["data/epoch"] == last["consumed_samples"] / sources.samples_an_epoch
    assert "seen-sources" in write_report(tmp_path / "run", tmp_path / "page.html").read_text()
    with pytest.raises(UserError, match=r"data\.sources was \{'pmc': 2\.5\} and is now \{\}"):
        train(tiny(), mixed, tmp_path / "run")


@pytest.mark.fault(
    "the two newest checkpoints cut, `keep_last = 1`",
    "resumes before them and keeps its own saves; deletes the broken ones once it has passed them",
    lost="the steps since the checkpoint before",
)
def test_a_run_that_resumes_behind_a_broken_newest_keeps_its_own_saves(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny(every_steps=2, keep_last=9, keep_best=0), tokens, tmp_path)
    assert [step_of(path) for path in complete(tmp_path)] == [2, 4, 6, 8]
    for path in complete(tmp_path)[2:]:
        weights = path / "state-00000-of-00001.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4])
    with monkeypatch.context() as inner:
        stop_after(inner, 5)
        assert not train(tiny(every_steps=100, keep_last=1, keep_best=0), tokens, tmp_path)
    found = {step_of(path): problem(path) is None for path in complete(tmp_path)}
    assert found == {5: True, 6: False, 8: False}, "its own is there, and nothing newer has gone"
    train(tiny(every_steps=100, keep_last=1, keep_best=0), tokens, tmp_path)
    assert [step_of(path) for path in complete(tmp_path)] == [8] and problem(complete(tmp_path)[0]) is None


@pytest.mark.fault("bytes that are no UTF-8 in `metrics.jsonl`", "the run resumes, every other record stays")
def test_a_bad_record_costs_nothing_but_itself(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as inner:
        stop_after(inner, 6)
        train(tiny(every_steps=3), tokens, tmp_path)
    lines = (tmp_path / METRICS).read_bytes().splitlines(keepends=True)
    (tmp_path / METRICS).write_bytes(b"".join([*lines[:2], b"\xff\xfe{\n", *lines[2:]]))
    assert train(tiny(every_steps=3), tokens, tmp_path)
    assert [step for step, _ in column(read_metrics(tmp_path), "train/loss")] == list(range(1, 9))


@pytest.mark.fault(
    "all checkpoints of a finished run deleted, `finished.json` not",
    "not taken for finished; begins anew with a warning",
    lost="what was deleted",
)
def test_a_run_without_checkpoints_is_not_finished(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny(), tokens, tmp_path)
    assert is_finished(tmp_path)
    for path in complete(tmp_path):
        remove(path)
    assert not is_finished(tmp_path)
    with monkeypatch.context() as inner, caplog.at_level(logging.WARNING):
        stop_after(inner, 2)
        assert not train(tiny(), tokens, tmp_path)
    assert not (tmp_path / FINISHED).exists() and "the run begins anew" in caplog.text


@pytest.mark.fault("the only checkpoint has lost its manifest", "refused in one line; its files stay")
def test_a_run_whose_only_checkpoint_lost_its_manifest_does_not_begin_anew(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as inner:
        stop_after(inner, 2)
        train(tiny(), tokens, tmp_path)
    (checkpoint,) = complete(tmp_path)
    (checkpoint / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"none of 1 checkpoint\(s\) is intact"):
        train(tiny(), tokens, tmp_path)
    assert (checkpoint / "state-00000-of-00001.safetensors").exists()


@pytest.mark.parametrize("engine", ["zero0", "zero1", "ddp"])
@pytest.mark.fault(
    "NaN gradients in the step that is saved, {engine}",
    "stopped; the only checkpoint is the one before, intact",
    lost="the steps since the last save",
)
def test_a_diverged_run_leaves_no_checkpoint_of_what_are_no_numbers(
    engine: str, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step whose loss is a number and whose gradients are none, in the step that is saved."""
    original = Trainer.train_step

    def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
        if trainer.state.global_step + 1 == 4:
            for parameter in trainer.engine.module.parameters():
                parameter.register_hook(lambda gradient: gradient * math.nan)
        return original(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    with pytest.raises(RunFailed) as failure:
        train(tiny(engine, every_steps=2, keep_last=1), tokens, tmp_path)
    assert "\n" not in str(failure.value)
    (kept,) = complete(tmp_path)
    assert step_of(kept) == 2 and problem(kept) is None


def test_the_end_is_reported_once_and_a_failure_is_written_down(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, int, str]] = []

    def post(_: str, body: dict[str, Any]) -> None:
        sent.append((body["event"], body["global_step"], body["what"]))

    monkeypatch.setattr(webhook, "_post", post)

    def take_step(trainer: Trainer, *_: Any) -> Any:
        raise RunFailed("the disk is full", where="here", remedy="free some")

    with monkeypatch.context() as inner, pytest.raises(RunFailed):
        inner.setattr(Trainer, "take_step", take_step)
        train(tiny(), tokens, tmp_path)
    assert sent == [("failed", 0, "the disk is full: here; free some")]
    failed = read_status(tmp_path)
    assert (failed.state, failed.failure) == ("failed", "the disk is full: here; free some (at step 0)")
    with monkeypatch.context() as inner:
        stop_after(inner, 3)
        train(tiny(), tokens, tmp_path)
    assert read_status(tmp_path).state == "stopped" and len(sent) == 1
    for _ in range(2):  # the second start has nothing to do, and nothing to report
        assert train(tiny(), tokens, tmp_path)
    assert sent[1:] == [("finished", 8, "")] and read_status(tmp_path).state == "finished"


@pytest.mark.fault("a second process starts in a run directory", "refused; the run there has not failed")
def test_a_start_that_was_refused_is_no_failure_of_the_run(tokens: Path, tmp_path: Path) -> None:
    train(tiny(), tokens, tmp_path)
    with Lock(tmp_path, "train"):
        with pytest.raises(UserError, match="at work here"):
            train(tiny(), tokens, tmp_path)
        assert read_status(tmp_path).state == "running"
    assert not (tmp_path / FAILED).exists() and read_status(tmp_path).state == "finished"


@pytest.mark.fault(
    "a weight is infinite when a checkpoint is written",
    "not saved, one line with the remedy",
    lost="the steps since the last save",
)
def test_a_diverged_state_is_not_saved(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the guards have seen."""
    original = Trainer.advance

    def advance(trainer: Trainer, *arguments: Any) -> None:
        original(trainer, *arguments)
        if trainer.state.global_step == 4:
            with torch.no_grad():
                next(trainer.engine.module.parameters()).view(-1)[7] = math.inf

    monkeypatch.setattr(Trainer, "advance", advance)
    with pytest.raises(RunFailed, match="holds NaN or infinity") as failure:
        train(tiny(every_steps=2, keep_last=1, background=False), tokens, tmp_path)
    assert "roll_back" in failure.value.remedy
    assert [step_of(path) for path in complete(tmp_path)] == [2]


@pytest.mark.slow
@pytest.mark.fault(
    "memory for a step cannot be allocated",
    "one line names the micro-batch; the last checkpoint is intact, and the run resumes from it",
    lost="the steps since the last save",
)
def test_a_run_that_needs_more_memory_than_there_is(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.train_step

    def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
        if trainer.state.global_step + 1 == 6:
            torch.empty(1 << 60)  # what the allocator says of it is its own
        return original(trainer, batch, rate)

    with (
        monkeypatch.context() as inner,
        pytest.raises(RunFailed, match=r"micro_batch_size \(now 4\)") as failure,
    ):
        inner.setattr(Trainer, "train_step", train_step)
        train(tiny(every_steps=2), tokens, tmp_path)
    assert failure.value.exit_code == 1 and "plan" in failure.value.remedy
    assert [step_of(path) for path in complete(tmp_path)] == [2, 4] and problem(
        complete(tmp_path)[-1]
    ) is None
    assert train(tiny(every_steps=2), tokens, tmp_path)
    assert [step for step, _ in column(read_metrics(tmp_path), "train/loss")] == list(range(1, 9))


@pytest.mark.slow
@pytest.mark.fault(
    "{what} of a run deleted between two starts", "made again; losses equal the undisturbed run's"
)
@pytest.mark.parametrize("what", ["samples", "metrics.jsonl", "config.json"])
def test_what_can_be_made_again_is_made_again(
    what: str, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("train/loss", "optim/grad_norm", "consumed_samples")
    train(tiny(), tokens, tmp_path / "whole")
    run = tmp_path / "run"
    with monkeypatch.context() as inner:
        stop_after(inner, 5)
        assert not train(tiny(), tokens, run)
    assert (run / what).exists()
    shutil.rmtree(run / what) if what == "samples" else (run / what).unlink()
    assert train(tiny(), tokens, run)
    ours, theirs = (column(read_metrics(path), *names) for path in (run, tmp_path / "whole"))
    assert ours == theirs[5 if what == "metrics.jsonl" else 0 :] and (run / what).exists()


@pytest.mark.slow
@pytest.mark.fault(
    "all checkpoints deleted while the run trains",
    "the run trains on, and its next save is complete and intact",
)
def test_checkpoints_that_disappear_under_a_run(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.train_step

    def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
        if trainer.state.global_step + 1 == 6:
            shutil.rmtree(tmp_path / "checkpoints")
        return original(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    assert train(tiny(every_steps=2, background=False), tokens, tmp_path)
    assert [step_of(path) for path in complete(tmp_path)] == [6, 8]
    assert all(problem(path) is None for path in complete(tmp_path))


@pytest.mark.fault(
    "a rank ends in an error of its own", "its heartbeat says so to the ranks that wait for it"
)
def test_a_rank_that_fails_leaves_word_and_one_that_ends_well_leaves_nothing(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = tmp_path / DIRECTORY
    original = Trainer.train_step

    def train_step(trainer: Trainer, batch: HostStep, rate: float) -> Any:
        if trainer.state.global_step + 1 == 3:
            raise OSError(5, "Input/output error", "shard")
        return original(trainer, batch, rate)

    with monkeypatch.context() as inner, pytest.raises(OSError, match="Input/output"):
        inner.setattr(Trainer, "train_step", train_step)
        train(tiny(), tokens, tmp_path)
    (beat,) = (json.loads(path.read_text()) for path in beats.iterdir())
    assert beat["left"] and beat["global_step"] == 3
    assert train(tiny(), tokens, tmp_path) and not list(beats.iterdir())
