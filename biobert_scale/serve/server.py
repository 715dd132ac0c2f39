"""Runs the application: the socket, what HTTP leaves open, and the end."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from biobert_scale.errors import UserError
from biobert_scale.serve.limits import Limits

_CONNECTIONS = 512
"""At once; a request of a further one is answered 503."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections.

    Raises:
        UserError: the address is taken, or none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(found[0][4][:2], family=found[0][0])
    except OSError as error:
        where, remedy = f"--host {host} --port {port}", "choose another --port, or an address of this machine"
        why = str(error.strerror).partition(" (while ")[0]
        raise UserError(f"cannot listen ({why})", where=where, remedy=remedy) from None


def run_server(app: ASGIApp, listening: socket.socket, limits: Limits, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that are under way are answered first.

    Args:
        ready: called when requests are answered.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        http=_protocol(limits.request_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.request_seconds) + 1,
    )
    server = _Server(config, ready)
    # uvicorn raises the signal again when it has ended: that is no reason to die of it.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's, which also closes a connection on which no request begins, or whose headers do not end: it
    waits for both without end."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._look, None)

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(exc)

        def _look(self, before: object) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.cycle is before:
                self.transport.close()
            else:
                self._timer = self.loop.call_later(seconds, self._look, self.cycle)

    return Protocol
