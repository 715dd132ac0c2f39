"""What holds for every request: headers, where it may come from, and an end."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biobert_scale.serve.refused import Refused

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # the texts may be about patients
}


class Guard:
    """Adds the headers to every answer, and refuses requests that another site's page makes.

    Args:
        app: the application.
        seconds: until a request, with its answer fetched, is over; then its connection is closed.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self.app
        if scope["method"] == "POST" and Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            what, remedy = "a page of another site asks", "open this server's own page"
            app = Refused(403, what, where="Sec-Fetch-Site", remedy=remedy).answer()
        try:
            async with asyncio.timeout(self.seconds):
                await app(scope, receive, with_headers)
        except ClientDisconnect:  # nobody waits for an answer
            return
        except TimeoutError:
            if not started:
                what, remedy = (
                    f"not done in {self.seconds:g} seconds",
                    "try again later, or send less at once",
                )
                refused = Refused(503, what, where="the server", remedy=remedy, retry_seconds=60)
                await refused.answer()(scope, receive, with_headers)
            # Else it is not fetched: uvicorn closes a connection whose answer is not complete.
