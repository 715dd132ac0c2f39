"""The application: a page, a description of the models, and two ways to send text."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib import resources
from typing import Any, TypeVar, get_args

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biobert_scale import __version__
from biobert_scale.serve.guard import Guard
from biobert_scale.serve.limits import MAXIMUM_CHARACTERS, MAXIMUM_DOCUMENTS, Limits
from biobert_scale.serve.model_thread import ModelThread
from biobert_scale.serve.refused import Refused
from biobert_scale.serve.uploads import Upload, read_file, read_texts
from biobert_scale.tag.formats import InputFormat
from biobert_scale.tag.outputs import (
    Form,
    OutputFormat,
    json_line,
    output_form,
    style_sheet,
    template_environment,
)
from biobert_scale.tag.tagger import Entity, EntityTagger

_MEDIA_TYPES: dict[OutputFormat, tuple[str, str]] = {
    "jsonl": ("application/x-ndjson", "jsonl"),
    "pubtator": ("text/plain; charset=utf-8", "pubtator.txt"),
    "bioc": ("application/json", "bioc.json"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "html": ("text/html; charset=utf-8", "html"),
}
"""Of each output format: its type, and how a file of it ends."""
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_SUMMARY_CHARACTERS = 1000
_WHERE_CHARACTERS = 80
T = TypeVar("T")
_log = logging.getLogger(__name__)


def make_app(taggers: Sequence[tuple[str, EntityTagger]], limits: Limits = Limits()) -> Starlette:
    """The ASGI application of some models, each with the name that clients see."""
    service = _Service(taggers, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.model.start()
        yield
        await asyncio.to_thread(service.model.stop)

    return Starlette(
        routes=[
            Route("/", service.page),
            Route("/page.js", service.script),
            Route("/page.css", service.style),
            Route("/health", service.health),
            Route("/api", service.describe),
            Route("/api/texts", service.texts, methods=["POST"]),
            Route("/api/file", service.file, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, seconds=3 * limits.request_seconds)],
        exception_handlers={Refused: _refused, HTTPException: _wrong_address, Exception: _failed},
        lifespan=lifespan,
    )


class _Service:
    """The answers to each path."""

    def __init__(self, taggers: Sequence[tuple[str, EntityTagger]], limits: Limits) -> None:
        self.model, self.limits = ModelThread([tagger for _, tagger in taggers]), limits
        self.types = sorted({kind for _, tagger in taggers for kind in tagger.types})
        models = [
            {"name": name, "types": tagger.types, "max_seq_length": tagger.max_seq_length}
            for name, tagger in taggers
        ]
        self.description = {
            "version": __version__,
            "models": models,
            "types": self.types,
            "paths": ["GET /", "GET /api", "GET /health", "POST /api/texts", "POST /api/file"],
            "formats": list(get_args(OutputFormat)),
            "input_formats": list(get_args(InputFormat)),
            "limits": {
                "bytes": limits.request_bytes,
                "characters": MAXIMUM_CHARACTERS,
                "documents": MAXIMUM_DOCUMENTS,
                "seconds": limits.request_seconds,
                "waiting": limits.waiting,
            },
        }
        page = template_environment("biobert_scale.serve").get_template("page.html")
        self._page = page.render(**self.description)
        files = resources.files("biobert_scale.serve") / "templates"
        self._script = (files / "page.js").read_text()
        self._style = style_sheet(self.types) + (files / "page.css").read_text()
        self._under_way = 0
        self._readers = anyio.CapacityLimiter(2)

    async def page(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def script(self, request: Request) -> Response:
        return Response(self._script, media_type="text/javascript")

    async def style(self, request: Request) -> Response:
        return Response(self._style, media_type="text/css")

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "under_way": self._under_way})

    async def describe(self, request: Request) -> Response:
        return JSONResponse(self.description)

    async def texts(self, request: Request) -> Response:
        """`{"texts": [...]}` -> `{"documents": [{"id", "text", "entities"}]}`."""
        _query(request, ())
        if _content_type(request) != "application/json":
            what, remedy = "not declared as JSON", "send Content-Type: application/json"
            raise Refused(415, what, where="Content-Type", remedy=remedy)
        form = Form(json_line, '{"documents": [\n', ",\n", "]}\n")
        return await self._tagged(request, read_texts, form, "application/json")

    async def file(self, request: Request) -> Response:
        """A file as `biobert-scale tag` reads it -> a file as it writes it."""
        query = _query(request, ("format", "input-format", "name"))
        output: OutputFormat = _choice(query, "format", OutputFormat, "jsonl")
        form: InputFormat = _choice(query, "input-format", InputFormat, "auto")
        if (found := _content_type(request)) in _FORMS:
            remedy = "send the file itself as the body, with Content-Type: application/octet-stream"
            raise Refused(415, f"a form ({found})", where="Content-Type", remedy=remedy)
        media_type, ending = _MEDIA_TYPES[output]
        read = partial(read_file, name=query.get("name", ""), form=form, limits=self.limits)
        answer = await self._tagged(request, read, output_form(output, self.types), media_type)
        # Never shown as a page of this server's own.
        answer.headers["Content-Disposition"] = f'attachment; filename="entities.{ending}"'
        return answer

    async def _tagged(
        self, request: Request, read: Callable[[bytes], Upload], form: Form, media_type: str
    ) -> Response:
        if self._under_way >= self.limits.waiting:
            what, remedy = f"{self.limits.waiting} requests are under way", "try again later"
            wait = min(max(1, self.model.seconds_of_work()), 60)
            raise Refused(503, what, where="the server", remedy=remedy, retry_seconds=wait)
        self._under_way += 1
        try:
            started = time.monotonic()
            body = await _body(request, self.limits)
            upload = await self._in_thread(partial(read, body))
            del body
            entities = await _while_connected(
                request,
                asyncio.wrap_future(self.model.submit(upload.documents)),
                self.limits.request_seconds,
            )
            text = await self._in_thread(partial(_written, upload, entities, form))
        finally:
            self._under_way -= 1
        characters = sum(len(document.text) for document in upload.documents)
        seconds = time.monotonic() - started
        _log.info("%d documents, %d characters in %.2f s", len(upload.documents), characters, seconds)
        counted = Counter(entity.type for found in entities for entity in found)
        summary = {"documents": len(upload.documents), "entities": dict(sorted(counted.items()))}
        passed_over = upload.passed_over[:_SUMMARY_CHARACTERS]
        headers = {"X-Summary": json.dumps(summary | {"passed_over": passed_over})}
        return Response(text, media_type=media_type, headers=headers)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._readers, abandon_on_cancel=True)


def _written(upload: Upload, entities: list[list[Entity]], form: Form) -> bytes:
    documents = zip(upload.documents, entities, strict=True)
    return "".join(
        [form.beginning, form.between.join(form.write(*each) for each in documents), form.end]
    ).encode()


async def _body(request: Request, limits: Limits) -> bytes:
    """What the client sends, within the limits of size and time."""
    if request.headers.get("content-encoding", "identity") != "identity":
        remedy = "send the file as it is: compressed files are recognised"
        raise Refused(415, "an encoded body", where="Content-Encoding", remedy=remedy)
    remedy = "send it in parts, or use `biobert-scale tag`, which has no such limit"
    what = f"a body of more than {limits.request_bytes:,} bytes"
    too_large = Refused(413, what, where="the request", remedy=remedy)
    if int(request.headers.get("content-length", 0)) > limits.request_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.request_seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.request_bytes:
                    raise too_large
    except TimeoutError:
        what = f"the body did not arrive in {limits.request_seconds:g} seconds"
        raise Refused(408, what, where="the request", remedy="send it faster, or in parts") from None
    if not body:
        raise Refused(400, "nothing was sent", where="the request", remedy="send a text or a file")
    return bytes(body)


async def _while_connected(request: Request, tagging: asyncio.Future[T], seconds: float) -> T:
    """The result of tagging, which is given up when the client is gone."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.ensure_future(gone())
    try:
        both: set[asyncio.Future[Any]] = {tagging, watch}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if tagging.done():
            return tagging.result()
        if watch.done():
            raise ClientDisconnect
        what = f"not done in {seconds:g} seconds"
        remedy = "try again later, or send less at once"
        raise Refused(503, what, where="the server", remedy=remedy, retry_seconds=min(60, int(seconds) + 1))
    finally:
        watch.cancel()
        tagging.cancel()


def _query(request: Request, known: Sequence[str]) -> dict[str, str]:
    query = dict(request.query_params)
    if unknown := sorted(set(query) - {*known}):
        remedy = f"known are {', '.join(known)}" if known else "this path has none"
        raise Refused(
            400, f"no parameter '{unknown[0][:_WHERE_CHARACTERS]}'", where="the address", remedy=remedy
        )
    return query


def _choice(query: dict[str, str], key: str, kind: object, default: str) -> Any:
    value = query.get(key, default)
    if value not in get_args(kind):
        remedy = f"use one of {', '.join(get_args(kind))}"
        raise Refused(400, f"no {key} '{value[:_WHERE_CHARACTERS]}'", where="the address", remedy=remedy)
    return value


def _content_type(request: Request) -> str:
    """The declared type; a declared character set other than UTF-8 is refused: XML declares its own."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            remedy = "convert it to UTF-8, as iconv does; XML may be in the encoding that it declares"
            raise Refused(415, f"text in {value[:_WHERE_CHARACTERS]}", where="Content-Type", remedy=remedy)
    return kind.strip().lower()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    _log.info("%d %s: %s", error.status, request.url.path[:_WHERE_CHARACTERS], error)
    return error.answer()


async def _wrong_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} is not answered" if error.status_code == 405 else "nothing is there"
    where = request.url.path[:_WHERE_CHARACTERS]
    answer = Refused(error.status_code, what, where=where, remedy="GET /api lists what there is").answer()
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    what, remedy = "the server failed at this request", "its log has the error: report it"
    return Refused(500, what, where="the server", remedy=remedy).answer()
