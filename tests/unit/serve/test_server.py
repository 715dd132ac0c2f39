"""The server as a process: in a browser, with rude clients, and at its end."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.serve.server import listen
from tests.factories import CHROMIUM, FRAMES, NAMES, abstract, write_tagger

TEXT = "Mice with leaf palsy slept."


class Server:
    """A running server, with short limits."""

    def __init__(self, models: list[Path], *options: str) -> None:
        command = [sys.executable, "-m", "biobert_scale", "serve", *map(str, models), "--port", "0"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[0].rstrip("/")
        parts = urlsplit(self.address)
        assert parts.hostname == "127.0.0.1" and parts.port
        self.place = (parts.hostname, parts.port)

    def tag(self, text: str) -> Any:
        answer = httpx.post(f"{self.address}/api/texts", json={"texts": [text]}, timeout=60)
        return answer.raise_for_status().json()["documents"][0]

    def under_way(self) -> int:
        return int(httpx.get(f"{self.address}/health", timeout=60).json()["under_way"])

    def send(self, content: bytes) -> bytes:
        """What comes back of bytes, until the server closes."""
        with socket.create_connection(self.place, timeout=60) as connection:
            connection.sendall(content)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("models")
    return [write_tagger(directory / kind, kind) for kind in ("Disease", "Chemical")]


@pytest.fixture(scope="module")
def server(models: list[Path]) -> Iterator[Server]:
    running = Server(models, "--request-seconds", "2", "--request-megabytes", "0.1")
    yield running
    running.process.terminate()
    running.process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise TimeoutError(true)


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


@pytest.mark.slow
def test_each_of_many_clients_gets_its_own_answer(server: Server) -> None:
    texts = [f"{frame.format(name)} {name}" for name in NAMES for frame in FRAMES]
    with ThreadPoolExecutor(16) as clients:
        found = list(clients.map(server.tag, texts))
    assert [document["text"] for document in found] == texts
    assert found[5] == server.tag(texts[5]), "alone as in a batch"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"", b""),
        (b"POST /api/file HTTP/1.1\r\nHost: x\r\nX-Slow", b""),
        (head("/api/file", "Content-Length: 100") + b"some", b"HTTP/1.1 408 "),
        (head("/api/file", "Content-Length: 50000000") + bytes(500_000), b"HTTP/1.1 413 "),
        (head("/api/file", "Transfer-Encoding: chunked") + b"ZZ\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01 this is TLS\r\n\r\n", b"HTTP/1.1 400 "),
        (head("/api/file", "X: " + "x" * 100_000), b"HTTP/1.1 400 "),
    ],
    ids=["silent", "slow-head", "slow-body", "huge", "bad-chunk", "tls", "long-head"],
)
def test_a_rude_client_is_closed_and_others_are_answered(
    server: Server, content: bytes, answer: bytes
) -> None:
    assert server.send(content).startswith(answer)
    assert server.under_way() == 0 and server.tag(TEXT)["text"] == TEXT


@pytest.mark.slow
def test_clients_that_leave_cost_nothing(server: Server) -> None:
    body = json.dumps({"texts": [TEXT] * 500}).encode()
    for _ in range(10):
        with socket.create_connection(server.place) as connection:
            connection.sendall(
                head("/api/texts", "Content-Type: application/json", f"Content-Length: {len(body)}") + body
            )
    wait_until(lambda: not server.under_way())
    assert server.tag(TEXT)["text"] == TEXT


@pytest.mark.slow
def test_a_request_under_way_is_answered_at_the_end(models: list[Path]) -> None:
    running = Server(models)
    with ThreadPoolExecutor(1) as client:
        body = {"texts": [TEXT] * 1000}
        answer = client.submit(httpx.post, f"{running.address}/api/texts", json=body, timeout=60)
        wait_until(lambda: running.under_way() > 0 or answer.done())
        running.process.send_signal(signal.SIGTERM)
        assert len(answer.result().json()["documents"]) == 1000
    assert running.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(running.place)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser(server: Server, tmp_path: Path) -> None:
    from tests.browser import opened

    upload = tmp_path / "some.xml.gz"
    xml = f"<PubmedArticleSet>{abstract(77, TEXT)}{abstract(78, TEXT)}</PubmedArticleSet>"
    upload.write_bytes(gzip.compress(xml.encode()))
    status = "document.querySelector('#status').textContent"
    with opened(server.address, tmp_path) as page:
        legend = page.value("[...document.querySelectorAll('p mark')].map(mark => mark.textContent)")
        assert legend == ["Chemical", "Disease"]
        page.value(f"document.querySelector('#text').value = {TEXT + ' <b>x</b>'!r}")
        page.value("document.querySelector('button[value=html]').click()")
        assert page.wait_for(f"{status}.startsWith('1 text') && {status}")
        shown = page.value("document.querySelector('article p').textContent")
        assert "<" in shown and page.value("document.querySelector('article b')") is None
        colours = page.value(
            "[...document.querySelectorAll('mark')].map(mark => getComputedStyle(mark).backgroundColor)"
        )
        assert len(set(colours)) >= 2 and "rgba(0, 0, 0, 0)" not in colours
        page.choose_file("input[type=file]", upload)
        assert page.wait_for("document.querySelector('#text').disabled")
        page.value("document.querySelector('button[value=html]').click()")
        page.wait_for(f"{status}.startsWith('2 texts')")
        assert page.value("[...document.querySelectorAll('article')].map(each => each.id)") == ["77", "78"]
        for form, name in (("pubtator", "entities.pubtator.txt"), ("bioc", "entities.bioc.json")):
            page.value(f"document.querySelector('select[name=format]').value = '{form}'")
            page.value("document.querySelector('button[value=download]').click()")
            downloaded = tmp_path / "downloads" / name
            wait_until(downloaded.is_file)
            expected = httpx.post(
                f"{server.address}/api/file?format={form}", content=upload.read_bytes(), timeout=60
            )
            assert downloaded.read_text() == expected.text
        upload.write_bytes(b"<article>")
        page.choose_file("input[type=file]", upload)
        page.value("document.querySelector('button[value=html]').click()")
        assert "the XML is damaged" in page.wait_for(f"document.querySelector('#status.error') && {status}")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_cannot_be_had_is_one_line(host: str) -> None:
    if host == "::1" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    with (
        listen(host, 0) as first,
        pytest.raises(UserError, match=r"cannot listen \(Address already in use\)"),
    ):
        listen(host, first.getsockname()[1])
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 --port 0; choose"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no model"),
        (["a", "a"], "one model is given twice"),
        (["a", "--port", "70000"], "--port cannot be 70000"),
        (["nowhere", "--port", "0"], "nowhere"),
        (["nowhere", "--host", "no.such.host.invalid"], "cannot listen"),
    ],
)
def test_a_mistake_ends_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error
