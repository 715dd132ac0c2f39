"""Checkpoints on disk: their files, what is wrong with one, which may go. How runs use them:
`tests/distributed`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biobert_scale.cli import main
from biobert_scale.config import CheckpointConfig
from biobert_scale.errors import UserError
from biobert_scale.files import read_json, sha256_file, write_json
from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.identity import refuse_changes, run_fingerprint
from biobert_scale.training.checkpoint.manifest import FileRecord
from biobert_scale.training.checkpoint.retention import complete, newest_intact, remove, superfluous
from biobert_scale.training.checkpoint.tensor_files import Shards, shard_name, tensor_name, write_shard
from biobert_scale.training.checkpoint.writer import ShardWriter, on_host
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.engine.fragments import KINDS, Fragment, partition
from tests.factories import write_checkpoint


@pytest.mark.fault(
    "the three newest checkpoints changed, cut, and without a file",
    "each is named; the newest intact one is chosen",
    lost="the steps since",
)
def test_a_broken_checkpoint_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third, fourth = (write_checkpoint(tmp_path, step) for step in (1, 2, 3, 4))
    assert newest_intact(tmp_path) == fourth
    (fourth / "weights").write_bytes(b"\x05" * 100)
    (third / "weights").write_bytes(b"\x03" * 99)
    (second / "weights").unlink()
    assert newest_intact(tmp_path) == first
    assert all(words in caplog.text for words in ("step-00000004", "SHA-256", "99 bytes", "missing"))
    (first / "manifest.json").unlink()
    assert newest_intact(tmp_path) is None


@pytest.mark.fault(
    "a save that was killed before its renaming",
    "not taken for a checkpoint",
    lost="the steps since the last save",
)
def test_a_directory_that_was_never_renamed_does_not_count(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 7).rename(tmp_path / "checkpoints" / ".step-00000007.part")
    assert complete(tmp_path) == []


@pytest.mark.fault("a checkpoint of another version's format", "named, not read")
def test_another_version_s_format_is_told_and_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = write_checkpoint(tmp_path, 1)
    write_json(directory / "manifest.json", {**read_json(directory / "manifest.json"), "format": 7})
    assert newest_intact(tmp_path) is None and "format 7" in caplog.text


def test_steps_beyond_eight_digits_are_in_their_order(tmp_path: Path) -> None:
    paths = [write_checkpoint(tmp_path, step) for step in (99_999_999, 100_000_000)]
    assert complete(tmp_path) == paths


def test_the_last_the_best_and_the_milestones_stay(tmp_path: Path) -> None:
    losses = {10: 5.0, 20: 2.0, 30: 4.0, 40: None, 50: 3.0, 60: 3.5}
    for step, loss in losses.items():
        write_checkpoint(tmp_path, step, loss=loss)

    def kept(**settings: int) -> list[int]:
        go = superfluous(tmp_path, CheckpointConfig(**settings))  # type: ignore[arg-type]
        return [int(path.name[5:]) for path in complete(tmp_path) if path not in go]

    assert kept(keep_last=1, keep_best=0) == [60]
    assert kept(keep_last=2, keep_best=1) == [20, 50, 60]
    assert kept(keep_last=1, keep_best=2) == [20, 50, 60]
    assert kept(keep_last=1, keep_best=0, keep_every_steps=30) == [30, 60]
    for path in superfluous(tmp_path, CheckpointConfig(keep_last=1, keep_best=0)):
        remove(path)
    assert [path.name for path in complete(tmp_path)] == ["step-00000060"]


@pytest.mark.fault(
    "a resume with another optimizer setting",
    "refused with the key, the old and the new value",
)
def test_other_settings_are_refused_on_resume(tmp_path: Path) -> None:
    config = load_config("demo")
    write_json(tmp_path / "config.json", config)
    saved = read_json(tmp_path / "config.json")
    refuse_changes(saved, config, where=tmp_path)
    longer = replace(config, training=replace(config.training, log_every_steps=99, micro_batch_size=1))
    refuse_changes(saved, longer, where=tmp_path)
    other = replace(
        config,
        training=replace(config.training, optimizer=replace(config.training.optimizer, betas=(0.9, 0.5))),
    )
    with pytest.raises(
        UserError, match=r"training\.optimizer\.betas was \[0\.9, .*\] and is now \[0\.9, 0\.5\]"
    ):
        refuse_changes(saved, other, where=tmp_path)


def test_a_run_is_told_from_others_by_what_may_not_change() -> None:
    config = load_config("demo")
    own = run_fingerprint(config, "samples")
    assert own == run_fingerprint(
        replace(config, training=replace(config.training, log_every_steps=99, micro_batch_size=1)), "samples"
    )
    from_weights, larger = (
        replace(config.training, initial_weights="bert"),
        replace(config.training, global_batch_size=256),
    )
    others = [
        run_fingerprint(replace(config, training=training), "samples") for training in (from_weights, larger)
    ]
    assert len({own, *others, run_fingerprint(config, "others")}) == 4


def stepped() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 5)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def engine_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> DdpEngine:
    return DdpEngine(
        model,
        optimizer,  # type: ignore[arg-type]
        device=torch.device("cpu"),
        micro_steps=1,
        max_grad_norm=1.0,
    )


def write(directory: Path, fragments: list[Fragment], ranks: int) -> list[str]:
    names = []
    for rank in range(ranks):
        name = shard_name(rank, ranks)
        written = write_shard(
            directory / name,
            on_host(partition(fragments, rank=rank, world_size=ranks), copied=False, buffers={}),
        )
        path = directory / name
        assert written == {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        names.append(name)
    return names


@pytest.mark.parametrize(("written", "read"), [(1, 3), (4, 1), (3, 5), (200, 2)])
def test_any_number_of_ranks_reads_what_any_number_wrote(tmp_path: Path, written: int, read: int) -> None:
    model, optimizer = stepped()
    names = write(tmp_path, engine_of(model, optimizer).local_fragments(), written)
    fresh = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Linear(7, 3))
    other = torch.optim.AdamW(fresh.parameters(), lr=0.1)
    with Shards(tmp_path, names) as shards:
        assert shards.names() == sorted(name for name, _ in model.named_parameters())
        for rank in range(read):
            for fragment in partition(engine_of(fresh, other).local_fragments(), rank=rank, world_size=read):
                shards.fill(fragment)
        assert {name: weights.tolist() for name, weights in shards.weights()} == {
            name: weight.flatten().tolist() for name, weight in model.named_parameters()
        }
    engine_of(fresh, other).refresh_after_load(steps_taken=3)
    for ours, theirs in zip(fresh.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert other.state[ours].keys() == optimizer.state[theirs].keys()
        assert all(
            torch.equal(other.state[ours][kind], optimizer.state[theirs][kind])
            for kind in (*KINDS[1:], "step")
        )
    for one, two in ((fresh, other), (model, optimizer)):  # and the next step is the same
        two.zero_grad()
        one(torch.ones(2, 5)).square().sum().backward()
        two.step()
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(fresh.parameters(), model.parameters(), strict=True)
    )


def test_a_shard_is_a_safetensors_file(tmp_path: Path) -> None:
    tensors = {
        tensor_name("weight", "a.b", 3): torch.arange(5.0),
        tensor_name("exp_avg", "a.b", 3): torch.zeros(0),
    }
    write_shard(tmp_path / "x.safetensors", tensors)
    opened = load_file(tmp_path / "x.safetensors")
    assert opened.keys() == tensors.keys() and torch.equal(opened["weight/a.b@3"], torch.arange(5.0))


@pytest.mark.fault(
    "one rank's file of a checkpoint is not read",
    "refused with the elements that are missing",
)
def test_elements_that_are_in_no_shard_are_named(tmp_path: Path) -> None:
    model, optimizer = stepped()
    names = write(tmp_path, engine_of(model, optimizer).local_fragments(), 2)
    with (
        Shards(tmp_path, names[1:]) as shards,
        pytest.raises(UserError, match=r"elements 0 to \d+ of weight of 0\.weight are in no shard"),
    ):
        shards.fill(engine_of(model, optimizer).local_fragments()[0])


NEVER = pytest.mark.fault("one rank never writes its part of a checkpoint", "not committed; the ranks say so")


@pytest.mark.parametrize("other_comes", [True, pytest.param(False, marks=NEVER)])
def test_a_save_is_committed_once_every_rank_has_written_and_not_before(
    tmp_path: Path, other_comes: bool
) -> None:
    model, optimizer = stepped()
    told: list[dict[str, FileRecord]] = []
    writers = [
        ShardWriter(
            tmp_path,
            on_host(
                partition(engine_of(model, optimizer).local_fragments(), rank=rank, world_size=2),
                copied=True,
                buffers={},
            ),
            rank=rank,
            ranks=2,
            patience=60,
            commit=told.append if rank == 0 else None,
        )
        for rank in range(2)
    ]
    writers[0].start()
    writers[0].join(0.1)
    assert writers[0].is_alive() and not told
    if other_comes:
        writers[1].run()
    writers[0].hurry(60 if other_comes else 0.1)
    assert bool(told) == other_comes and isinstance(writers[0].trouble, TimeoutError) != other_comes
    assert not told or told[0].keys() == {shard_name(rank, 2) for rank in range(2)}


def test_a_copy_does_not_change_with_its_original() -> None:
    model, optimizer = stepped()
    fragments = engine_of(model, optimizer).local_fragments()
    buffers: dict[str, torch.Tensor] = {}
    copies, views = (
        on_host(fragments, copied=True, buffers=buffers),
        on_host(fragments, copied=False, buffers={}),
    )
    before = {name: tensor.clone() for name, tensor in copies.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(copies[name], before[name]) for name in copies)
    assert not all(torch.equal(views[name], before[name]) for name in views)
    again = on_host(engine_of(model, optimizer).local_fragments(), copied=True, buffers=buffers)
    assert all(again[name] is copies[name] and torch.equal(again[name], views[name]) for name in views), (
        "the memory is used again"
    )


def test_the_command_line_lists_verifies_and_prunes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2, 3, 4):
        write_checkpoint(tmp_path, step, loss=step / 2)
    write_checkpoint(tmp_path, 5).rename(tmp_path / "checkpoints" / ".step-00000005.part")
    assert main(["checkpoint", "list", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "step-00000004" in listed and "never finished" in listed and "0.5" in listed
    assert main(["checkpoint", "verify", str(tmp_path)]) == 0
    (tmp_path / "checkpoints" / "step-00000002" / "weights").write_bytes(b"\x00" * 100)
    assert main(["checkpoint", "verify", str(tmp_path)]) == 1
    assert "step-00000002" in (told := capsys.readouterr().out) and "corrupted" in told
    assert (
        main(["checkpoint", "prune", str(tmp_path), "--keep-last", "1", "--keep-best", "1", "--dry-run"]) == 0
    )
    assert len(complete(tmp_path)) == 4 and "step-00000003" in capsys.readouterr().out
    assert main(["checkpoint", "prune", str(tmp_path), "--keep-last", "1", "--keep-best", "1"]) == 0
    assert [
        path.name
        for path in (tmp_path / "checkpoints").iterdir()
        if not path.name.startswith("step-00000004")
    ] == ["step-00000001"]
    assert main(["checkpoint", "verify", str(tmp_path / "nowhere")]) == 2
