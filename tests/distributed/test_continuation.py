"""A run from another one: extended, cooled down, at another rate, with another batch, on another corpus."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import sha256_file
from biobert_scale.recipes import change_settings, structure_config
from biobert_scale.report.page import write_report
from biobert_scale.training.checkpoint.manifest import CheckpointRecord, read_record
from biobert_scale.training.checkpoint.retention import complete, step_of
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.run import train
from tests import launching
from tests.factories import write_tokens
from tests.launching import TINY, column, last_state

CONSTANT = ("training.schedule.decay=constant", "training.engine.name=ddp", "training.trackers=[]")


def config(*changes: str) -> Config:
    """The tiny recipe at a constant rate, which keeps the checkpoints of steps 4 and 8."""
    kept = ("training.checkpoint.every_steps=4", "training.validation.every_steps=100")
    return change_settings(
        structure_config(TINY, where="a test"), [*CONSTANT, *kept, *changes], where="a test"
    )


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=200)


@pytest.fixture(scope="module")
def old(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 8 steps."""
    run = tmp_path_factory.mktemp("old") / "old"
    assert train(config(), tokens, run)
    assert [step_of(path) for path in complete(run)] == [4, 8]
    return run


def content(run: Path) -> list[Any]:
    files = sorted(path for path in run.rglob("*") if path.is_file())
    return [(path, sha256_file(path), path.stat().st_mtime_ns) for path in files]


def newest(run: Path) -> CheckpointRecord:
    return read_record(complete(run)[-1])


def same_end(run: Path, other: Path) -> bool:
    ours, theirs = last_state(run), last_state(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def losses(run: Path, *, after: int) -> list[tuple[Any, ...]]:
    found = column(
        read_metrics(run), "train/loss", "optim/learning_rate", "consumed_samples", "consumed_tokens"
    )
    return [row for row in found if row[0] > after]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        pytest.param("{old}", ("training.schedule.total_steps=12",), marks=pytest.mark.slow),
        ("{old}@4", ("training.schedule.cooldown_steps=4",)),
    ],
    ids=["extended", "cooled down from the middle"],
)
def test_a_continued_run_is_the_one_that_had_its_schedule_from_the_start(
    source: str, changes: tuple[str, ...], old: Path, tokens: Path, tmp_path: Path
) -> None:
    before, changed = content(old), config(*changes)
    assert train(changed, tokens, tmp_path / "new", continue_from=source.format(old=old))
    assert content(old) == before, "the old run is not written to"
    assert train(changed, tokens, tmp_path / "whole")
    (link,) = newest(tmp_path / "new")["lineage"]
    step = link["global_step"]
    assert losses(tmp_path / "new", after=0) == losses(tmp_path / "whole", after=step)
    assert same_end(tmp_path / "new", tmp_path / "whole")
    (key, now), (change,) = changes[0].split("="), link["changes"].items()
    assert change[0] == key and change[1][1] == int(now) and link["samples_continue"]
    validated = [
        record["global_step"] for record in read_metrics(tmp_path / "new") if "validation/mlm_loss" in record
    ]
    assert validated == [step, changed.training.schedule.total_steps]


@pytest.mark.slow
def test_two_ranks_continue_the_run_of_one(old: Path, tokens: Path, tmp_path: Path) -> None:
    before = content(old)
    options = ("--training.schedule.decay", "constant", "--training.engine.name", "ddp")
    found = launching.train(
        tokens, tmp_path / "new", "--continue-from", str(old), *options, processes=2, steps=12
    )
    assert content(old) == before, "the old run is not written to"
    assert newest(tmp_path / "new")["world_size"] == 2
    assert train(config("training.schedule.total_steps=12"), tokens, tmp_path / "whole")
    whole = losses(tmp_path / "whole", after=8)
    assert [row[0] for row in whole] == [9, 10, 11, 12]
    kept = column(found, "train/loss", "optim/learning_rate", "consumed_samples", "consumed_tokens")
    for ours, theirs in zip(kept, whole, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5), "two ranks add in another order"
    (link,) = newest(tmp_path / "new")["lineage"]
    assert link["global_step"] == 8 and link["samples_continue"]


def test_another_rate_and_another_batch(
    old: Path, tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ("training.optimizer.learning_rate=5e-4", "training.global_batch_size=32")
    with caplog.at_level("INFO"):
        assert train(config(*changes), tokens, tmp_path, continue_from=f"{old}@4")
    assert "training.optimizer.learning_rate was 0.001 and is now 0.0005" in caplog.text
    (link,) = newest(tmp_path)["lineage"]
    assert link["changes"] == {
        "training.global_batch_size": [16, 32],
        "training.optimizer.learning_rate": [1e-3, 5e-4],
    }
    rows = losses(tmp_path, after=0)
    assert [(step, rate, seen) for step, _, rate, seen, _ in rows] == [
        (step, 5e-4, 4 * 16 + (step - 4) * 32) for step in range(5, 9)
    ]


def test_another_corpus_begins_at_its_beginning(old: Path, tokens: Path, tmp_path: Path) -> None:
    grown = write_tokens(tmp_path / "grown", documents=260, vocabulary=tokens.parent / "vocabulary")
    changed = config("training.schedule.total_steps=10")
    assert train(changed, grown, tmp_path / "new", continue_from=str(old))
    record = newest(tmp_path / "new")
    (link,) = record["lineage"]
    assert not link["samples_continue"] and link["consumed_samples"] == 128
    assert record["consumed_samples"] == 32 and record["consumed_tokens"] > link["consumed_tokens"] > 0
    assert record["samples_fingerprint"] != link["checkpoint_sha256"] and link["changes"].keys() == {
        "training.schedule.total_steps"
    }
    other = write_tokens(tmp_path / "other", documents=60)
    with pytest.raises(UserError, match="the vocabulary of these tokens"):
        train(changed, other, tmp_path / "refused", continue_from=str(old))
    assert not (tmp_path / "refused").exists()


def test_a_continued_run_resumes_without_the_old_one_and_can_be_continued(
    old: Path, tokens: Path, tmp_path: Path
) -> None:
    parent, child = tmp_path / "parent", tmp_path / "child"
    shutil.copytree(old, parent)
    changed = config("training.schedule.total_steps=9")
    assert train(changed, tokens, child, continue_from=str(parent))
    for path in complete(child)[1:]:
        shutil.rmtree(path)
    shutil.rmtree(parent)
    assert train(changed, tokens, child, continue_from=str(parent)), "the same command resumes"
    assert train(changed, tokens, child), "or one without the option"
    again = config("training.schedule.total_steps=10")
    with pytest.raises(UserError, match=f"the run there continued {parent} at step 8"):
        train(changed, tokens, child, continue_from=str(old))
    assert train(again, tokens, tmp_path / "grandchild", continue_from=f"{child}@9")
    found = newest(tmp_path / "grandchild")["lineage"]
    assert [(Path(link["run"]).name, link["global_step"]) for link in found] == [("parent", 8), ("child", 9)]
    page = write_report(tmp_path / "grandchild", tmp_path / "page.html").read_text()
    assert "parent" in page and "child" in page


@pytest.mark.fault("the checkpoint to continue from has a flipped bit", "refused in one line")
def test_a_broken_checkpoint_is_not_continued(old: Path, tokens: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path / "old")
    path = complete(tmp_path / "old")[-1] / "state-00000-of-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match="the checkpoint is broken"):
        train(
            config("training.schedule.total_steps=9"),
            tokens,
            tmp_path / "new",
            continue_from=str(tmp_path / "old"),
        )
    assert not complete(tmp_path / "new")


def test_what_cannot_be_continued_is_refused(old: Path, tokens: Path, tmp_path: Path) -> None:
    longer = config("training.schedule.total_steps=12")
    deeper = replace(longer, model=replace(longer.model, num_hidden_layers=3))
    new = tmp_path / "new"
    cases = [
        (config(), str(old), new, "has none left after step 8"),
        (deeper, str(old), new, r"model\.num_hidden_layers was 2 and is now 3"),
        (longer, f"{old}@5", new, "no complete checkpoint of step 5"),
        (longer, str(tmp_path / "none"), new, "no complete checkpoint in"),
        (longer, str(old), old, "never writes into the run"),
        (longer, str(old), old / "new", "never writes into the run"),
    ]
    for settings, source, output, message in cases:
        with pytest.raises(UserError, match=message):
            train(settings, tokens, output, continue_from=source)
    assert not new.exists()
