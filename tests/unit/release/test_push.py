"""Pushes to a real server on this machine: everything in one commit, or nothing, and the message says
which."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModel

from biobert_scale.cli import main
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.release.checksums import write_checksums
from biobert_scale.release.push import Hub, push_release
from tests.factories import write_model
from tests.hub_server import TOKEN, HubServer, serving

NAME = "lab/made-up-bert"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_model(tmp_path_factory.mktemp("release"))
    (directory / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# Made up\n")
    write_checksums(directory)
    return directory


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as started:
        yield started


def hub(server: HubServer, *, private: bool = False, repository: str = NAME) -> Hub:
    return Hub(repository=repository, endpoint=server.url, private=private, wait_seconds=0.0)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_push_is_one_commit_with_every_file_and_the_model_opens_from_the_hub(
    release: Path, server: HubServer, tmp_path: Path
) -> None:
    address = push_release(release, hub(server, private=True))
    repository = server.repositories[NAME]
    assert (
        len(repository.commits) == 2
        and repository.private
        and address.endswith(f"/{NAME}/tree/{repository.oid()}")
    )
    assert {
        name: content for name, content in repository.files.items() if name != ".gitattributes"
    } == contents(release)
    code = (
        f"from transformers import AutoModel; m = AutoModel.from_pretrained('{NAME}');"
        " print(m.embeddings.word_embeddings.weight.double().sum().item())"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
    }
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    expected = AutoModel.from_pretrained(release).embeddings.word_embeddings.weight.double().sum().item()
    assert loaded.returncode == 0 and float(loaded.stdout) == pytest.approx(expected, abs=1e-12), (
        loaded.stderr[-2000:]
    )
    assert expected != 0 and torch.isfinite(torch.tensor(expected))


def test_what_is_there_is_not_sent_again(release: Path, server: HubServer) -> None:
    server.tells_ids = False
    first = push_release(release, hub(server))
    before = server.asked("/store/")
    assert push_release(release, hub(server)) == first
    assert len(server.repositories[NAME].commits) == 2 and server.asked("/store/") == before == 1


def test_without_a_token_nothing_is_asked(
    release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"no token for the hub: .*; set HF_TOKEN"):
        push_release(release, hub(server))
    assert not server.requests


def test_what_a_push_needs_is_asked_before_the_export(
    release: Path,
    server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["export", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--push", NAME]
    assert main([*command, "--endpoint", "localhost:1"]) == 2 and "is no address" in capsys.readouterr().err
    monkeypatch.delenv("HF_TOKEN")
    assert main(command) == 2 and "no token for the hub" in capsys.readouterr().err
    assert not server.requests and not (tmp_path / "out").exists()


def test_a_wrong_token_and_a_wrong_name_are_told(
    release: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="not a repository's name"):
        push_release(release, hub(server, repository="no//name"))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"refuses the token \(401\); nothing was pushed"):
        push_release(release, hub(server))
    assert not server.repositories


@pytest.mark.parametrize("place", ["create", "preupload", "commit"])
@pytest.mark.fault("the hub answers 503 at {place}", "asked again; one commit")
def test_a_busy_hub_is_asked_again(release: Path, server: HubServer, place: str) -> None:
    server.faults[place] = deque([503])
    push_release(release, hub(server))
    assert len(server.repositories[NAME].commits) == 2


@pytest.mark.fault(
    "the hub answers 500 to every commit",
    "the repository is as it was, and the message says so",
)
def test_a_hub_that_stays_broken_leaves_the_repository_as_it_was_and_the_message_says_so(
    release: Path, server: HubServer
) -> None:
    server.faults["/commit/"] = deque([500] * 5)
    with pytest.raises(
        RunFailed, match="answers 500 at 5 attempts; nothing was pushed: the repository is as it was"
    ):
        push_release(release, hub(server))
    assert len(server.repositories[NAME].commits) == 1 and server.stored, (
        "the weights were stored, and no commit names them"
    )
    push_release(release, hub(server))
    assert server.asked("/store/") == 1 and len(server.repositories[NAME].commits) == 2


@pytest.mark.fault("the answer to a commit is lost", "not made twice")
def test_a_commit_whose_answer_is_lost_is_not_made_twice(release: Path, server: HubServer) -> None:
    server.tells_ids = False  # else huggingface_hub itself leaves out what is there
    server.faults["/commit/"] = deque(["lose"])
    push_release(release, hub(server))
    assert len(server.repositories[NAME].commits) == 2 and server.asked("/commit/") == 1


@pytest.mark.fault("somebody else's commit in between", "both are kept")
def test_somebody_else_s_commit_in_between_is_kept(release: Path, server: HubServer) -> None:
    server.faults["/commit/"] = deque(["stranger"])
    push_release(release, hub(server))
    files = server.repositories[NAME].files
    assert files["stranger.txt"] == b"1" and contents(release).items() <= files.items()


@pytest.mark.fault("the hub is out of reach", "one line: nothing was pushed")
def test_a_hub_that_is_out_of_reach_is_told(release: Path, server: HubServer) -> None:
    server.faults["/api/"] = deque(["lose"] * 5)
    with pytest.raises(RunFailed, match=r"out of reach .* at 5 attempts; nothing was pushed"):
        push_release(release, hub(server))


@pytest.mark.fault("a file of a release added, changed or missing before a push", "refused by its checksums")
def test_a_release_that_was_changed_is_not_pushed(release: Path, server: HubServer, tmp_path: Path) -> None:
    for name, content in contents(release).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "vocab.txt").write_bytes(b"one more\n")
    with pytest.raises(UserError, match=r"not listed: .*vocab\.txt"):
        push_release(tmp_path, hub(server))
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(UserError, match="damaged"):
        push_release(tmp_path, hub(server))
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"missing: .*config.json"):
        push_release(tmp_path, hub(server))
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="no checksums"):
        push_release(tmp_path, hub(server))
    assert not server.requests
