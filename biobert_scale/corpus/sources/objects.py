"""A public bucket: objects by key, tried again with growing waits, and the names below a prefix."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from biobert_scale import __version__
from biobert_scale.corpus.sources.facts import BUCKET
from biobert_scale.corpus.transport import Later, NotThere, Patience
from biobert_scale.errors import RunFailed
from biobert_scale.object_store import in_one_line

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """An object's content, and which state of it that is."""

    content: memoryview
    etag: str
    """Without quotes: of an object that was written in one piece, the MD5 of its bytes."""
    modified: int
    """Seconds since 1970."""


class Bucket(Patience):
    """A bucket that everybody may read, from any number of threads at once."""

    def __init__(
        self,
        base_url: str,
        *,
        connections: int,
        retries: int,
        timeout_seconds: float,
        backoff_seconds: float,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`base_url` is the bucket's root, whichever way it names the bucket; `wait`: see `Patience`."""
        super().__init__(retries, backoff_seconds, wait)
        self.base_url = base_url.rstrip("/")
        patience = timedelta(seconds=timeout_seconds)
        self._store = S3Store(
            BUCKET,
            # All of these, because the environment decides what is not given: it may have an account's.
            endpoint=self.base_url,
            aws_endpoint_url_s3=self.base_url,
            virtual_hosted_style_request=True,  # the address has the bucket in it
            region="us-east-1",
            skip_signature=True,
            access_key_id="none",
            secret_access_key="none",
            client_options={
                "allow_http": True,
                "connect_timeout": patience,
                "read_timeout": patience,
                "timeout": timedelta(hours=6),  # of a whole reply: the inventory has hundreds of megabytes
                "pool_max_idle_per_host": str(connections),
                "user_agent": f"biobert_scale/{__version__}",
            },
            # Tried again by `Patience`, which counts, jitters and ends early.
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=0)},
        )
        self._lock = threading.Lock()
        self.requests = self.waits = 0

    def get(self, key: str) -> Fetched:
        """The object of that key.

        Raises:
            NotThere: the bucket has none.
            RunFailed: it did not come, however often it was asked for, or nobody may read it.
        """
        return self.persist(lambda: self._get(key), self.url(key))

    def size(self, key: str) -> int:
        """The object's bytes, without fetching it; errors as of `get`."""
        return self.persist(lambda: self._ask(key, lambda: self._store.head(key)["size"]), self.url(key))

    def below(self, prefix: str) -> list[str]:
        """The names directly below a prefix that ends in a slash, in order: of objects, and of prefixes
        without their slash."""

        def listing() -> list[str]:
            found = obstore.list_with_delimiter(self._store, prefix)
            paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
            return sorted(path.removeprefix(prefix).strip("/") for path in paths)

        return self.persist(lambda: self._ask(prefix, listing), self.url(prefix))

    def url(self, key: str) -> str:
        return f"{self.base_url}/{key}"

    def note_retry(self, where: str, trouble: Later, seconds: float) -> None:
        with self._lock:
            self.waits += 1

    def _get(self, key: str) -> Fetched:
        def fetch() -> Fetched:
            result = self._store.get(key)
            content = memoryview(result.bytes())
            meta = result.meta
            if len(content) != meta["size"]:
                raise Later(f"{len(content)} bytes arrived of {meta['size']}")
            return Fetched(
                content=content,
                etag=(meta["e_tag"] or "").strip('"'),
                modified=int(meta["last_modified"].timestamp()),
            )

        return self._ask(key, fetch)

    def _ask(self, key: str, request: Callable[[], _T]) -> _T:
        """One request; what may pass becomes `Later`, and what will not, `RunFailed`."""
        with self._lock:
            self.requests += 1
        try:
            return request()
        except FileNotFoundError:
            raise NotThere(
                "no such object", where=self.url(key), remedy="check --base-url, or run it again tomorrow"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise RunFailed(
                "the server lets nobody read it", where=self.url(key), remedy="check --base-url"
            ) from None
        except BaseError as error:
            what, lasts = in_one_line(error)
            if lasts:
                raise RunFailed(
                    what, where=self.url(key), remedy="check the address, the network and the certificates"
                ) from None
            raise Later(what) from None
