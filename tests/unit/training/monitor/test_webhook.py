"""The webhook: one POST, and none of its failures is the run's."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.environment import WEBHOOK
from biobert_scale.errors import UserError
from biobert_scale.training.monitor.webhook import check_address, notify
from tests.http_server import Handler, running


class Hook(ThreadingHTTPServer):
    """Keeps what is posted, and answers with `code`."""

    def __init__(self, code: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.code, self.posted = code, list[dict[str, Any]]()


class _Answer(Handler):
    def do_POST(self) -> None:
        hook = self.server
        assert isinstance(hook, Hook) and self.headers["Content-Type"] == "application/json"
        hook.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(hook.code)
        self.end_headers()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with running(Hook()) as server:
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/secret")
        yield server


def test_a_post_says_what_happened_where(hook: Hook, tmp_path: Path) -> None:
    notify("stalled", tmp_path / "large", 1200, "rank 3 on n7 is behind").join()
    (body,) = hook.posted
    assert body.pop("time").endswith("+00:00")
    assert body == {
        "text": "large: stalled at step 1,200: rank 3 on n7 is behind",
        "event": "stalled",
        "run": "large",
        "global_step": 1200,
        "what": "rank 3 on n7 is behind",
    }


def test_nothing_is_sent_without_an_address(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK)
    notify("finished", tmp_path, 8, "").join()
    assert not hook.posted


@pytest.mark.parametrize("fault", ["refused", "500", "no HTTP"])
@pytest.mark.fault("a webhook's server that is gone, answers 500, or speaks no HTTP", "one line in the log")
def test_a_server_in_trouble_is_one_line(
    fault: str, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hook.code = 500
    with socket.create_server(("127.0.0.1", 0)) as other:
        if fault != "500":
            monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{other.getsockname()[1]}/secret")
        if fault == "refused":
            other.close()
        sending = notify("failed", tmp_path, 8, "no space")
        if fault == "no HTTP":
            with other.accept()[0] as connection:
                connection.sendall(b"220 mail\r\n")
        sending.join()
    (line,) = (entry.getMessage() for entry in caplog.records)
    assert line.startswith("the webhook did not take 'failed'") and "secret" not in line


@pytest.mark.fault("a webhook's server that never answers", "nothing waits for it")
def test_a_server_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        sending = notify("stalled", tmp_path, 8, "")
        connection, _ = silent.accept()
        assert sending.is_alive() and sending.daemon and sending is not threading.current_thread()
        connection.close()
        sending.join()
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    "address", ["hooks.example.org/T0", "ftp://h/x", "file:///etc/passwd", "http://", "http://[::1"]
)
def test_what_is_no_address_is_refused_without_being_printed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEBHOOK, address)
    with pytest.raises(UserError, match=f"no address of a web server: {WEBHOOK}") as refused:
        check_address()
    assert address not in str(refused.value)


@pytest.mark.parametrize("address", ["", "https://hooks.example.org/T0", "http://127.0.0.1:8080"])
def test_an_address_or_none_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEBHOOK, address)
    check_address()
