"""A run's checkpoints in object storage, against a real S3 server that fails as servers do: training goes on,
and an empty directory resumes from what is whole there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from biobert_scale.cli import main
from biobert_scale.config import CheckpointConfig, Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import sha256_file
from biobert_scale.object_store import ObjectStore
from biobert_scale.recipes import change_settings, structure_config
from biobert_scale.report.status import read_status
from biobert_scale.training.checkpoint import mirror as mirrors
from biobert_scale.training.checkpoint.mirror import Mirror, read_mirror_state
from biobert_scale.training.checkpoint.mirrored import bring, look
from biobert_scale.training.checkpoint.retention import complete, step_of
from biobert_scale.training.monitor.guards import read_events
from biobert_scale.training.monitor.telemetry import read_metrics
from biobert_scale.training.run import train
from tests.factories import TINY
from tests.launching import column, last_state
from tests.s3_server import BUCKET, PmcBucket, Proxy, serving

ADDRESS = f"s3://{BUCKET}/runs/one"


def config(*changes: str) -> Config:
    """The tiny recipe with checkpoints of steps 2, 4, 6 and 8, of which two are kept, and a mirror."""
    own = ("training.engine.name=ddp", "training.trackers=[]", "training.validation.every_steps=100")
    kept = ("training.checkpoint.every_steps=2", f"training.checkpoint.mirror={ADDRESS}")
    settings = structure_config(TINY, where="a test")
    return change_settings(settings, [*own, *kept, *changes], where="a test")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PmcBucket, Proxy]]:
    """An empty bucket behind a proxy, and the environment that leads there."""
    monkeypatch.setattr(mirrors, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(mirrors, "_LONGEST_WAIT_SECONDS", 0.05)
    with serving() as (bucket, proxy):
        for name, value in proxy.account.items():
            monkeypatch.setenv(name, value)
        yield bucket, proxy


@pytest.fixture(scope="module")
def undisturbed(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without a mirror."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert train(config("training.checkpoint.mirror="), tokens, run)
    return run


def whole() -> list[int]:
    return sorted(look(ObjectStore(ADDRESS)).whole)


def forget(bucket: PmcBucket, step: int) -> None:
    for key in [key for key in bucket.backend.buckets[BUCKET].keys if f"step-{step:08d}" in key]:
        bucket.remove_key(key)


def flip(bucket: PmcBucket, step: int, name: str) -> None:
    """Change a bit of an object, whose size stays."""
    key = f"runs/one/step-{step:08d}/{name}"
    content = bucket.read(key)
    bucket.put(key, content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


def same_end(run: Path, other: Path) -> bool:
    ours, theirs = last_state(run), last_state(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def losses(run: Path) -> list[tuple[object, ...]]:
    return column(read_metrics(run), "train/loss", "optim/grad_norm", "consumed_samples")


def mirrored(run: Path, *, patience: float = 60, **settings: int) -> None:
    """Upload what a run directory has."""
    chosen = {"keep_last": 2, "keep_best": 0, **settings}
    mirror = Mirror(run, CheckpointConfig(mirror=ADDRESS, **chosen))  # type: ignore[arg-type]
    mirror.start()
    mirror.close(patience=patience)


def test_a_fresh_machine_resumes_from_the_mirror_alone(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    bucket, _ = service
    assert train(config(), tokens, tmp_path / "run")
    state = read_mirror_state(tmp_path / "run")
    assert state is not None and state["newest"] == 8 and not state["behind"] and not state["trouble"]
    assert whole() == [6, 8], "pruned by the rules of the run directory"
    assert "whole up to step-00000008" in read_status(tmp_path / "run").mirror
    forget(bucket, 8)
    assert train(config(), tokens, tmp_path / "fresh")
    assert losses(tmp_path / "fresh") == losses(undisturbed), "the records came along"
    assert same_end(tmp_path / "fresh", undisturbed)
    assert whole() == [6, 8]


@pytest.mark.slow
@pytest.mark.fault(
    "{fault}",
    "the run ends as if undisturbed; the mirror is reported as behind, in events and status; a later start"
    " uploads, and an empty directory resumes from the mirror alone, to the bit",
)
@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("the mirror's server dies in the middle of an upload", "down"),
        ("the mirror's disk is full", "full"),
    ],
)
def test_a_mirror_that_fails_costs_the_run_nothing(
    fault: str,
    answer: str,
    service: tuple[PmcBucket, Proxy],
    undisturbed: Path,
    tokens: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket, proxy = service
    monkeypatch.setattr("biobert_scale.training.checkpoint.checkpoints.FINISHED_SECONDS", 0.5)
    puts: list[str] = []

    def fails(key: str, number: int) -> str:
        if key.startswith("PUT"):
            puts.append(key)
        return answer if len(puts) >= 2 else ""

    proxy.fault = fails
    run = tmp_path / "run"
    assert train(config(), tokens, run)
    assert losses(run) == losses(undisturbed) and same_end(run, undisturbed)
    assert "the mirror is behind" in caplog.text and "lacks: step-00000006, step-00000008" in caplog.text
    assert [event["kind"] for event in read_events(run)[0]] == ["mirror behind"]
    assert "behind by 2" in read_status(run).mirror
    proxy.fault = lambda key, number: ""
    assert whole() == []
    mirrored(run)
    assert whole() == [6, 8]
    assert [event["kind"] for event in read_events(run)[0]] == ["mirror behind"]
    forget(bucket, 8)
    assert train(config(), tokens, tmp_path / "fresh")
    assert losses(tmp_path / "fresh") == losses(undisturbed) and same_end(tmp_path / "fresh", undisturbed)


@pytest.mark.slow
def test_a_mirror_that_recovers_catches_up(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    _, proxy = service
    proxy.fault = lambda key, number: "down" if key.startswith("PUT") and number < 6 else ""
    run = shutil.copytree(undisturbed, tmp_path / "run")
    mirrored(run)
    assert whole() == [6, 8]
    assert [event["kind"] for event in read_events(run)[0]] == ["mirror behind", "mirror caught up"]
    state = read_mirror_state(run)
    assert state is not None and not state["trouble"] and not state["behind"]


@pytest.mark.fault(
    "an object of the newest mirrored checkpoint has a flipped bit ({name})",
    "found by its checksum, named; the checkpoint before it is fetched",
    lost="the steps since",
)
@pytest.mark.parametrize(
    "name", ["state-00000-of-00001.safetensors", "config.json", "manifest.json", "mirror.json"]
)
def test_a_corrupted_object_is_passed_over(
    name: str,
    service: tuple[PmcBucket, Proxy],
    undisturbed: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket, _ = service
    mirrored(undisturbed)
    flip(bucket, 8, name)
    assert bring(tmp_path, config())
    assert [step_of(path) for path in complete(tmp_path)] == [6]
    assert "step-00000008 in the mirror is passed over" in caplog.text and name in caplog.text
    (before,) = (path for path in complete(undisturbed) if step_of(path) == 6)
    for path in before.iterdir():
        assert sha256_file(complete(tmp_path)[0] / path.name) == sha256_file(path)


@pytest.mark.fault(
    "every mirrored checkpoint is damaged, or the mirror cannot be reached, and the run directory is empty",
    "refused in one line: to begin anew would not be resuming",
)
def test_an_empty_directory_does_not_begin_anew_beside_a_mirror(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    bucket, proxy = service
    mirrored(undisturbed)
    flip(bucket, 8, "manifest.json")
    bucket.remove_key("runs/one/step-00000006/trainer_state.json")
    with pytest.raises(RunFailed, match="none of 2 checkpoint"):
        bring(tmp_path, config())
    proxy.fault = lambda key, number: "down"
    with pytest.raises(RunFailed, match=r"without training\.checkpoint\.mirror"):
        bring(tmp_path, config())
    run = shutil.copytree(undisturbed, tmp_path / "run")
    assert not bring(run, config()), "a run that has checkpoints needs no mirror"


def test_what_the_mirror_has_and_the_command_does_not_allow_is_refused(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        bring(tmp_path, config(), resume="must")
    mirrored(undisturbed)
    with pytest.raises(UserError, match="the mirror has checkpoints up to step 8"):
        bring(tmp_path, config(), resume="never")
    with pytest.raises(UserError, match="another run: seed was 1 and is now 2"):
        bring(tmp_path, config("seed=2"))
    with pytest.raises(UserError, match="another run: a run is there"):
        bring(tmp_path, config(), continue_from=str(undisturbed))
    assert not complete(tmp_path)


def test_an_upload_without_its_marker_is_no_checkpoint_and_is_finished(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    bucket, _ = service
    mirrored(undisturbed)
    bucket.remove_key("runs/one/step-00000008/mirror.json")
    assert whole() == [6]
    mirrored(undisturbed)
    assert whole() == [6, 8]


def test_a_checkpoint_that_was_being_replaced_is_uploaded(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    """A crash between two renamings leaves the only whole one under another name."""
    run = shutil.copytree(undisturbed, tmp_path / "run")
    newest = complete(run)[-1]
    newest.rename(newest.with_name(f".{newest.name}.old"))
    mirrored(run)
    assert whole() == [6, 8]


def test_a_store_that_loses_what_it_took_is_reported(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    bucket, proxy = service
    run = shutil.copytree(undisturbed, tmp_path / "run")

    def loses(key: str, number: int) -> str:
        if "list-type" in key and "step-" not in key:
            forget(bucket, 8)
        return ""

    proxy.fault = loses
    mirrored(run, patience=3)
    state = read_mirror_state(run)
    assert state is not None and state["trouble"] == "what was sent is not there" and 8 in state["behind"]


def test_milestones_stay_and_what_nobody_finishes_goes(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    bucket, _ = service
    run = shutil.copytree(undisturbed, tmp_path / "run")
    mirrored(run)
    shutil.rmtree(complete(run)[0])
    bucket.put("runs/one/step-00000002/weights", b"of an upload that was interrupted")
    mirrored(run, keep_last=1, keep_every_steps=3)
    assert whole() == [6, 8], "6 is a milestone, and is kept after it is gone from the run directory"
    assert not any("step-00000002" in key for key in bucket.backend.buckets[BUCKET].keys)
    mirrored(run, keep_last=1)
    assert whole() == [8]


@pytest.mark.fault("a file of a checkpoint is damaged before its upload", "not uploaded, and named")
def test_a_damaged_checkpoint_is_not_uploaded(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    path = complete(run)[-1] / "trainer_state.json"
    path.write_bytes(path.read_bytes().replace(b"8", b"9"))
    mirrored(run)
    assert whole() == [6]
    (event,) = read_events(run)[0]
    assert "step-00000008 is not uploaded: trainer_state.json is corrupted" in event["what"]


def test_a_checkpoint_that_is_saved_again_replaces_the_other(
    service: tuple[PmcBucket, Proxy], undisturbed: Path, tokens: Path, tmp_path: Path
) -> None:
    mirrored(undisturbed)
    run = tmp_path / "run"
    assert train(config("training.checkpoint.mirror=", "training.checkpoint.keep_last=3"), tokens, run)
    mirrored(run)
    there = look(ObjectStore(ADDRESS)).whole
    for path in complete(run)[-2:]:
        digest = sha256_file(path / "manifest.json")
        assert there[step_of(path)]["files"]["manifest.json"]["sha256"] == digest


def test_a_checkpoint_is_not_deleted_while_it_is_uploaded(
    service: tuple[PmcBucket, Proxy], tokens: Path, tmp_path: Path
) -> None:
    """Also an upload that takes longer than the checkpoint would have been kept ends."""
    _, proxy = service
    run = tmp_path / "run"
    held: list[tuple[str, list[str]]] = []

    def waits(key: str, number: int) -> str:
        if not held and key.startswith("PUT") and "/state-" in key:
            uploaded, last = key.split("/")[2], "step-00000008"
            while last not in (names := {path.name for path in complete(run)}) or names - {uploaded, last}:
                time.sleep(0.01)
            held.append((uploaded, sorted(names)))
        return ""

    proxy.fault = waits
    assert train(config("training.checkpoint.keep_last=1", "training.checkpoint.keep_best=0"), tokens, run)
    ((uploaded, names),) = held
    assert names == sorted({uploaded, "step-00000008"})
    assert whole() == [8]


def test_a_run_directory_in_object_storage_is_refused_with_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--tokens", "tokens", "--output", "s3://bucket/run"]) == 2
    error = capsys.readouterr().err
    assert "training.checkpoint.mirror" in error and error.count("\n") == 1


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket", "s3:/bucket/run", "s3://Bucket/run"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="no address of object storage"):
        CheckpointConfig(mirror=address)
