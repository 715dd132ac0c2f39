"""How a server is asked: one HTTP client, retries that wait longer each time, and requests in parallel."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from biobert_scale import __version__
from biobert_scale.corpus.listing import MirrorConfig, RemoteFile
from biobert_scale.errors import RunFailed

_log = logging.getLogger(__name__)
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0
_T = TypeVar("_T")
_R = TypeVar("_R")


class Later(Exception):
    """An attempt failed in a way that may pass.

    Args:
        what: what happened.
        retry_after: seconds that the server asks to wait.
        progress: the attempt got further than any before.
    """

    def __init__(self, what: str, *, retry_after: float = 0.0, progress: bool = False) -> None:
        super().__init__(what)
        self.retry_after, self.progress = retry_after, progress


class WrongRange(Later):
    """The server has not the range that was asked for: the part at hand is no beginning of its file."""


class NotThere(RunFailed):
    """The server says that the address does not exist."""


class Stopped(Exception):
    """The whole run is being given up: another thread met an error, or Ctrl-C."""


class Patience:
    """How often and how long to try, and the end of a run for all of its threads."""

    def __init__(
        self, retries: int, backoff_seconds: float, wait: Callable[[float], object] | None = None
    ) -> None:
        """`wait` lets the given seconds pass; by default a wait that ends early when the run is stopped."""
        self.retries, self.backoff_seconds, self.stop = retries, backoff_seconds, threading.Event()
        self._wait = wait or self.stop.wait

    def persist(self, attempt: Callable[[], _R], where: str) -> _R:
        """Call `attempt` until it succeeds, waiting longer each time.

        Raises:
            RunFailed: it failed more than `retries` times in a row without progress, or in a way that will
                not pass.
            Stopped: the run was stopped meanwhile.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except Later as trouble:
                failures = 1 if trouble.progress else failures + 1
                if failures > self.retries:
                    remedy = "run the same command again later, or give more --retries"
                    raise RunFailed(
                        f"{trouble} (attempts without progress: {failures})", where=where, remedy=remedy
                    ) from None
                seconds = seconds_to_wait(failures, trouble.retry_after, self.backoff_seconds)
                self.note_retry(where, trouble, seconds)
                self._wait(seconds)
            if self.stop.is_set():
                raise Stopped

    def note_retry(self, where: str, trouble: Later, seconds: float) -> None:
        _log.info("%s: %s; trying again in %.1f s", where, trouble, seconds)


class Server(Patience):
    """An HTTP client for bulk files."""

    def __init__(self, config: MirrorConfig, wait: Callable[[float], object] | None = None) -> None:
        """`wait`: see `Patience`."""
        super().__init__(config.retries, config.backoff_seconds, wait)
        self.config = config
        self._client = httpx2.Client(
            # identity: the bytes of the file itself, so that lengths and ranges mean what they say
            headers={"User-Agent": f"biobert_scale/{__version__}", "Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(config.timeout_seconds),
            limits=httpx2.Limits(
                max_connections=config.connections, max_keepalive_connections=config.connections
            ),
            follow_redirects=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """One request; its troubles, also those while the body is read, become `Later` (may pass) or
        `RunFailed` (will not)."""
        try:
            with self._client.stream(method, url, headers=dict(headers or {})) as response:
                status = f"the server answers {response.status_code} {response.reason_phrase}".strip()
                if response.status_code in _PASSING_STATUS:
                    raise Later(status, retry_after=_retry_after(response))
                if response.status_code == 416:
                    raise WrongRange(status)
                if response.status_code not in (200, 206):
                    kind = NotThere if response.status_code in (404, 410) else RunFailed
                    raise kind(
                        status, where=url, remedy="check that the server has it and lets everybody read it"
                    )
                yield response
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what, lasting = " ".join(str(error).split()) or type(error).__name__, _lasting_trouble(error)
            if (
                lasting
                or not isinstance(error, httpx2.TransportError)
                or isinstance(error, httpx2.UnsupportedProtocol)
            ):
                raise RunFailed(
                    lasting or what,
                    where=url,
                    remedy="check the address, the network and the system's certificates",
                ) from None
            raise Later(what) from None

    def text(self, url: str) -> str:
        with self.request("GET", url) as response:
            response.read()
            return response.text

    def describe(self, file: RemoteFile) -> RemoteFile:
        """Ask for a file's exact size, its time and its validator."""
        with self.request("HEAD", file.url) as response:
            size = length_of(response)
            if size is None:
                raise RunFailed(
                    "the server does not give the file's length",
                    where=file.url,
                    remedy="mirror from a server that does",
                )
            return replace(file, size=size, modified=modified_of(response), validator=validator_of(response))

    def in_parallel(self, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R | RunFailed]:
        """`function` of every item, `connections` at once, in the order of the items; a RunFailed stands in
        place of its item's result.

        Any other error, and Ctrl-C, stops all of them at their next piece of data.
        """
        with ThreadPoolExecutor(self.config.connections) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                for future in as_completed(futures):
                    if (error := future.exception()) is not None and not isinstance(error, RunFailed):
                        raise error
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        errors = [future.exception() for future in futures]
        return [
            error if isinstance(error, RunFailed) else future.result()
            for error, future in zip(errors, futures, strict=True)
        ]


def seconds_to_wait(failures: int, retry_after: float, backoff_seconds: float) -> float:
    """Seconds before the next attempt: exponential with jitter (half to whole), at most a minute, and never
    less than Retry-After.

    Retry-After counts up to an hour. Jitter keeps parallel transfers from coming back all at once. Source:
    RFC 9110, 10.2.3.
    """
    backoff = min(backoff_seconds * 2.0 ** min(failures - 1, 32), _LONGEST_BACKOFF_SECONDS)
    return max(backoff * random.uniform(0.5, 1.0), min(retry_after, _LONGEST_RETRY_AFTER_SECONDS))


def _retry_after(response: httpx2.Response) -> float:
    """Seconds, from either form of the header: a number, or a date."""
    header = response.headers.get("Retry-After", "").strip()
    if header.isdecimal():
        return float(header)
    moment = _moment(header)
    return 0.0 if moment is None else max(0.0, moment - datetime.now(UTC).timestamp())


def _moment(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def modified_of(response: httpx2.Response) -> int | None:
    """Last-Modified, in seconds since 1970; None where the server does not give it."""
    moment = _moment(response.headers.get("Last-Modified", ""))
    return None if moment is None else int(moment)


def length_of(response: httpx2.Response) -> int | None:
    """Content-Length in bytes; None where the server does not give it."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def validator_of(response: httpx2.Response) -> str:
    """A strong ETag, else Last-Modified, as the server wrote it: equal validators mean equal bytes. Empty
    where it has neither.

    A weak ETag promises no equal bytes, and If-Range refuses it. Source: RFC 9110, 13.1.5.
    """
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _lasting_trouble(error: BaseException | None) -> str:
    """What the trouble is, where its first cause is one that waiting does not change; else empty."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted ({error.verify_message})"
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
            return "unknown host"
        error = error.__cause__ or error.__context__
    return ""
