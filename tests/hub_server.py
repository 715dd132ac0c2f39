"""A real HTTP server on this machine that speaks the part of a model hub's interface that pushing and loading
a model need.

Source of the interface: huggingface_hub's `HfApi`, `_commit_api` and `lfs`, and git-lfs' batch interface.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

import yaml

from tests.http_server import Handler, running

TOKEN = "hf_made_up"


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(
        default_factory=lambda: [{".gitattributes": b"*.safetensors filter=lfs\n"}]
    )
    """Of the main branch, each with all files."""
    branches: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    """The same of the others."""

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    def on(self, revision: str) -> list[dict[str, bytes]]:
        """The commits up to a branch's end, or to a commit."""
        for commits in (self.commits, *self.branches.values()):
            for number, files in enumerate(commits, start=1):
                if _oid(files) == revision:
                    return commits[:number]
        return self.branches.get(revision, self.commits)

    def oid(self) -> str:
        return _oid(self.files)


def _oid(files: dict[str, bytes]) -> str:
    contents = sorted((name, hashlib.sha1(content).hexdigest()) for name, content in files.items())
    return hashlib.sha1(repr(contents).encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        """Large files by SHA-256, whether a commit names them or not."""
        self.faults: dict[str, deque[int | str]] = defaultdict(deque)
        """By a word of the path: a status to answer with, `lose` (do it and cut the line), or `stranger`
            (somebody else commits first)."""
        self.requests: list[tuple[str, str]] = []
        self.tells_ids = True
        """Whether it tells a client what it holds of a file before the client sends it, as not every hub
        does."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, word: str) -> int:
        return sum(word in path for _, path in self.requests)


class _Handler(Handler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._serve(self._body())

    do_PUT = do_POST

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self, body: bytes) -> None:
        path = urlparse(self.path).path
        self.server.requests.append((self.command, path))
        fault = next(
            (faults.popleft() for word, faults in self.server.faults.items() if word in path and faults), None
        )
        if isinstance(fault, int):
            return self._answer(fault, {"error": "made up"})
        if path.startswith("/api/") and self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid credentials"})
        if fault == "stranger":
            for repository in self.server.repositories.values():
                repository.commits.append(
                    {**repository.files, "stranger.txt": b"%d" % len(repository.commits)}
                )
        for pattern, handle in _ROUTES:
            if match := re.fullmatch(pattern, path):
                result = handle(self.server, *match.groups(), body)
                if fault == "lose":
                    self.close_connection = True
                    return self.connection.close()
                return self._answer(*result)
        self._answer(404, {"error": "no such page"})

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _create(server: HubServer, body: bytes) -> tuple[int, Any]:
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    answer = {"url": f"{server.url}/{name}"}
    if name in server.repositories:
        return 409, answer
    server.repositories[name] = Repository(private=asked.get("visibility") == "private")
    return 200, answer


def _branch(server: HubServer, name: str, revision: str, body: bytes) -> tuple[int, Any]:
    repository = server.repositories[name]
    if revision in repository.branches:
        return 409, {"error": "Reference already exists"}
    repository.branches[revision] = [repository.files]
    return 200, {}


def _info(server: HubServer, name: str, revision: str | None, body: bytes) -> tuple[int, Any]:
    if name not in server.repositories:
        return 404, {"error": "Repository not found"}
    files = server.repositories[name].on(revision or "main")[-1]
    siblings = [_sibling(*item) for item in files.items()]
    return 200, {"id": name, "sha": _oid(files), "siblings": siblings}


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    large = (
        {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
        if path.endswith(".safetensors")
        else {}
    )
    return {
        "rfilename": path,
        "size": len(content),
        "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        **large,
    }


def _validate(server: HubServer, body: bytes) -> tuple[int, Any]:
    text = json.loads(body)["content"]
    metadata = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else None
    return (
        (200, {"errors": [], "warnings": []})
        if isinstance(metadata, dict)
        else (400, {"errors": [{"message": "no metadata"}]})
    )


def _preupload(server: HubServer, name: str, revision: str, body: bytes) -> tuple[int, Any]:
    files = server.repositories[name].on(revision)[-1]
    answers = []
    for file in json.loads(body)["files"]:
        large = file["path"].endswith(".safetensors")
        known = _sibling(file["path"], files[file["path"]]) if file["path"] in files else {}
        oid = known["lfs"]["sha256"] if "lfs" in known else known.get("blobId")
        answers.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                **({"oid": oid} if server.tells_ids else {}),
            }
        )
    return 200, {"files": answers}


def _batch(server: HubServer, name: str, body: bytes) -> tuple[int, Any]:
    objects = []
    for wanted in json.loads(body)["objects"]:
        actions = {
            "upload": {"href": f"{server.url}/store/{wanted['oid']}"},
            "verify": {"href": f"{server.url}/verify/{wanted['oid']}"},
        }
        objects.append(
            {
                "oid": wanted["oid"],
                "size": wanted["size"],
                **({} if wanted["oid"] in server.stored else {"actions": actions}),
            }
        )
    return 200, {"transfer": "basic", "objects": objects}


def _store(server: HubServer, oid: str, body: bytes) -> tuple[int, Any]:
    if hashlib.sha256(body).hexdigest() != oid:
        return 400, {"error": "the content is another"}
    server.stored[oid] = body
    return 200, {}


def _verify(server: HubServer, oid: str, body: bytes) -> tuple[int, Any]:
    return (
        (200, {})
        if len(server.stored.get(oid, b"")) == json.loads(body)["size"]
        else (404, {"error": "not stored"})
    )


def _commit(server: HubServer, name: str, revision: str, body: bytes) -> tuple[int, Any]:
    commits, files = server.repositories[name].on(revision), {}
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        match line["key"]:
            case "header":
                if value.get("parentCommit", _oid(commits[-1])) != _oid(commits[-1]):
                    return 412, {"error": "A commit has happened since. Please refresh and try again."}
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = server.stored[value["oid"]]
    commits.append({**commits[-1], **files})
    oid = _oid(commits[-1])
    return 200, {"commitUrl": f"{server.url}/{name}/commit/{oid}", "commitOid": oid}


def _resolve(
    server: HubServer, name: str, revision: str, path: str, body: bytes
) -> tuple[int, Any, dict[str, str]]:
    files = server.repositories[name].on(revision)[-1]
    headers = {"X-Repo-Commit": _oid(files)}
    if path not in files:
        return 404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"}
    content = files[path]
    headers |= {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "none"}
    return 200, content, headers


def _tree(server: HubServer, name: str, revision: str, body: bytes) -> tuple[int, Any]:
    files = server.repositories[name].on(revision)[-1]
    return 200, [
        {"type": "file", "path": path, "size": len(content), "oid": _sibling(path, content)["blobId"]}
        for path, content in files.items()
    ]


_NAME, _REVISION = r"([\w.-]+/[\w.-]+)", r"([\w.-]+)"
_ROUTES: list[tuple[str, Any]] = [
    (r"/api/repos/create", _create),
    (r"/api/validate-yaml", _validate),
    (rf"/api/models/{_NAME}/branch/{_REVISION}", _branch),
    (rf"/api/models/{_NAME}/preupload/{_REVISION}", _preupload),
    (rf"/api/models/{_NAME}/commit/{_REVISION}", _commit),
    (rf"/api/models/{_NAME}/tree/{_REVISION}", _tree),
    (rf"/api/models/{_NAME}(?:/revision/{_REVISION})?", _info),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", _batch),
    (r"/store/(\w+)", _store),
    (r"/verify/(\w+)", _verify),
    (rf"/{_NAME}/resolve/{_REVISION}/(.+)", _resolve),
]


@contextmanager
def serving() -> Iterator[HubServer]:
    with running(HubServer()) as server:
        yield server
