"""Pushes a release to a model hub: all files in one commit, or none.

Large files are stored first and belong to no version of the repository until the commit names them, so that
what breaks off leaves the repository as it was. After every failure, and at the end, the repository itself is
asked what it holds.

Source of the interface: huggingface_hub's `HfApi`. Its `upload_folder` promises no single commit: where
`hf_xet` is installed it makes several, through a storage service that other hubs do not have.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from biobert_scale.errors import RunFailed, UserError
from biobert_scale.release.checksums import CHECKSUMS, verify_checksums

_log = logging.getLogger(__name__)
_ATTEMPTS = 5
_TRANSIENT = frozenset({0, 408, 409, 412, 429, 500, 502, 503, 504})
"""Answers that another attempt may change; 0 means none, 412 for another commit that came first."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where a release goes."""

    repository: str
    """`owner/name`."""
    endpoint: str = ""
    """The hub's address; empty for huggingface_hub's own choice (its default, or HF_ENDPOINT). An address
    that is given is spoken to in plain HTTP and git LFS, which every such hub understands."""
    revision: str = ""
    """A branch, made where it is missing; empty for the main one."""
    private: bool = False
    """Make a new repository private. One that is there stays what it is."""
    wait_seconds: float = 1.0
    """Before the second attempt; twice as long before each further one."""


def push_release(directory: Path, hub: Hub) -> str:
    """Push every file of a release in one commit, and check that the hub holds them.

    Files that are there already are not sent again; a repository that holds all of them gets no commit. Other
    files of the repository stay, and are named in the log.

    Returns:
        The address of the repository at the commit.

    Raises:
        UserError: no token, one that may not write there, a name that is none, or a release that does not
            meet its checksums.
        RunFailed: the hub failed again and again; the message says what the repository holds now.
    """
    token = token_for(hub)
    digests = verify_checksums(directory)
    files = [directory / name for name in (*sorted(digests), CHECKSUMS)]
    api = HfApi(endpoint=hub.endpoint or None, token=token)
    make = partial(api.create_repo, hub.repository, private=hub.private or None, exist_ok=True)
    _attempt(make, hub, "nothing was pushed")
    if hub.revision:
        branch = partial(api.create_branch, hub.repository, branch=hub.revision, exist_ok=True)
        _attempt(branch, hub, "nothing was pushed")
    before = _attempt(lambda: _holding(api, hub), hub, "nothing was pushed")
    if others := sorted(before.files.keys() - {path.name for path in files} - {".gitattributes"}):
        _log.warning(
            "%s also holds files that are no part of this release: %s", hub.repository, ", ".join(others)
        )
    commit = before.commit if _lacking(before, files) == [] else _commit(api, hub, files, before)
    return f"{api.endpoint}/{hub.repository}/tree/{commit}"


@dataclass(frozen=True, kw_only=True)
class _Holding:
    """What a repository holds: its newest commit, and each file's id (SHA-256 of a large file, git's SHA-1 of
    another)."""

    commit: str
    files: dict[str, str]


def _holding(api: HfApi, hub: Hub) -> _Holding:
    info: Any = api.repo_info(hub.repository, revision=hub.revision or None, files_metadata=True)
    return _Holding(
        commit=info.sha or "",
        files={file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or []},
    )


def _lacking(holding: _Holding, files: list[Path]) -> list[str]:
    """The files that a repository does not hold as they are here."""
    held = holding.files
    return [path.name for path in files if path.name not in held or held[path.name] not in _ids(path)]


def _ids(path: Path) -> tuple[str, str]:
    large, small = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 22):
            large.update(chunk)
            small.update(chunk)
    return large.hexdigest(), small.hexdigest()


def _commit(api: HfApi, hub: Hub, files: list[Path], before: _Holding) -> str:
    """Commit the files on top of what was there; a commit whose answer was lost is found again instead of
    made twice."""

    def send() -> str:
        if (now := _holding(api, hub)).commit != before.commit and not _lacking(now, files):
            return now.commit
        with ExitStack() as opened:
            # huggingface_hub sends open files in plain HTTP and paths through its own storage network.
            operations = []
            for path in files:
                content = opened.enter_context(open(path, "rb")) if hub.endpoint else path
                operations.append(CommitOperationAdd(path.name, content))
            done = api.create_commit(
                hub.repository,
                operations,
                commit_message="Upload the release",
                revision=hub.revision or None,
                parent_commit=now.commit or None,
            )
            return done.oid

    def state() -> str:
        return _state(api, hub, files, before)

    commit = _attempt(send, hub, state)
    if missing := _attempt(lambda: _lacking(_holding(api, hub), files), hub, state):
        what = f"the hub answered that all is there, and lacks {', '.join(missing)}"
        raise RunFailed(what, where=hub.repository, remedy="push it again")
    return commit


def token_for(hub: Hub) -> str:
    """What shows the hub who is pushing.

    Raises:
        UserError: there is none, or the hub's address is none.
    """
    if hub.endpoint and not hub.endpoint.startswith(("http://", "https://")):
        remedy = "give one that begins with https:// or http://"
        raise UserError(f"'{hub.endpoint}' is no address", where="--endpoint", remedy=remedy)
    token = get_token()
    if not token:
        where, remedy = hub.endpoint or hub.repository, "set HF_TOKEN, or run `hf auth login`"
        raise UserError("no token for the hub", where=where, remedy=remedy)
    return token


def _state(api: HfApi, hub: Hub, files: list[Path], before: _Holding) -> str:
    """What became of a push that failed, asked of the hub itself."""
    try:
        now = _holding(api, hub)
    except (HfHubHTTPError, httpx2.HTTPError, OSError):
        return "whether the commit arrived could not be asked"
    if not _lacking(now, files):
        return "yet the repository holds every file of the release"
    if now.commit == before.commit:
        return "nothing was pushed: the repository is as it was"
    return f"somebody else's commit {now.commit[:8]} came in between, and nothing of the release is in it"


def _attempt(work: Callable[[], _Answer], hub: Hub, state: str | Callable[[], str]) -> _Answer:
    """Ask the hub, again where it is busy or out of reach.

    Args:
        state: what to say of the repository where it all fails.
    """
    for number in range(1, _ATTEMPTS + 1):
        try:
            return work()
        except HFValidationError:
            remedy = "give OWNER/NAME, of letters, digits, '-', '_' and '.'"
            raise UserError("not a repository's name", where=hub.repository, remedy=remedy) from None
        except (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError) as error:
            # The library wraps what its upload threads meet in a RuntimeError.
            cause = (error.__cause__ or error) if isinstance(error, RuntimeError) else error
            if not isinstance(cause, HfHubHTTPError | httpx2.HTTPError | ConnectionError):
                raise
            code = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
            if number == _ATTEMPTS or code not in _TRANSIENT:
                raise _refusal(cause, code, hub, state if isinstance(state, str) else state()) from None
            wait = hub.wait_seconds * 2 ** (number - 1)
            _log.warning("the hub %s; trying again in %.0f s", _said(cause, code), wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _refusal(cause: BaseException, code: int, hub: Hub, remark: str) -> UserError:
    where = f"{hub.endpoint}/{hub.repository}" if hub.endpoint else hub.repository
    if code in _TRANSIENT:
        what = f"the hub {_said(cause, code)} at {_ATTEMPTS} attempts; {remark}"
        return RunFailed(what, where=where, remedy="run the same command again later")
    if code in (401, 403, 404):  # a hub hides what a token may not see
        remedy = "use a token that may write there, and check the name"
        return UserError(f"the hub refuses the token ({code}); {remark}", where=where, remedy=remedy)
    return RunFailed(f"the hub {_said(cause, code)}; {remark}", where=where, remedy="see what it says")


def _said(cause: BaseException, code: int) -> str:
    first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if not code:
        return f"is out of reach ({first})"
    return f"answers {code}" if code in _TRANSIENT else f"refuses ({first})"
