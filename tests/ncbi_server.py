"""A real HTTP server on this machine with NCBI's layout, made-up but valid files, and every way of failing
that a mirror meets."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import tarfile
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import ThreadingHTTPServer

from tests.http_server import Handler, running

MADE = 1_700_000_000
"""Last-Modified of every file that no test touches, in seconds since 1970."""


@dataclass
class Fault:
    """What one GET of a path meets instead of the plain answer."""

    drop_after: int | None = None
    """Cut the connection after so many bytes of the body."""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Other content."""
    ignore_range: bool = False
    hold_after: int | None = None
    """Stop sending after so many bytes of the body until the server is told to go on."""


@dataclass
class Seen:
    """One request, and what was sent of a body."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


class NcbiServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.modified: dict[str, int] = {}
        self.etags = True
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.always: dict[str, Fault] = {}
        self.before_get: Callable[[str], None] = lambda path: None
        self.requests: list[Seen] = []
        self.active = self.most_active = 0
        self.lock, self.go_on = threading.Lock(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add_medline(self, path: str, *pmids: int, filler: int = 0) -> bytes:
        """A MEDLINE file and its `.md5`; `filler` bytes make it long."""
        self.files[path] = medline(*pmids, filler=filler)
        self.state_md5(path)
        return self.files[path]

    def state_md5(self, path: str) -> None:
        name, digest = path.rsplit("/", 1)[1], hashlib.md5(self.files[path]).hexdigest()
        self.files[f"{path}.md5"] = f"MD5({name})= {digest}\n".encode()

    def add_package(self, path: str, *pmcids: int, filler: int = 0) -> bytes:
        """A PMC package and its file list."""
        self.files[f"{path}.tar.gz"] = package(*pmcids, filler=filler)
        rows = "".join(
            f"xml/PMC{number}.xml,PMC{number},2024-01-02 03:04:05,,CC BY,no\n" for number in pmcids
        )
        listed = f"Article File,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted\n{rows}"
        self.files[f"{path}.filelist.csv"] = listed.encode()
        return self.files[f"{path}.tar.gz"]

    def gets(self, path: str) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == "GET" and seen.path == path]


class _Handler(Handler):
    server: NcbiServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(Fault())

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.active += 1
            self.server.most_active = max(self.server.most_active, self.server.active)
            faults = self.server.faults[self.path]
            fault = faults.popleft() if faults else self.server.always.get(self.path, Fault())
        try:
            self.server.before_get(self.path)
            self._answer(fault)
        finally:
            with self.server.lock:
                self.server.active -= 1

    def _answer(self, fault: Fault) -> None:
        seen = Seen(self.command, self.path, self.headers["Range"], self.headers["If-Range"])
        self.server.requests.append(seen)
        if fault.status is not None:
            return self._send(seen, fault.status, {**fault.headers, "Content-Length": "0"}, b"", fault)
        if self.path.endswith("/"):
            page = listing(self.server.files, self.path)
            return self._send(
                seen,
                200 if page else 404,
                {"Content-Type": "text/html", "Content-Length": str(len(page))},
                page,
                fault,
            )
        if self.path not in self.server.files:
            return self._send(seen, 404, {"Content-Length": "0"}, b"", fault)
        content = self.server.files[self.path] if fault.body is None else fault.body
        headers = {
            "Last-Modified": formatdate(self.server.modified.get(self.path, MADE), usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if self.server.etags:
            headers["ETag"] = f'"{hashlib.sha256(self.server.files[self.path]).hexdigest()[:16]}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", seen.range or "")
        unchanged = seen.if_range in (None, headers.get("ETag"), headers["Last-Modified"])
        if wanted and unchanged and not fault.ignore_range:
            start = int(wanted[1])
            if start >= len(content):
                return self._send(seen, 416, {"Content-Length": "0"}, b"", fault)
            headers |= {
                "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
                "Content-Length": str(len(content) - start),
            }
            return self._send(seen, 206, headers, content[start:], fault)
        self._send(seen, 200, headers | {"Content-Length": str(len(content))}, content, fault)

    def _send(self, seen: Seen, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        seen.status = status
        self.send_response(status)
        for name, value in (headers | fault.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        first = body[: fault.drop_after if fault.drop_after is not None else fault.hold_after]
        seen.sent = self.wfile.write(first)
        self.wfile.flush()
        if fault.drop_after is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif len(first) < len(body):
            self.server.go_on.wait(timeout=60)
            seen.sent += self.wfile.write(body[len(first) :])


@contextmanager
def serving() -> Iterator[NcbiServer]:
    with running(NcbiServer()) as server:
        try:
            yield server
        finally:
            server.go_on.set()


def listing(files: dict[str, bytes], directory: str) -> bytes:
    """The page that Apache's mod_autoindex makes of a directory, with rounded sizes; empty where there is
    none."""
    names = [path.removeprefix(directory) for path in sorted(files) if path.startswith(directory)]
    rows = [
        f'<a href="{name}">{name}</a>  2024-12-14 18:08  {len(files[directory + name]) / 1000:.0f}K'
        for name in names
        if "/" not in name
    ]
    top = (
        '<a href="?C=N;O=D">Name</a> <a href="?C=S;O=A">Size</a><hr><a href="/pubmed/">Parent Directory</a> '
        ' -\n<a href="old/">old/</a>  -'
    )
    page = (
        f"<html><head><title>Index of {directory}</title></head><body><pre>{top}\n"
        + "\n".join(rows)
        + "\n</pre></body></html>\n"
    )
    return page.encode() if names else b""


def medline(*pmids: int, filler: int = 0) -> bytes:
    records = "".join(
        f'<PubmedArticle><MedlineCitation><PMID Version="1">{pmid}</PMID><Article><ArticleTitle>Title'
        f" {pmid}.</ArticleTitle><Abstract><AbstractText>Made-up text"
        f" {pmid}.</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
        for pmid in pmids
    )
    return gzip.compress(
        f"<PubmedArticleSet>{records}<!--{_noise(filler)}--></PubmedArticleSet>".encode(), mtime=0
    )


def package(*pmcids: int, filler: int = 0) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for number in pmcids:
            content = f"<article><body><p>Made-up full text {number}.</p></body><!--{_noise(filler)}--></article>".encode()  # noqa: E501
            member = tarfile.TarInfo(f"xml/PMC{number}.xml")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(written.getvalue(), mtime=0)


def _noise(length: int) -> str:
    """Characters that gzip cannot make much shorter, always the same."""
    return "".join(hashlib.sha256(str(block).encode()).hexdigest() for block in range(length // 32))[
        : 2 * length
    ]
