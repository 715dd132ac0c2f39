"""Which checkpoints go: none that is intact for the sake of a broken one, and none behind a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.config import CheckpointConfig
from biobert_scale.errors import UserError
from biobert_scale.files import read_json, sha256_file, write_json
from biobert_scale.training.checkpoint.commit import commit
from biobert_scale.training.checkpoint.manifest import Verified, problem, read_record, sealed
from biobert_scale.training.checkpoint.retention import (
    check_resume,
    complete,
    incomplete,
    leftovers,
    remove,
    replaced_path,
    staging_path,
    step_of,
    superfluous,
)
from tests.factories import write_checkpoint


def test_a_flipped_bit_of_a_manifest_is_seen(tmp_path: Path) -> None:
    """Nothing but its own checksum covers the samples' fingerprint and the names of the shards, by which a
    resuming run reads the checkpoint or is refused."""
    path = write_checkpoint(tmp_path, 10) / "manifest.json"
    record = {**read_json(path), "samples_fingerprint": "ab12", "shards": ["weights"], "global_step": 10}
    write_json(path, sealed(record))
    assert problem(path.parent) is None and read_record(path.parent) == record
    content, unseen = path.read_bytes(), set()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        if problem(path.parent) is None:
            unseen |= {key for key, value in record.items() if read_record(path.parent).get(key) != value}
    assert not unseen


def damage(checkpoint: Path, how: str) -> None:
    weights = checkpoint / "weights"
    match how:
        case "cut":
            weights.write_bytes(b"x" * 50)
        case "changed":
            weights.write_bytes(b"x" * 100)
        case "lost":
            weights.unlink()
        case "manifest":
            (checkpoint / "manifest.json").write_bytes(b"\xff{")
        case "format":
            write_json(
                checkpoint / "manifest.json", {**read_json(checkpoint / "manifest.json"), "format": 99}
            )


def steps(paths: list[Path]) -> list[int]:
    return [step_of(path) for path in paths]


HOWS = ("cut", "changed", "lost", "manifest", "format")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("broken", "settings", "go"),
    [
        ([60], {"keep_last": 1}, [10, 20, 30, 40]),
        ([60, 50], {"keep_last": 1}, [10, 20, 30]),
        ([60], {"keep_last": 3}, [10, 20]),
        ([40], {"keep_last": 2}, [10, 20, 30, 40]),
        ([40], {"keep_last": 3}, [10, 20, 40]),
        ([10, 20, 30, 40, 50, 60], {"keep_last": 1}, []),
        ([20, 30, 40, 50, 60], {"keep_last": 1}, []),
        ([60], {"keep_last": 1, "keep_every_steps": 20}, [10, 30]),
        ([20], {"keep_last": 1, "keep_best": 1}, [20, 30, 40, 50]),
        ([60, 20], {"keep_last": 1, "keep_best": 1}, [20, 30, 40]),
    ],
)
@pytest.mark.fault(
    "old checkpoints are to be deleted, newer ones are broken: {how}",
    "nothing that is intact is deleted for a broken one",
)
def test_only_what_is_intact_counts_as_kept(
    how: str, broken: list[int], settings: dict[str, int], go: list[int], tmp_path: Path
) -> None:
    """Six checkpoints, whose losses are best at 20 and second best at 10."""
    for step in (10, 20, 30, 40, 50, 60):
        write_checkpoint(tmp_path, step, loss={10: 2.0, 20: 1.0}.get(step, 3.0 + step))
    for step in broken:
        damage(tmp_path / "checkpoints" / f"step-{step:08d}", how)
    assert steps(superfluous(tmp_path, CheckpointConfig(**{"keep_best": 0, **settings}))) == go  # type: ignore[arg-type]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.fault(
    "`checkpoint prune --keep-last 1`, the newest is broken: {how}",
    "the newest intact one stays, the broken one is named",
)
def test_prune_deletes_nothing_for_a_broken_one(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, step)
    damage(tmp_path / "checkpoints" / "step-00000030", how)
    assert main(["checkpoint", "prune", str(tmp_path), "--keep-last", "1"]) == 0
    assert steps(complete(tmp_path)) == [20, 30]
    assert problem(tmp_path / "checkpoints" / "step-00000020") is None
    assert "step-00000030 is broken" in capsys.readouterr().out


def test_files_are_read_only_where_that_decides(tmp_path: Path) -> None:
    asked: list[int] = []

    def trouble(path: Path) -> str | None:
        asked.append(step_of(path))
        return None

    for step in (10, 20, 30, 40):
        write_checkpoint(tmp_path, step)
    superfluous(tmp_path, CheckpointConfig(keep_last=4), trouble=trouble)
    assert asked == []
    superfluous(tmp_path, CheckpointConfig(keep_last=2), trouble=trouble)
    assert asked == [40, 30]


@pytest.mark.fault("a checkpoint is damaged after it was found intact", "read again, found broken")
def test_what_was_found_intact_is_read_again_once_its_files_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path, 10)
    verified = Verified()
    assert verified.trouble(checkpoint) is None
    with monkeypatch.context() as inner:
        inner.setattr(
            "biobert_scale.training.checkpoint.manifest.sha256_file", lambda path: pytest.fail("read again")
        )
        assert verified.trouble(checkpoint) is None
    before = (checkpoint / "weights").stat()
    damage(checkpoint, "changed")
    os.utime(checkpoint / "weights", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert verified.trouble(checkpoint) is not None
    damage(checkpoint, "lost")
    assert verified.trouble(checkpoint) is not None


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), "3.0", [1.0]])
@pytest.mark.fault("the validation loss of a checkpoint is NaN or no number", "not kept as the best")
def test_a_loss_that_is_no_number_is_not_the_best(loss: object, tmp_path: Path) -> None:
    for step, value in ((10, 2.0), (20, loss), (30, 3.0)):
        write_checkpoint(tmp_path, step, loss=value)
    assert steps(superfluous(tmp_path, CheckpointConfig(keep_last=1, keep_best=1))) == [20]


@pytest.mark.fault("two checkpoints have lost their manifests", "deleted only where a newer one is complete")
def test_a_directory_that_lost_its_manifest_goes_once_a_newer_one_is_complete(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoints" / ".step-00000040.part").mkdir()
    for step in (10, 30):
        (tmp_path / "checkpoints" / f"step-{step:08d}" / "manifest.json").unlink()
    assert [path.name for path in leftovers(tmp_path)] == [".step-00000040.part", "step-00000010"]
    assert main(["checkpoint", "prune", str(tmp_path), "--keep-last", "1"]) == 0
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-00000020", "step-00000030"]


@pytest.mark.fault(
    "a checkpoint is a symbolic link to an archive",
    "`prune` removes the link, the archive stays",
)
def test_what_is_behind_a_link_stays(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    kept = write_checkpoint(archive, 10)
    run = tmp_path / "run"
    for step in (20, 30):
        write_checkpoint(run, step)
    (run / "checkpoints" / "step-00000010").symlink_to(kept, target_is_directory=True)
    (run / "checkpoints" / ".step-00000005.part").symlink_to(kept, target_is_directory=True)
    assert main(["checkpoint", "prune", str(run), "--keep-last", "1", "--keep-best", "0"]) == 0
    assert os.listdir(run / "checkpoints") == ["step-00000030"]
    assert problem(kept) is None


@pytest.mark.fault("`checkpoints` itself is a symbolic link", "refused; nothing behind it is deleted")
def test_a_directory_of_checkpoints_that_is_a_link_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path / "archive", step)
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").symlink_to(tmp_path / "archive" / "checkpoints", target_is_directory=True)
    assert main(["checkpoint", "prune", str(run), "--keep-last", "1"]) == 2
    assert "symbolic link" in capsys.readouterr().err
    with pytest.raises(UserError, match="symbolic link"):
        check_resume(run, "auto")
    assert steps(complete(tmp_path / "archive")) == [10, 20, 30]
    (tmp_path / "link").symlink_to(tmp_path / "archive", target_is_directory=True)
    check_resume(tmp_path / "link", "auto")


def staged(final: Path, content: bytes) -> dict[str, object]:
    staging = staging_path(final)
    staging.mkdir()
    (staging / "weights").write_bytes(content)
    record = {"bytes": len(content), "sha256": sha256_file(staging / "weights")}
    return {"stage": "checkpoint", "format": 1, "files": {"weights": record}}


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
@pytest.mark.fault(
    "killed after {dies_at} of the renames of a save whose step is there already",
    "the old or the new checkpoint is there, intact",
)
def test_a_save_of_a_step_that_is_there_leaves_the_old_or_the_new(
    dies_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any of its renames: a checkpoint of the step is there, and the next save succeeds."""

    class Killed(BaseException):
        pass

    calls = 0

    def dying(original: object) -> object:
        def call(*arguments: object) -> object:
            nonlocal calls
            if calls == dies_at:
                raise Killed
            calls += 1
            return original(*arguments)  # type: ignore[operator]

        return call

    final = write_checkpoint(tmp_path, 10)
    record = staged(final, b"new")
    with monkeypatch.context() as inner, pytest.raises(Killed):
        inner.setattr("biobert_scale.training.checkpoint.commit.os.rename", dying(os.rename))
        inner.setattr("biobert_scale.training.checkpoint.commit.remove", dying(remove))
        inner.setattr("biobert_scale.training.checkpoint.commit.sync", dying(lambda path: None))
        commit(staging_path(final), final, record)
        raise Killed
    found = complete(tmp_path)
    assert steps(found) == [10] and problem(found[0]) is None
    for left in incomplete(tmp_path):
        remove(left)
    commit(staging_path(final), final, staged(final, b"newest"))
    assert (final / "weights").read_bytes() == b"newest"
    assert not replaced_path(final).exists() and not incomplete(tmp_path)
