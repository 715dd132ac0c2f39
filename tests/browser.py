"""A page in headless Chromium, used as a person would: through its debugging protocol."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from tests.factories import CHROMIUM, CHROMIUM_OPTIONS


class Page:
    """An open page.

    Args:
        socket: to the page's debugger.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers = socket, itertools.count()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A call of the debugging protocol, and its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def value(self, expression: str) -> Any:
        """What JavaScript gives."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """What JavaScript gives as soon as it is true."""
        for _ in range(600):
            if found := self.value(expression):
                return found
            time.sleep(0.1)
        raise TimeoutError(expression)

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def opened(address: str, directory: Path, *, width: int = 1000, height: int = 900) -> Iterator[Page]:
    """A page in a browser of its own.

    Args:
        directory: for the browser's profile, and what it downloads.
    """
    profile = directory / "profile"
    command = [str(CHROMIUM), *CHROMIUM_OPTIONS, f"--user-data-dir={profile}"]
    command += [f"--window-size={width},{height}", "--remote-debugging-port=0", address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            while not (port := profile / "DevToolsActivePort").exists() or len(port.read_text().split()) < 2:
                assert browser.poll() is None, "the browser has ended"
                time.sleep(0.1)
            base = f"http://127.0.0.1:{port.read_text().split()[0]}"
            while not (pages := _pages(base)):
                time.sleep(0.1)
            with connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                page = Page(socket)
                page.call(
                    "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory / "downloads")
                )
                page.wait_for(f"document.readyState === 'complete' && location.href.startsWith({address!r})")
                yield page
        finally:
            browser.terminate()


def _pages(base: str) -> list[dict[str, Any]]:
    with urlopen(f"{base}/json") as answer:
        return [target for target in json.load(answer) if target["type"] == "page"]
